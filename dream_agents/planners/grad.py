"""Gradient-based planners that Dream-MPC is compared with: without a policy, and with a single roll-out of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners.base import Memory, check_positive, normal
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.gradient import GradientPlanner


@dataclass
class GradPlanner(GradientPlanner):
    """Grad-MPC: gradient ascent from Gaussian action sequences, without a policy (Bharadhwaj et al. 2020).

    Horizon, candidates and iterations are PlaNet's, as in the paper of Dream-MPC, and so is the objective: the sum of
    predicted rewards. Step size and the limit of the gradient come from Bharadhwaj et al.'s code, and the step is
    plain gradient ascent. Nothing is remembered from decision to decision.

    :param max_gradient: largest norm of the gradient with respect to one action; None for any
    :param proposal_std: standard deviation of the first action sequences around 0
    """

    horizon: int = 12
    candidates: int = 1000
    iterations: int = 10
    terminal_value: bool = False
    exploration_std: float = 0.3
    max_gradient: float | None = 1.0
    proposal_std: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, proposal_std=self.proposal_std)
        check_positive(self, max_gradient=1 if self.max_gradient is None else self.max_gradient)

    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """Nothing is remembered."""
        return {}

    def propose(
        self,
        model: WorldModel,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Gaussian actions ``[H, B, N, A]``, clamped to [-1, 1]."""
        noise = normal(z, generator, self.horizon, len(z), self.candidates, model.action_dim)
        return (self.proposal_std * noise).clamp_(-1, 1)

    def ascend(self, actions: Tensor, gradient: Tensor) -> Tensor:
        """One step along the gradient, whose norm is limited action by action."""
        if self.max_gradient is not None:
            norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
            gradient = gradient * (self.max_gradient / norm.clamp_min(self.max_gradient))
        return super().ascend(actions, gradient)


@dataclass
class PolicyGradPlanner(DreamPlanner):
    """Policy+Grad-MPC, or hybrid Grad-MPC: one action of the policy, improved by many steps (S V et al. 2023).

    It is Dream-MPC with one candidate, a horizon of one, and neither reuse nor penalty (Table 16).
    """

    horizon: int = 1
    candidates: int = 1
    iterations: int | None = 10
    step_size: float = 0.05
    uncertainty_coef: float = 0.0
    reuse: float = 0.0
    exploration_std: float = 0.3
