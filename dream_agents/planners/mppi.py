"""Model predictive path integral control with a policy prior (Hansen et al. 2022, 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.models.kernels import is_tracing
from dream_agents.planners.base import Memory, Plan, check_kinds, check_positive, normal, take
from dream_agents.planners.objective import planning_objective, roll_out_policy

#: sequences that are scored at once on a CPU; more of them leave its cache, and take four times as long each
_ROWS_IN_CACHE = 2048


@dataclass
class MPPIPlanner:
    """TD-MPC2's planner. Shapes: B environments, N sequences, H steps, A action dimensions.

    :param horizon: H, planned steps
    :param iterations: refinements of the distribution; None means 6, or 8 from 20 action dimensions on
    :param samples: sequences an iteration, policy roll-outs included
    :param policy_samples: roll-outs of the policy among them
    :param elites: best sequences that shape the distribution
    :param min_std: smallest standard deviation
    :param max_std: largest and first standard deviation
    :param temperature: sharpness of the elites' weights
    :param uncertainty_coef: lambda of Eq. 6, weight of the uncertainty penalty ("test-time regularization")
    :param autocast: "bfloat16" dreams under autocast, as exactly as learning under it; None in the model's precision
    """

    uses_autograd: ClassVar[bool] = False

    horizon: int = 3
    iterations: int | None = None
    samples: int = 512
    policy_samples: int = 24
    elites: int = 64
    min_std: float = 0.05
    max_std: float = 2.0
    temperature: float = 0.5
    uncertainty_coef: float = 0.0
    autocast: str | None = None

    def __post_init__(self) -> None:
        if self.autocast not in (None, "bfloat16"):
            raise ValueError(f'MPPIPlanner(autocast={self.autocast!r}) is not known; use "bfloat16" or None')
        check_kinds(self)
        check_positive(
            self, horizon=self.horizon, samples=self.samples, elites=self.elites, min_std=self.min_std
        )
        if self.max_std < self.min_std:
            raise ValueError(
                f"MPPIPlanner(min_std={self.min_std}, max_std={self.max_std}): max_std must not be below min_std"
            )
        if self.temperature < 0:
            raise ValueError(f"MPPIPlanner(temperature={self.temperature}): temperature must be at least 0")
        check_positive(self, iterations=1 if self.iterations is None else self.iterations)
        if not 0 <= self.policy_samples < self.samples or self.elites > self.samples:
            raise ValueError(
                f"MPPIPlanner(samples={self.samples}, policy_samples={self.policy_samples}, elites={self.elites}): "
                "policy_samples must be below samples, elites at most samples"
            )

    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """Zero mean ``[B, H, A]``."""
        return {"mean": torch.zeros(batch_size, self.horizon, model.action_dim, device=model.device)}

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
        """Refine a Gaussian over action sequences and draw one of its elites."""
        batch = len(z)
        drawn = torch.randperm(model.num_values, generator=generator, device=z.device)[:2]
        members = drawn if is_tracing() else drawn.tolist()  # of a list, only these are evaluated
        # The policy's roll-outs stay the same over the iterations, so they are scored once.
        policy_actions = z.new_zeros(self.horizon, batch, 0, model.action_dim)  # [H, B, P, A]
        policy_scores = z.new_zeros(batch, 0)
        if self.policy_samples > 0:
            with self._precision(z):
                policy_actions = roll_out_policy(model, z, self.horizon, self.policy_samples, generator)
            policy_scores = self.score(model, z, policy_actions, members, generator)
        mean = memory["mean"].roll(-1, 1)
        mean[:, -1] = 0
        mean = torch.where(episode_start[:, None, None], 0.0, mean).transpose(0, 1)  # [H, B, A]
        std = torch.full_like(mean, self.max_std)
        iterations = self.iterations or (6 if model.action_dim < 20 else 8)
        sampled = (self.horizon, batch, self.samples - self.policy_samples, model.action_dim)
        for _ in range(iterations):
            noise = normal(z, generator, *sampled)
            candidates = torch.addcmul(mean.unsqueeze(2), noise, std.unsqueeze(2)).clamp_(-1, 1)
            scores = torch.cat(
                (policy_scores, self.score(model, z, candidates, members, generator)), 1
            )  # [B, N]
            candidates = torch.cat((policy_actions, candidates), 2)
            top, index = scores.topk(self.elites, dim=1)  # [B, E]
            elites = take(candidates, index)  # [H, B, E, A]
            weights = torch.softmax(self.temperature * top, 1)  # [B, E]
            with torch.autocast(z.device.type, enabled=False):  # actions keep their digits
                mean = torch.einsum("be,hbea->hba", weights, elites)
                variance = torch.einsum("be,hbea->hba", weights, (elites - mean.unsqueeze(2)).square())
            std = variance.sqrt().clamp(self.min_std, self.max_std)
        chosen = torch.multinomial(weights, 1, generator=generator)  # [B, 1]
        first = take(elites[:1], chosen)[0, :, 0]  # [B, A]
        action = first
        if not deterministic:
            noise = normal(z, generator, *first.shape)
            action = torch.addcmul(first, noise, std[0]).clamp(-1, 1)
        value = (weights * top).sum(1)
        info = {"value": value, "value_best": top[:, 0], "std": std[0].mean(1)}
        if self.policy_samples > 0:
            info["value_policy"] = policy_scores.mean(1)
        return Plan(action, {"mean": mean.transpose(0, 1)}, first, std[0], value, info)

    def score(
        self,
        model: WorldModel,
        z: Tensor,
        actions: Tensor,
        members: Sequence[int] | Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Predicted returns ``[B, N]`` of ``actions [H, B, N, A]`` from ``z [B, Z]``; 0 where they are not numbers."""
        together = max(1, _ROWS_IN_CACHE // actions.shape[2]) if z.is_cpu else len(z)
        parts = zip(z.split(together), actions.split(together, 1), strict=True)
        return torch.cat([self._score(model, *part, members, generator) for part in parts])

    def _score(
        self,
        model: WorldModel,
        z: Tensor,
        actions: Tensor,
        members: Sequence[int] | Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        with self._precision(z):
            objective = planning_objective(
                model,
                z,
                actions,
                lambda last: model.policy(last).sample(generator),
                self.uncertainty_coef,
                members=members,
            )
        return objective.value.nan_to_num_(0.0, 0.0, 0.0)

    def _precision(self, z: Tensor) -> AbstractContextManager[object]:
        """Dreaming in bfloat16 if that is asked for; the Gaussian over sequences stays as exact as it is."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(z.device.type, torch.bfloat16)
