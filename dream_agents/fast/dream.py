"""Alg. 1 in one pass over TD-MPC2's or BMPC's weights; it equals :mod:`dream_agents.planners.dream`.

Roll-outs and the plans that they are mixed into are dreamt in the same calls, which the gradient then uses.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dream_agents.fast.gradient import act_at, dream, objective_and_gradient
from dream_agents.fast.tdmpc import FastTDMPC, Step
from dream_agents.planners.base import Described, Memory, Plan
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.gradient import describe


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
            found, gradient, _ = objective_and_gradient(
                model,
                steps,
                actions,
                act_at(model, steps[-1].latent[:, : planner.candidates], noise),
                members,
                planner.uncertainty_coef,
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
