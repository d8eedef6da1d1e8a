"""The cross-entropy method, PlaNet's planner (Hafner et al. 2019, Algorithm 2), also seeded by the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners.base import Memory, Plan, check_kinds, check_positive, explore, normal, take
from dream_agents.planners.objective import planning_objective, roll_out_policy, sum_of_rewards


@dataclass
class CEMPlanner:
    """Refits a Gaussian over action sequences to its best samples.

    Every decision starts from zero mean and unit standard deviation, as PlaNet does to stay out of local optima, so
    nothing is remembered. Where the end is valued by Q(z_H, a_H), the policy's mean acts there. Shapes: B environments,
    N sequences, H steps, A actions.

    :param horizon: H, planned steps
    :param iterations: I, refinements of the Gaussian
    :param samples: J, sequences an iteration, policy roll-outs included
    :param elites: K, best sequences that the Gaussian is fitted to
    :param policy_samples: roll-outs of the policy among the sequences ("CEM + policy"); 0 for none, as in PlaNet
    :param uncertainty_coef: lambda of Eq. 6, weight of the uncertainty penalty
    :param terminal_value: whether the value at the horizon counts; False sums rewards, undiscounted, as PlaNet does
    :param exploration_std: standard deviation of the noise on the executed action unless deterministic
    """

    uses_autograd: ClassVar[bool] = False

    horizon: int = 12
    iterations: int = 10
    samples: int = 1000
    elites: int = 100
    policy_samples: int = 0
    uncertainty_coef: float = 0.0
    terminal_value: bool = False
    exploration_std: float = 0.3

    def __post_init__(self) -> None:
        check_kinds(self)
        check_positive(self, horizon=self.horizon, iterations=self.iterations, samples=self.samples)
        if not 2 <= self.elites <= self.samples or not 0 <= self.policy_samples < self.samples:
            raise ValueError(
                f"CEMPlanner(samples={self.samples}, policy_samples={self.policy_samples}, elites={self.elites}): "
                "policy_samples must be below samples, elites from 2 to samples"
            )
        if self.uncertainty_coef < 0 or self.exploration_std < 0:
            raise ValueError(f"{self}: uncertainty_coef and exploration_std must be at least 0")

    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """Nothing is remembered."""
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
        """Fit a Gaussian to the best of its samples, again and again, and take its mean's first action."""
        batch, length = len(z), self.horizon
        # The policy's roll-outs stay the same over the iterations, so they are scored once.
        policy_actions = z.new_zeros(length, batch, 0, model.action_dim)  # [H, B, P, A]
        policy_scores = z.new_zeros(batch, 0)
        if self.policy_samples > 0:
            policy_actions = roll_out_policy(model, z, length, self.policy_samples, generator)
            policy_scores = self.score(model, z, policy_actions)
        mean = z.new_zeros(length, batch, 1, model.action_dim)
        std = torch.ones_like(mean)
        sampled = (length, batch, self.samples - self.policy_samples, model.action_dim)
        for _ in range(self.iterations):
            candidates = torch.addcmul(mean, normal(z, generator, *sampled), std).clamp_(-1, 1)
            scores = torch.cat((policy_scores, self.score(model, z, candidates)), 1)  # [B, N]
            candidates = torch.cat((policy_actions, candidates), 2)
            top, index = scores.topk(self.elites, dim=1)  # [B, K]
            std, mean = torch.std_mean(take(candidates, index), 2, keepdim=True)  # [H, B, 1, A]
        first, first_std = mean[0, :, 0], std[0, :, 0]  # [B, A]
        action = first if deterministic else explore(first, self.exploration_std, generator)
        info = {"value": top.mean(1), "value_best": top[:, 0], "std": first_std.mean(1)}
        if self.policy_samples > 0:
            info["value_policy"] = policy_scores.mean(1)
        return Plan(action, {}, first, first_std, info["value"], info)

    def score(self, model: WorldModel, z: Tensor, actions: Tensor) -> Tensor:
        """Objective ``[B, N]`` of ``actions [H, B, N, A]``; the worst where it is not a number."""
        if self.terminal_value:
            objective = planning_objective(
                model, z, actions, lambda last: model.policy(last).mean, self.uncertainty_coef
            )
        else:
            objective = sum_of_rewards(model, z, actions)
        smallest = torch.finfo(objective.value.dtype).min
        return objective.value.nan_to_num(smallest, smallest, smallest)
