"""Planning by gradient ascent on the predicted return: what Dream-MPC, Grad-MPC and their kin share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.models.objective import Objective, objective_and_gradient, planning_objective
from dream_agents.planners.base import Described, Memory, Plan, check_positive, explore, plan_length


@dataclass
class GradientPlanner(ABC):
    """Proposes action sequences, improves each by gradient ascent, and acts with the best.

    Shapes: B environments, N candidates, H steps, A actions. A candidate has H actions, and one more where the end is
    valued by Q(z_H, a_H).

    :param horizon: H, planned steps
    :param candidates: N, action sequences
    :param iterations: I, gradient steps
    :param step_size: alpha, in action units for each unit of predicted return
    :param uncertainty_coef: lambda, weight of the uncertainty penalty (Eq. 6)
    :param return_lambda: of the lambda-return (Eq. 14); 1 takes the value at the horizon only (Eq. 6)
    :param terminal_value: whether the value at the horizon counts; False sums rewards, undiscounted (Eq. 12)
    :param max_gradient: largest norm of the gradient with respect to one action; None for any
    :param exploration_std: standard deviation of the noise on the executed action unless deterministic
    :param expert_std: standard deviation of what a policy that imitates plans (BMPC's) is given
    """

    horizon: int = 3
    candidates: int = 5
    iterations: int = 1
    step_size: float = 0.1
    uncertainty_coef: float = 0.0
    return_lambda: float = 1.0
    terminal_value: bool = True
    max_gradient: float | None = None
    exploration_std: float = 0.3
    expert_std: float = 0.5

    def __post_init__(self) -> None:
        check_positive(self, horizon=self.horizon, candidates=self.candidates)
        check_positive(self, max_gradient=1 if self.max_gradient is None else self.max_gradient)
        if self.iterations < 0 or self.step_size < 0 or self.exploration_std < 0 or self.uncertainty_coef < 0:
            raise ValueError(
                f"{self}: iterations, step_size, uncertainty_coef and exploration_std must be at least 0"
            )
        if self.expert_std <= 0:
            raise ValueError(
                f"{type(self).__name__}(expert_std={self.expert_std}): expert_std must be above 0"
            )
        if not 0 <= self.return_lambda <= 1:
            raise ValueError(
                f"{type(self).__name__}(return_lambda={self.return_lambda}): return_lambda must lie in [0, 1]"
            )
        if self.return_lambda != 1 and not self.terminal_value:
            raise ValueError(
                f"{type(self).__name__}(return_lambda={self.return_lambda}, terminal_value=False): a lambda-return "
                "is made of values; set terminal_value=True, or leave return_lambda at 1"
            )

    @property
    def uses_autograd(self) -> bool:
        """Whether another gradient is needed than the one of Eq. 6, which models may have written out."""
        return self.iterations > 0 and (self.return_lambda != 1 or not self.terminal_value)

    @abstractmethod
    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """What is remembered at an episode's start."""

    @abstractmethod
    def propose(
        self,
        model: WorldModel,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[Any]]:
        """Initial action sequences.

        :return: actions ``[H(+1), B, N, A]`` and the model's steps along them, if it keeps them
        """

    def remember(self, actions: Tensor) -> Memory:
        """Memory for the next decision from the improved ``actions [H(+1), B, N, A]``; by default nothing."""
        return {}

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
        """Improve proposals by gradient ascent and take the best one's first action."""
        actions, steps = self.propose(model, z, memory, episode_start, generator)  # [H(+1), B, N, A]
        actions, objective, info = self.improve(model, z, actions, steps)
        value, best = objective.nan_to_num(-torch.inf).max(1)  # [B]
        first = actions[0, torch.arange(len(z), device=z.device), best]  # [B, A]
        action = first if deterministic else explore(first, self.exploration_std, generator)
        std = torch.full_like(first, self.expert_std)

        def describe() -> dict[str, Tensor]:
            return {**info, "value": value, "candidate_spread": actions[0].std(1, correction=0).mean(1)}

        return Plan(action, self.remember(actions), first, std, value, Described(describe))

    def _length(self, model: WorldModel) -> int:
        return plan_length(model, self.horizon, self.terminal_value)

    def improve(
        self, model: WorldModel, z: Tensor, actions: Tensor, steps: Sequence[Any] = ()
    ) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Ascend the objective.

        :param z: latents ``[B, Z]``
        :param actions: ``[H(+1), B, N, A]``
        :param steps: what the model kept of dreaming them
        :return: improved actions, the objective ``[B, N]`` at the last gradient's point, and info
        """
        kind: dict[str, Any] = {"return_lambda": self.return_lambda, "terminal_value": self.terminal_value}
        if self.iterations == 0:
            objective = planning_objective(model, z, actions, self.uncertainty_coef, **kind)
            return actions, objective.value, {"uncertainty": objective.penalty.mean(1)}
        for _ in range(self.iterations):
            before = actions
            if self.uses_autograd:
                objective, gradient = objective_and_gradient(model, z, before, self.uncertainty_coef, **kind)
            else:
                objective, gradient = model.objective_and_gradient(z, before, self.uncertainty_coef, steps)
            steps = ()
            # A candidate whose prediction fails stays as it was.
            gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
            if self.max_gradient is not None:
                norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
                gradient = gradient * (self.max_gradient / norm.clamp_min(self.max_gradient))
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
