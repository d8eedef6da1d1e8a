"""Planning by gradient ascent on the predicted return: what Dream-MPC, Grad-MPC and their kin share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners.base import Described, Memory, Plan, check_kinds, check_positive, explore, normal
from dream_agents.planners.objective import Objective, planning_objective, sum_of_rewards

#: range of the standard deviation that a policy which imitates plans (BMPC's) is given; MPPI's
MIN_EXPERT_STD, MAX_EXPERT_STD = 0.05, 2.0


@dataclass
class GradientPlanner(ABC):
    """Proposes action sequences, improves each by gradient ascent, and acts with the best.

    Shapes: B environments, N candidates, H steps, A actions.

    :param horizon: H, planned steps
    :param candidates: N, action sequences
    :param iterations: I, gradient steps
    :param step_size: alpha, in action units for each unit of predicted return
    :param uncertainty_coef: lambda, weight of the uncertainty penalty (Eq. 6)
    :param return_lambda: of the lambda-return (Eq. 14); 1 takes the value at the horizon only (Eq. 6)
    :param terminal_value: whether the value at the horizon counts; False sums rewards, undiscounted (Eq. 12)
    :param exploration_std: standard deviation of the noise on the executed action unless deterministic
    :param expert_std: standard deviation around the best candidate that a policy which imitates plans is given; None
        for mean and standard deviation of all candidates' first actions
    """

    horizon: int = 3
    candidates: int = 5
    iterations: int | None = 1
    step_size: float = 0.1
    uncertainty_coef: float = 0.0
    return_lambda: float = 1.0
    terminal_value: bool = True
    exploration_std: float = 0.0
    expert_std: float | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_kinds(self)
        check_positive(self, horizon=self.horizon, candidates=self.candidates)
        check_positive(self, expert_std=1 if self.expert_std is None else self.expert_std)
        for option in ("iterations", "step_size", "uncertainty_coef", "exploration_std"):
            if (getattr(self, option) or 0) < 0:
                raise ValueError(f"{name}({option}={getattr(self, option)}): {option} must be at least 0")
        if not 0 <= self.return_lambda <= 1:
            raise ValueError(f"{name}(return_lambda={self.return_lambda}): return_lambda must lie in [0, 1]")
        if self.return_lambda != 1 and not self.terminal_value:
            raise ValueError(
                f"{name}(return_lambda={self.return_lambda}, terminal_value=False): a lambda-return "
                "is made of values; set terminal_value=True, or leave return_lambda at 1"
            )

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
    ) -> Tensor:
        """Initial action sequences ``[H, B, N, A]``."""

    def remember(self, actions: Tensor) -> Memory:
        """Memory for the next decision from the improved ``actions [H, B, N, A]``; by default nothing."""
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
        actions = self.propose(model, z, memory, episode_start, generator)  # [H, B, N, A]
        actions, objective, info = self.improve(model, z, actions, generator)
        return self.choose(actions, objective, info, deterministic, generator)

    def improve(
        self, model: WorldModel, z: Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Ascend the objective from ``actions [H, B, N, A]``, in latents ``z [B, Z]``.

        :return: improved actions in [-1, 1], the objective ``[B, N]`` at the last gradient's point, and info
        """
        iterations = self.iterations_for(model)
        if iterations == 0:
            objective = self.objective(model, z, actions, generator)
            return actions, objective.value, {"uncertainty": objective.penalty.mean(1)}
        for _ in range(iterations):
            before = actions
            objective, gradient = self.objective_and_gradient(model, z, actions, generator)
            actions = self.ascend(actions, gradient)
        actions = actions.clamp(-1, 1)
        return actions, objective.value, Described(lambda: describe(objective, gradient, actions - before))

    def objective_and_gradient(
        self, model: WorldModel, z: Tensor, actions: Tensor, generator: torch.Generator | None
    ) -> tuple[Objective, Tensor]:
        """J ``[B, N]`` and dJ/da, shaped as ``actions``."""
        actions = actions.detach().requires_grad_()
        with torch.enable_grad():
            objective = self.objective(model, z, actions, generator)
            (gradient,) = torch.autograd.grad(objective.value.sum(), actions)
        return Objective(objective.value.detach(), objective.penalty.detach()), gradient

    def objective(
        self, model: WorldModel, z: Tensor, actions: Tensor, generator: torch.Generator | None
    ) -> Objective:
        """J of ``actions [H, B, N, A]``; the policy acts at the end, with the same noise for all candidates."""
        if not self.terminal_value:
            return sum_of_rewards(model, z, actions)
        noise = normal(z, generator, len(z), 1, model.action_dim)
        return planning_objective(
            model,
            z,
            actions,
            lambda last: model.policy(last).at(noise),
            self.uncertainty_coef,
            return_lambda=self.return_lambda,
        )

    def ascend(self, actions: Tensor, gradient: Tensor) -> Tensor:
        """One step of ``step_size`` along the gradient; a candidate whose prediction fails stays as it was."""
        return (actions + self.step_size * gradient.nan_to_num(0.0, 0.0, 0.0)).clamp(-1, 1)

    def choose(
        self,
        actions: Tensor,
        objective: Tensor,
        info: Mapping[str, Tensor],
        deterministic: bool,
        generator: torch.Generator | None,
    ) -> Plan:
        """Act with the first of the ``actions [H, B, N, A]`` whose ``objective [B, N]`` is largest."""
        value, best = objective.nan_to_num(-torch.inf).max(1)  # [B]
        first = actions[0, torch.arange(len(best), device=best.device), best]  # [B, A]
        action = first if deterministic else explore(first, self.exploration_std, generator)
        mean, std = first, torch.full_like(first, self.expert_std or 0.0)
        if self.expert_std is None:
            mean = actions[0].mean(1)
            std = spread(actions[0]).clamp(MIN_EXPERT_STD, MAX_EXPERT_STD)

        def described() -> dict[str, Tensor]:
            return {**info, "value": value, "candidate_spread": spread(actions[0]).mean(1)}

        return Plan(action, self.remember(actions), mean, std, value, Described(described))

    def iterations_for(self, model: WorldModel) -> int:
        """Gradient steps of a decision in ``model``."""
        return 1 if self.iterations is None else self.iterations


def spread(actions: Tensor) -> Tensor:
    """Standard deviation ``[B, A]`` over candidates ``[B, N, A]``; 0 of a single one."""
    return torch.zeros_like(actions[:, 0]) if actions.shape[1] == 1 else actions.std(1)


def describe(objective: Objective, gradient: Tensor, change: Tensor) -> dict[str, Tensor]:
    """What TensorBoard shows, each ``[B]``; the value after the step is its first-order prediction."""
    gain = (gradient * change).sum((0, 3))  # [B, N]
    return {
        "value_before": objective.value.mean(1),
        "value_after": (objective.value + gain).mean(1),
        "gradient_norm": gradient.square().sum((0, 3)).sqrt().mean(1),
        "step": change.abs().mean((0, 2, 3)),
        "uncertainty": objective.penalty.mean(1),
    }
