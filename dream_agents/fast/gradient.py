"""The planning objective on TD-MPC2's or BMPC's weights, with its backward pass written out.

It is Eq. 6 of :func:`dream_agents.planners.objective.planning_objective` with ``uncertainty_after``. Only the actions
need a gradient, so nothing else is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dream_agents.fast.tdmpc import FastTDMPC, Pullback, Step, decode_with_pullback
from dream_agents.models.heads import scaled_tanh
from dream_agents.models.tdmpc import TDMPCWorldModel
from dream_agents.planners.objective import Objective, discounts, uncertainty


class End(NamedTuple):
    """What is done in the last latents z_H.

    :param action: a_H ``[B, N, A]``; None where values are V(z)
    :param pullback: takes a gradient with respect to it back to z_H; None where it does not depend on z_H
    """

    action: Tensor | None
    pullback: Pullback | None = None


def dream(model: FastTDMPC, z: Tensor, actions: Tensor) -> list[Step]:
    """The steps along ``actions [H, B, N, A]`` from ``z [B, Z]``."""
    latent, steps = z.unsqueeze(1), []
    for action in actions.unbind():
        steps.append(model.step(latent, action))
        latent = steps[-1].latent
    return steps


def objective_and_gradient(
    model: FastTDMPC,
    steps: Sequence[Step],
    actions: Tensor,
    end: End,
    members: Tensor | None = None,
    uncertainty_coef: float = 0.0,
) -> tuple[Objective, Tensor, Tensor]:
    """Eq. 6 and its gradient with respect to the actions.

    :param steps: H steps along the actions, as the first N of their sequences
    :param actions: ``[H, B, N, A]``
    :param members: whose values count at the end, None for all
    :return: objective ``[B, N]``, its gradient, shaped as ``actions``, and that with respect to the end's action
        ``[B, N, A]``
    """
    batch, candidates = actions.shape[1:3]
    rows, latent_dim = batch * candidates, model.latent_dim
    z_action = torch.stack([step.z_action[:, :candidates] for step in steps])  # [H, B, N, Z + A]
    after = torch.stack([step.latent[:, :candidates] for step in steps])  # [H, B, N, Z]
    reward_logits, reward_pullback = model.reward_network.with_pullback(z_action.flatten(0, 2))
    rewards, reward_decode = decode_with_pullback(model.two_hot, reward_logits, len(reward_logits))

    is_uncertain = uncertainty_coef != 0 and model.num_values > 1
    valued = _valued(after, actions, end.action, is_uncertain)  # [1 or more, B, N, ...], the end last
    value_logits, value_pullback = model.value_networks.with_pullback(valued.flatten(0, 2), rows)
    values, value_decode = decode_with_pullback(model.two_hot, value_logits, rows)
    values = values.view(-1, *valued.shape[:3])  # [M, 1 or more, B, N]
    last_values = values[:, -1] if members is None else values[members, -1]

    reward_weights, value_weight = discounts(model, torch.cat((z_action[:1, ..., :latent_dim], after)))
    value = (reward_weights * rewards.view(actions.shape[:3])).sum(0) + value_weight * last_values.mean(0)
    penalty = torch.zeros_like(value)
    if is_uncertain:
        penalty = uncertainty(values).sum(0)
        if end.action is None:  # V(z_H) counts after the last action, and at the end
            penalty = penalty + uncertainty(values[:, -1])
        value = value - uncertainty_coef * penalty

    # Backwards: from the value at the end and from rewards to latents and actions, then along the steps.
    share = (value_weight / len(last_values)).expand(batch, candidates).reshape(-1)
    value_gradient = share.expand(len(values), -1)
    if members is not None:
        shares = share.expand(len(members), -1)
        value_gradient = torch.zeros_like(value_gradient).index_copy_(0, members, shares)
    to_end = value_pullback(value_decode(value_gradient)).view(batch, candidates, -1)
    to_latent, to_last_action = to_end[..., :latent_dim], to_end[..., latent_dim:]
    if end.pullback is not None:
        to_latent = to_latent + end.pullback(to_last_action)
    weights = reward_weights.expand(actions.shape[:3]).reshape(-1)
    to_steps = reward_pullback(reward_decode(weights)).view_as(z_action)
    gradients = []
    for step, gradient in zip(reversed(steps), reversed(to_steps.unbind()), strict=True):
        gradient = gradient + step.pull(to_latent)  # with respect to (z_h, a_h)
        to_latent = gradient[..., :latent_dim]
        gradients.append(gradient[..., latent_dim:])
    return Objective(value, penalty), torch.stack(gradients[::-1]), to_last_action


def _valued(after: Tensor, actions: Tensor, last_action: Tensor | None, on_the_way: bool) -> Tensor:
    """What values are asked at: the end, and before it, if asked for, (z_{h+1}, a_h) of all steps."""
    if last_action is None:
        return after if on_the_way else after[-1:]
    end = torch.cat((after[-1], last_action), -1).unsqueeze(0)
    return torch.cat((torch.cat((after, actions), -1), end)) if on_the_way else end


def act_at(model: FastTDMPC, z: Tensor, noise: Tensor) -> End:
    """The policy's action at ``z [B, N, Z]`` where values are Q(z, a).

    :param noise: standard normal, ``[B, 1 or N, A]``
    """
    networks = model.model
    if not isinstance(networks, TDMPCWorldModel):
        return End(None)
    raw, network_pullback = model.policy_network.with_pullback(z.flatten(0, 1))
    raw_mean, raw_log_std = raw.view(*z.shape[:2], -1).chunk(2, -1)
    low, high = networks.log_std_min, networks.log_std_max
    change = noise * scaled_tanh(raw_log_std, low, high).exp()
    action = torch.tanh(raw_mean + change)

    def pull(gradient: Tensor) -> Tensor:
        gradient = gradient * (1 - action.square())
        slope = 0.5 * (high - low) * (1 - raw_log_std.tanh().square())
        to_raw = torch.cat((gradient, gradient * change * slope), -1)
        return network_pullback(to_raw.flatten(0, 1)).view_as(z)

    return End(action, pull)
