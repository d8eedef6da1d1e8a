"""Dream-MPC: a few policy roll-outs, each improved by gradient ascent (Alg. 1 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.models.objective import Objective, planning_objective
from dream_agents.planners.base import Described, Memory, Plan, check_positive


@dataclass
class DreamPlanner:
    """Gradient-based planning with latent imagination. Shapes: B environments, N candidates, H steps, A actions.

    Where values take an action, a candidate has H + 1 actions and the last one enters Q(z_H, a_H); otherwise H.

    :param horizon: H, planned steps
    :param candidates: N, roll-outs of the stochastic policy
    :param iterations: I, gradient steps
    :param step_size: alpha, in action units for each unit of predicted return
    :param reuse: rho, weight of the previous plan in the initial actions (Eq. 3)
    :param uncertainty_coef: lambda, weight of the uncertainty penalty (Eq. 6)
    :param exploration_std: standard deviation of the noise on the executed action unless deterministic
    """

    #: the model's own gradient serves, where it has one
    uses_autograd: ClassVar[bool] = False

    horizon: int = 3
    candidates: int = 5
    iterations: int = 1
    step_size: float = 0.1
    reuse: float = 0.1
    uncertainty_coef: float = 0.01
    exploration_std: float = 0.3

    def __post_init__(self) -> None:
        check_positive(self, horizon=self.horizon, candidates=self.candidates)
        if self.iterations < 0 or self.step_size < 0 or self.exploration_std < 0 or self.uncertainty_coef < 0:
            raise ValueError(
                f"{self}: iterations, step_size, uncertainty_coef and exploration_std must be at least 0"
            )
        if not 0 <= self.reuse <= 1:
            raise ValueError(f"DreamPlanner(reuse={self.reuse}): reuse must lie in [0, 1]")

    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """An empty plan ``[B, H (+ 1), N, A]``."""
        shape = (batch_size, self._length(model), self.candidates, model.action_dim)
        return {"plan": torch.zeros(shape, device=model.device)}

    def _length(self, model: WorldModel) -> int:
        return self.horizon + int(model.takes_action_in_value)

    @torch.no_grad()
    def plan(
        self,
        model: WorldModel,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Improve policy roll-outs by gradient ascent and take the best one's first action."""
        actions, steps = self.propose(model, z, memory, episode_start, generator)  # [H(+1), B, N, A]
        actions, objective, info = self.improve(model, z, actions, steps)
        value, best = objective.nan_to_num(-torch.inf).max(1)  # [B]
        first = actions[0, torch.arange(len(z), device=z.device), best]  # [B, A]
        action = first
        if not deterministic and self.exploration_std > 0:
            noise = torch.randn(first.shape, generator=generator, device=z.device)
            action = (first + self.exploration_std * noise).clamp(-1, 1)
        std = torch.full_like(first, self.exploration_std)

        def describe() -> dict[str, Tensor]:
            return {**info, "value": value, "candidate_spread": actions[0].std(1, correction=0).mean(1)}

        return Plan(action, {"plan": actions.transpose(0, 1)}, first, std, value, Described(describe))

    def propose(
        self,
        model: WorldModel,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[Any]]:
        """Policy roll-outs (Eq. 2) mixed with the previous plan (Eq. 3).

        The policy follows its own roll-outs. Where the model keeps the steps it dreams for the gradient, the mixed
        sequences are dreamt in the same calls, so that the dynamics' weights are read once for both.

        :return: actions ``[H(+1), B, N, A]`` and the model's steps along them, if it keeps them
        """
        keeps, mixes = model.keeps_steps, self.reuse > 0
        started = episode_start[:, None, None]
        previous = torch.where(started, 0.0, self._shifted(memory)).unbind()  # H(+1) times [B, N, A]
        weight = torch.where(started, 0.0, self.reuse).to(z.dtype)  # [B, 1, 1]
        distribution = model.policy(z.unsqueeze(1)).expand(-1, self.candidates)
        latents = z.unsqueeze(1)
        actions: list[Tensor] = []
        steps: list[Any] = []
        for last in previous:
            proposal = distribution.sample(generator)
            actions.append(torch.lerp(proposal, last, weight))
            if len(actions) < len(previous):
                dreamt = torch.cat((actions[-1], proposal), 1) if keeps and mixes else proposal
                latents, step = model.step(latents, dreamt)
                steps.append(step)
                distribution = model.policy(latents[:, -self.candidates :])
        return torch.stack(actions), steps if keeps else []

    def _shifted(self, memory: Memory) -> Tensor:
        """The previous plan ``[H(+1), B, N, A]`` from the present step on, its last action repeated."""
        previous = memory["plan"].transpose(0, 1)
        return torch.cat((previous[1:], previous[-1:]))

    def improve(
        self, model: WorldModel, z: Tensor, actions: Tensor, steps: Sequence[Any] = ()
    ) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Ascend the objective.

        :param z: latents ``[B, Z]``
        :param actions: ``[H(+1), B, N, A]``
        :param steps: what the model kept of dreaming them
        :return: improved actions, the objective ``[B, N]`` at the last gradient's point, and info
        """
        if self.iterations == 0:
            objective = planning_objective(model, z, actions, self.uncertainty_coef)
            return actions, objective.value, {"uncertainty": objective.penalty.mean(1)}
        for _ in range(self.iterations):
            before = actions
            objective, gradient = model.objective_and_gradient(z, before, self.uncertainty_coef, steps)
            steps = ()
            # A candidate whose prediction fails stays as it was.
            gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
            actions = torch.add(before, gradient, alpha=self.step_size).clamp_(-1, 1)
        return actions, objective.value, Described(lambda: _describe(objective, gradient, actions - before))


def _describe(objective: Objective, gradient: Tensor, change: Tensor) -> dict[str, Tensor]:
    """What TensorBoard shows, each ``[B]``; the value after the step is its first-order prediction."""
    gain = (gradient * change).sum((0, 3))  # [B, N]
    return {
        "value_before": objective.value.mean(1),
        "value_after": (objective.value + gain).mean(1),
        "gradient_norm": gradient.square().sum((0, 3)).sqrt().mean(1),
        "step": change.abs().mean((0, 2, 3)),
        "uncertainty": objective.penalty.mean(1),
    }
