"""The planning objective: predicted return minus an uncertainty penalty, and its gradient (Eq. 5 and 6).

Shapes: B environments, N candidates, H steps, A action dimensions, M members of the value ensemble.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


def discounts(model: WorldModel, latents: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of rewards and of the last value, from gamma and continuation.

    A reward counts in full where its latent is the start; later ones count while the task goes on (TD-MPC2's
    treatment of episodic tasks).

    :param latents: ``[H, ..., Z]``
    :param last: ``[..., Z]``
    :return: weights ``[H, ...]`` and ``[...]``, or what broadcasts to these
    """
    horizon = len(latents)
    gammas = model.discount ** torch.arange(horizon + 1, dtype=last.dtype, device=last.device)
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


def planning_objective(model: WorldModel, z: Tensor, actions: Tensor, uncertainty_coef: float) -> Objective:
    """J of Eq. 6.

    Only the dynamics runs step by step; rewards and values of all steps are evaluated in one call each.

    :param z: latents ``[B, Z]``
    :param actions: ``[H, B, N, A]``, or ``[H + 1, ...]`` where values take an action, the last one in Q(z_H, a_H)
    """
    steps = actions[:-1] if model.takes_action_in_value else actions
    latents, last = imagine(model, z.unsqueeze(1), steps)
    rewards = model.reward(latents, steps)  # [H, B, N]
    reward_weights, value_weight = discounts(model, latents, last)
    if uncertainty_coef == 0 or model.num_values == 1:
        value = model.values(last, actions[-1] if model.takes_action_in_value else None).mean(0)  # [B, N]
        penalty = torch.zeros_like(value)
    else:
        every = torch.cat((latents, last.unsqueeze(0)))  # [H + 1, B, N, Z]
        ensemble = model.values(every, actions if model.takes_action_in_value else None)  # [M, H + 1, B, N]
        penalty = uncertainty(ensemble).sum(0)
        value = ensemble[:, -1].mean(0)
    return Objective(
        (reward_weights * rewards).sum(0) + value_weight * value - uncertainty_coef * penalty, penalty
    )
