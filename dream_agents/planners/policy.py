"""No planning: the policy prior acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners.base import Memory, Plan, check_kinds, explore


@dataclass
class PolicyPlanner:
    """Act with the policy: its mean if deterministic, a sample otherwise.

    :param exploration_std: standard deviation of the noise on a sample, 0.3 in Dreamer's first version
    """

    uses_autograd: ClassVar[bool] = False

    exploration_std: float = 0.0

    def __post_init__(self) -> None:
        check_kinds(self)
        if self.exploration_std < 0:
            raise ValueError(
                f"PolicyPlanner(exploration_std={self.exploration_std}): exploration_std must be at least 0"
            )

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
        """Ask the policy at ``z [B, Z]``."""
        distribution = model.policy(z)
        mean = distribution.mean
        action = (
            mean
            if deterministic
            else explore(distribution.sample(generator), self.exploration_std, generator)
        )
        value = model.values(z, action if model.takes_action_in_value else None).mean(0)
        return Plan(action, {}, mean, torch.zeros_like(mean), value, {"value": value})
