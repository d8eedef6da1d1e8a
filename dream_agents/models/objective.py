"""The planning objective: predicted return minus an uncertainty penalty (Eq. 5, 6 and 14).

Shapes: B environments, N candidates, H steps, A action dimensions, M members of the value ensemble.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dream_agents.models.base import WorldModel


class Objective(NamedTuple):
    """The objective of candidate plans."""

    #: J ``[B, N]``, in return units
    value: Tensor
    #: summed uncertainty ``[B, N]``, before its coefficient
    penalty: Tensor


def imagine(model: WorldModel, z: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Roll actions out.

    :param z: latents that broadcast with one step's actions, ``[B, 1, Z]``
    :param actions: ``[H, B, N, A]``
    :return: visited latents ``[H, B, N, Z]``, starting with ``z``, and the last latent ``[B, N, Z]``
    """
    latents = [z.expand(*actions.shape[1:-1], z.shape[-1])]
    latents.append(model.next(z, actions[0]))
    for action in actions[1:]:
        latents.append(model.next(latents[-1], action))
    return torch.stack(latents[:-1]), latents[-1]


def discounts(
    model: WorldModel, latents: Tensor, last: Tensor, discount: float | None = None
) -> tuple[Tensor, Tensor]:
    """Weights of rewards and of the last value, from gamma and continuation.

    A reward counts in full where its latent is the start; later ones count while the task goes on (TD-MPC2's
    treatment of episodic tasks).

    :param latents: ``[H, ..., Z]``
    :param last: ``[..., Z]``
    :param discount: gamma; None for the model's
    :return: weights ``[H, ...]`` and ``[...]``, or what broadcasts to these
    """
    horizon = len(latents)
    gamma = model.discount if discount is None else discount
    gammas = gamma ** torch.arange(horizon + 1, dtype=last.dtype, device=last.device)
    reward_gammas = gammas[:horizon].view(-1, *[1] * (last.dim() - 1))
    if not model.episodic:
        return reward_gammas, gammas[horizon]
    goes_on = model.continuation(torch.cat((latents[1:], last.unsqueeze(0))))  # [H, ...]
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
    uncertainty_coef: float,
    return_lambda: float = 1.0,
    terminal_value: bool = True,
) -> Objective:
    """J: a predicted return less the uncertainty penalty.

    The return is that of Eq. 6, with ``return_lambda`` below 1 the lambda-return (Eq. 14), and without
    ``terminal_value`` the sum of rewards (Eq. 12). Only the dynamics runs step by step; rewards and values of all steps
    are evaluated in one call each.

    :param z: latents ``[B, Z]``
    :param actions: ``[H, B, N, A]``, or ``[H + 1, ...]`` where the end is valued by Q(z_H, a_H)
    :param uncertainty_coef: lambda_unc, weight of the penalty
    :param return_lambda: weight of longer returns; 1 takes no value but the last one
    :param terminal_value: whether what comes after the horizon counts; if it doesn't, nothing is discounted
    """
    takes_last = model.takes_action_in_value and terminal_value
    steps = actions[:-1] if takes_last else actions
    latents, last = imagine(model, z.unsqueeze(1), steps)
    rewards = model.rewards_along(latents, steps, last)  # [H, B, N]
    reward_weights, value_weight = discounts(model, latents, last, None if terminal_value else 1.0)

    is_uncertain = uncertainty_coef != 0 and model.num_values > 1
    visited = torch.cat((latents, last.unsqueeze(0))) if terminal_value else latents  # [H (+ 1), B, N, Z]
    # Values are asked for from this step on: all for the penalty, all but the first for the lambda-return.
    first = 0 if is_uncertain else 1 if terminal_value and return_lambda != 1 else len(steps)
    penalty = torch.zeros_like(rewards[0])
    if first < len(visited):
        valued = actions[first:] if model.takes_action_in_value else None
        ensemble = model.values(visited[first:], valued)  # [M, <= H + 1, B, N]
        if is_uncertain:
            penalty = uncertainty(ensemble).sum(0)
    if terminal_value:
        values = ensemble[:, -len(steps) :].mean(0)
        value = lambda_return(rewards, values, reward_weights, value_weight, return_lambda)
    else:
        value = (reward_weights * rewards).sum(0)
    return Objective(value - uncertainty_coef * penalty, penalty)


def objective_and_gradient(
    model: WorldModel, z: Tensor, actions: Tensor, uncertainty_coef: float, **options: Any
) -> tuple[Objective, Tensor]:
    """:func:`planning_objective` and its gradient with respect to the actions only, by autograd."""
    actions = actions.detach().requires_grad_()
    with torch.enable_grad():
        objective = planning_objective(model, z, actions, uncertainty_coef, **options)
        (gradient,) = torch.autograd.grad(objective.value.sum(), actions)
    return Objective(objective.value.detach(), objective.penalty.detach()), gradient
