"""Adaptive Dream-MPC on TD-MPC2's or BMPC's weights; it equals :mod:`dream_agents.planners.adaptive`.

Candidates are dreamt in one pass, whose steps the first gradient uses; the line search has the packed networks.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dream_agents.fast.gradient import End, dream, objective_and_gradient
from dream_agents.fast.tdmpc import FastTDMPC, Step
from dream_agents.models.kernels import is_tracing
from dream_agents.planners.adaptive import (
    AdaptivePlanner,
    Candidates,
    Clock,
    gained,
    normalized,
    worst_if_not_a_number,
)
from dream_agents.planners.base import Memory, Plan, take


class FastAdaptive:
    """An :class:`AdaptivePlanner` on a :class:`FastTDMPC`.

    :param planner: with a gradient that :meth:`takes`
    """

    uses_autograd: ClassVar[bool] = False

    def __init__(self, planner: AdaptivePlanner):
        self.planner = planner

    @staticmethod
    def takes(planner: AdaptivePlanner) -> bool:
        """Whether the gradient of this planner's objective is written out."""
        return planner.return_lambda == 1

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
        planner, clock = self.planner, Clock(self.planner)
        actions, steps = self._propose(model, z, memory, episode_start, generator)
        proposals, direction = self._ascend(model, steps, actions)
        first = candidates = planner.select(proposals)
        if candidates is not proposals:
            direction = take(direction, planner.best(proposals.value))
        goes_on = True
        while goes_on:
            before = candidates
            if clock.iterations > 0:
                steps = dream(model, z, before.actions[: planner.horizon])
                _, direction = self._ascend(model, steps, before.actions)
            candidates = planner.search(model, z, before, direction)
            goes_on = clock.allows_another() and (is_tracing() or gained(before, candidates))
        return planner.choose(first, candidates, clock.iterations, deterministic, generator)

    def _propose(
        self,
        model: FastTDMPC,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, list[Step]]:
        """Candidates ``[L, B, N, A]``, and the steps along them."""
        noise = self.planner.draw(model, z, generator)
        latents = z.unsqueeze(1)
        actions: list[Tensor] = []
        steps: list[Step] = []
        for h, noise_h in enumerate(noise):
            roll_outs = model.policy(latents).expand(-1, noise.shape[2]).at(noise_h)
            actions.append(self.planner.with_previous(h, roll_outs, memory, episode_start))
            if h < self.planner.horizon:
                steps.append(model.step(latents, actions[-1]))
                latents = steps[-1].latent
        return torch.stack(actions), steps

    def _ascend(self, model: FastTDMPC, steps: list[Step], actions: Tensor) -> tuple[Candidates, Tensor]:
        """Predicted returns of ``actions [L, B, N, A]``, and where they grow, shaped as ``actions``."""
        horizon = self.planner.horizon
        end = End(actions[horizon] if model.takes_action_in_value else None)
        objective, gradient, to_last = objective_and_gradient(model, steps, actions[:horizon], end)
        if end.action is not None:
            gradient = torch.cat((gradient, to_last.unsqueeze(0)))
        return Candidates(actions, worst_if_not_a_number(objective.value)), normalized(gradient)
