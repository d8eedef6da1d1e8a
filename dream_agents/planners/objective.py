"""What planners maximise: predicted return minus an uncertainty penalty (Eq. 5, 6 and 14), and how they imagine.

Shapes: B environments, N candidates, H steps, A action dimensions, M members of the value ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel


class Objective(NamedTuple):
    """The objective of candidate plans."""

    #: J ``[B, N]``, in return units
    value: Tensor
    #: summed uncertainty ``[B, N]``, before its coefficient
    penalty: Tensor


def roll_out_policy(
    model: WorldModel, z: Tensor, horizon: int, candidates: int, generator: torch.Generator | None
) -> Tensor:
    """Sample action sequences ``[H, B, N, A]`` from the policy by dreaming from ``z [B, Z]`` (Eq. 2)."""
    latent = z.unsqueeze(1)  # [B, 1, Z]
    actions = [model.policy(latent).expand(-1, candidates).sample(generator)]
    for _ in range(horizon - 1):
        latent = model.next(latent, actions[-1])  # [B, N, Z]
        actions.append(model.policy(latent).sample(generator))
    return torch.stack(actions)


def imagine(model: WorldModel, z: Tensor, actions: Tensor) -> Tensor:
    """Visited latents ``[H + 1, B, N, Z]`` of ``actions [H, B, N, A]`` from ``z [B, Z]``, which come first."""
    latents = [z.unsqueeze(1).expand(*actions.shape[1:-1], z.shape[-1])]
    for action in actions:
        latents.append(model.next(latents[-1], action))
    return torch.stack(latents)


def discounts(model: WorldModel, latents: Tensor, discount: float | None = None) -> tuple[Tensor, Tensor]:
    """Weights of rewards and of the last value, from gamma and continuation.

    A reward counts in full where its latent is the start; later ones count while the task goes on (TD-MPC2's
    treatment of episodic tasks).

    :param latents: visited latents ``[H + 1, ..., Z]``
    :param discount: gamma; None for the model's
    :return: weights ``[H, ...]`` and ``[...]``, or what broadcasts to these
    """
    horizon = len(latents) - 1
    gamma = model.discount if discount is None else discount
    gammas = gamma ** torch.arange(horizon + 1, dtype=latents.dtype, device=latents.device)
    reward_gammas = gammas[:horizon].view(-1, *[1] * (latents.dim() - 2))
    if not model.episodic:
        return reward_gammas, gammas[horizon]
    goes_on = model.continuation(latents[1:])  # [H, ...]
    alive = torch.cat((torch.ones_like(goes_on[:1]), goes_on.cumprod(0)))  # [H + 1, ...]
    return reward_gammas * alive[:horizon], gammas[horizon] * alive[horizon]


def uncertainty(values: Tensor) -> Tensor:
    """mean times standard deviation over an ensemble ``[M, ...]`` (Eq. 5); zero for a single member."""
    if len(values) == 1:
        return torch.zeros_like(values[0])
    std, mean = torch.std_mean(values, 0)
    return mean * std


def lambda_return(
    rewards: Tensor, values: Tensor, reward_weights: Tensor, value_weight: Tensor, return_lambda: float
) -> Tensor:
    """V_lambda of Eq. 14, ``[...]``: returns of 1 to H steps, each ending in a value, weighted by powers of lambda.

    :param rewards: ``[H, ...]``
    :param values: of the latents after each step, ``[H, ...]``; the last one suffices for a lambda of 1
    :param reward_weights: as from :func:`discounts`
    :param value_weight: as from :func:`discounts`
    :param return_lambda: 1 is the H-step return, 0 the one-step return
    """
    if return_lambda == 1:
        return (reward_weights * rewards).sum(0) + value_weight * values[-1]
    horizon = len(rewards)
    powers = return_lambda ** torch.arange(horizon, dtype=rewards.dtype, device=rewards.device)
    powers = powers.view(-1, *[1] * (rewards.dim() - 1))  # [H, 1, ...]
    between = (powers[:-1] * reward_weights[1:] * values[:-1]).sum(0)
    last = powers[-1] * value_weight * values[-1]
    return (powers * reward_weights * rewards).sum(0) + (1 - return_lambda) * between + last


def planning_objective(
    model: WorldModel,
    z: Tensor,
    actions: Tensor,
    last_action: Callable[[Tensor], Tensor],
    uncertainty_coef: float = 0.0,
    *,
    uncertainty_after: bool = False,
    members: Sequence[int] | Tensor | None = None,
    return_lambda: float = 1.0,
) -> Objective:
    """J, a predicted return less the uncertainty penalty (Eq. 6)::

        J = sum_{h<H} (gamma^h r(z_h, a_h) - lambda u_h) + gamma^H Q(z_H, a_H) - lambda u_H

    Only the dynamics runs step by step; rewards and values of all steps are evaluated in one call each.

    :param z: latents ``[B, Z]``
    :param actions: ``[H, B, N, A]``
    :param last_action: a_H ``[B, N, A]`` from z_H ``[B, N, Z]``; models whose values are V(z) need none
    :param uncertainty_coef: lambda, weight of the penalty
    :param uncertainty_after: where u_h is taken: at (z_h, a_h), as in the paper; or, as in the authors' code, at
        (z_{h+1}, a_h), and as a constant to the gradient
    :param members: of the value ensemble, whose mean is the value at the end; None for all
    :param return_lambda: below 1 the return is the lambda-return (Eq. 14) instead
    """
    latents = imagine(model, z, actions)  # [H + 1, B, N, Z]
    rewards = model.reward(latents[:-1], actions, latents[1:])  # [H, B, N]
    reward_weights, value_weight = discounts(model, latents)
    first = len(actions) if return_lambda == 1 else 1
    valued = None
    if model.takes_action_in_value:
        valued = torch.cat((actions[first:], last_action(latents[-1]).unsqueeze(0)))
    is_uncertain = uncertainty_coef != 0 and model.num_values > 1
    if isinstance(members, Tensor) or is_uncertain:
        ensemble = model.values(latents[first:], valued)  # [M, 1 or H, B, N]
        values = ensemble if members is None else ensemble[members]
    else:
        values = model.values(latents[first:], valued, members)
    value = lambda_return(rewards, values.mean(0), reward_weights, value_weight, return_lambda)
    if not is_uncertain:
        return Objective(value, torch.zeros_like(value))
    on_the_way = latents[1:] if uncertainty_after else latents[:-1]
    penalty = uncertainty(model.values(on_the_way, actions)).sum(0) + uncertainty(ensemble[:, -1])
    if uncertainty_after:
        penalty = penalty.detach()
    return Objective(value - uncertainty_coef * penalty, penalty)


def sum_of_rewards(model: WorldModel, z: Tensor, actions: Tensor) -> Objective:
    """Undiscounted sum of predicted rewards, without a value at the end (Eq. 12); parameters as above."""
    latents = imagine(model, z, actions)
    weights, _ = discounts(model, latents, 1.0)
    value = (weights * model.reward(latents[:-1], actions, latents[1:])).sum(0)
    return Objective(value, torch.zeros_like(value))
