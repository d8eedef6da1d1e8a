"""Random shooting: the best of many random action sequences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dream_agents.planners.base import Memory, Plan, check_positive
from dream_agents.planners.objective import discounts, imagine


@dataclass
class ShootingPlanner:
    """Take the first action of the random sequence with the largest predicted return.

    Shapes: B environments, N sequences, H steps, A action dimensions.

    :param horizon: H, planned steps
    :param samples: N, random sequences
    """

    horizon: int = 3
    samples: int = 100

    def __post_init__(self) -> None:
        check_positive(self, horizon=self.horizon, samples=self.samples)

    def initial_memory(self, model, batch_size: int) -> Memory:
        """Nothing is remembered."""
        return {}

    @torch.no_grad()
    def plan(
        self, model, z: Tensor, memory: Memory, episode_start: Tensor, deterministic=False, generator=None
    ) -> Plan:
        """Draw, imagine, choose."""
        shape = (self.horizon, len(z), self.samples, model.action_dim)
        actions = torch.rand(shape, generator=generator, device=z.device) * 2 - 1  # [H, B, N, A]
        latents = imagine(model, z, actions)  # [H + 1, B, N, Z]
        reward_weights, value_weight = discounts(model, latents)
        last_action = model.policy(latents[-1]).mean if model.takes_action_in_value else None
        returns = (reward_weights * model.reward(latents[:-1], actions)).sum(0)
        returns = returns + value_weight * model.values(latents[-1], last_action).mean(0)  # [B, N]
        value, best = returns.max(1)
        action = actions[0, torch.arange(len(z)), best]
        return Plan(action, {}, action, torch.zeros_like(action), value, {"value": value})
