"""Alg. 1 in one pass over TD-MPC2's or BMPC's weights; it equals :mod:`dream_agents.planners.dream`.

Roll-outs and the plans that they are mixed into are dreamt in the same calls, which the gradient's backward pass then
uses; that pass is written out for the objective of the authors' reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dream_agents.fast.tdmpc import FastTDMPC, Pullback, Step, decode_with_pullback
from dream_agents.models.heads import scaled_tanh
from dream_agents.models.tdmpc import ImplicitWorldModel, TDMPCWorldModel
from dream_agents.planners.base import Described, Memory, Plan
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.gradient import describe
from dream_agents.planners.objective import Objective, discounts, uncertainty


class FastDream:
    """A :class:`DreamPlanner` on a :class:`FastTDMPC`.

    :param planner: with a gradient that :meth:`takes`
    """

    uses_autograd: ClassVar[bool] = False

    def __init__(self, planner: DreamPlanner):
        self.planner = planner

    @staticmethod
    def takes(planner: DreamPlanner) -> bool:
        """Whether the gradient of this planner's objective is written out."""
        by_eq_6 = planner.terminal_value and planner.return_lambda == 1
        return by_eq_6 and not planner.by_the_letter and planner.proposal_noise is None

    def initial_memory(self, model: FastTDMPC, batch_size: int) -> Memory:
        """The planner's."""
        return self.planner.initial_memory(model, batch_size)

    @torch.no_grad()
    def plan(
        self,
        model: FastTDMPC,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """What the planner's own ``plan`` gives, up to rounding."""
        planner, iterations = self.planner, self.planner.iterations_for(model)
        actions, steps = self._propose(model, z, memory, episode_start, generator)
        if iterations == 0:
            actions, objective, info = planner.improve(model, z, actions, generator)
            return planner.choose(actions, objective, info, deterministic, generator)
        for iteration in range(iterations):
            before = actions
            if iteration > 0:
                steps = dream(model, z, actions)
            noise, members = planner.draw(model, z, generator)
            found, gradient = objective_and_gradient(
                model, steps, actions, noise, members, planner.uncertainty_coef
            )
            found.value.nan_to_num_(0.0, 0.0, 0.0)
            actions = planner.ascend(actions, gradient)
        actions = actions.clamp_(-1, 1)
        info = Described(lambda: describe(found, gradient, actions - before))
        return planner.choose(actions, found.value, info, deterministic, generator)

    def _propose(
        self,
        model: FastTDMPC,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, list[Step]]:
        """Initial actions ``[H, B, N, A]``, and the steps along them as the first N of their sequences."""
        candidates = self.planner.candidates
        previous, weight = self.planner.reused(memory, episode_start, z.dtype)
        latents = z.unsqueeze(1)
        distribution = model.policy(latents).expand(-1, candidates)
        actions: list[Tensor] = []
        steps: list[Step] = []
        for h, last in enumerate(previous.unbind()):
            proposal = distribution.sample(generator)  # [B, N, A]
            actions.append(torch.lerp(proposal, last, weight))
            dreamt, goes_on = actions[-1], h + 1 < len(previous)
            if goes_on and self.planner.reuse > 0:
                dreamt = torch.cat((dreamt, proposal), 1)
            elif h > 0 and self.planner.reuse > 0:
                latents = latents[:, :candidates]
            steps.append(model.step(latents, dreamt))
            latents = steps[-1].latent
            if goes_on:
                distribution = model.policy(latents[:, -candidates:])
        return torch.stack(actions), steps


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
    noise: Tensor,
    members: Tensor | None,
    uncertainty_coef: float,
) -> tuple[Objective, Tensor]:
    """Eq. 6 in the authors' reading, and its gradient with respect to the actions.

    :param steps: H steps along the actions, as the first N of their sequences
    :param actions: ``[H, B, N, A]``
    :param noise: of the policy's action at the end, ``[B, 1 or N, A]``
    :param members: whose values count at the end, None for all
    :return: objective ``[B, N]``, and gradient, shaped as ``actions``
    """
    batch, candidates = actions.shape[1:3]
    rows, latent_dim = batch * candidates, model.latent_dim
    z_action = torch.stack([step.z_action[:, :candidates] for step in steps])  # [H, B, N, Z + A]
    after = torch.stack([step.latent[:, :candidates] for step in steps])  # [H, B, N, Z]
    last = after[-1]

    reward_logits, reward_pullback = model.reward_network.with_pullback(z_action.flatten(0, 2))
    rewards, reward_decode = decode_with_pullback(model.two_hot, reward_logits, len(reward_logits))
    last_action, policy_pullback = act_at(model.model, model, last, noise)

    is_uncertain = uncertainty_coef != 0 and model.num_values > 1
    if last_action is not None:
        valued = torch.cat((last, last_action), -1).unsqueeze(0)
        if is_uncertain:
            valued = torch.cat((torch.cat((after, actions), -1), valued))
    else:
        valued = after if is_uncertain else after[-1:]
    value_logits, value_pullback = model.value_networks.with_pullback(valued.flatten(0, 2), rows)
    values, value_decode = decode_with_pullback(model.two_hot, value_logits, rows)
    values = values.view(-1, *valued.shape[:3])  # [M, 1 or H (+ 1), B, N]
    last_values = values[:, -1] if members is None else values[members, -1]

    latents = torch.cat((z_action[:1, ..., :latent_dim], after))
    reward_weights, value_weight = discounts(model, latents)
    value = (reward_weights * rewards.view(actions.shape[:3])).sum(0) + value_weight * last_values.mean(0)
    penalty = torch.zeros_like(value)
    if is_uncertain:
        penalty = uncertainty(values).sum(0)
        if not model.takes_action_in_value:  # V(z_H) counts at the end and after the last action
            penalty = penalty + uncertainty(values[:, -1])
        value = value - uncertainty_coef * penalty

    # Backwards: from values and rewards to latents and actions, then along the steps.
    share = (value_weight / len(last_values)).expand(batch, candidates).reshape(-1)
    value_gradient = share.expand(len(values), -1)
    if members is not None:
        value_gradient = torch.zeros_like(value_gradient).index_copy_(
            0, members, share.expand(len(members), -1)
        )
    to_end = value_pullback(value_decode(value_gradient)).view(batch, candidates, -1)
    to_latent = to_end[..., :latent_dim]
    if last_action is not None:
        to_latent = to_latent + policy_pullback(to_end[..., latent_dim:])
    weights = reward_weights.expand(actions.shape[:3]).reshape(-1)
    to_steps = reward_pullback(reward_decode(weights)).view_as(z_action)
    gradients = []
    for step, gradient in zip(reversed(steps), reversed(to_steps.unbind()), strict=True):
        gradient = gradient + step.pull(to_latent)  # with respect to (z_h, a_h)
        to_latent = gradient[..., :latent_dim]
        gradients.append(gradient[..., latent_dim:])
    return Objective(value, penalty), torch.stack(gradients[::-1])


def act_at(
    model: ImplicitWorldModel, fast: FastTDMPC, z: Tensor, noise: Tensor
) -> tuple[Tensor | None, Pullback]:
    """TD-MPC2's action ``[B, N, A]`` at ``z [B, N, Z]``, and its pullback to latents; none for V(z)."""
    if not isinstance(model, TDMPCWorldModel):
        return None, lambda gradient: gradient
    raw, network_pullback = fast.policy_network.with_pullback(z.flatten(0, 1))
    raw_mean, raw_log_std = raw.view(*z.shape[:2], -1).chunk(2, -1)
    low, high = model.log_std_min, model.log_std_max
    change = noise * scaled_tanh(raw_log_std, low, high).exp()
    action = torch.tanh(raw_mean + change)

    def pull(gradient: Tensor) -> Tensor:
        gradient = gradient * (1 - action.square())
        slope = 0.5 * (high - low) * (1 - raw_log_std.tanh().square())
        to_raw = torch.cat((gradient, gradient * change * slope), -1)
        return network_pullback(to_raw.flatten(0, 1)).view_as(z)

    return action, pull
