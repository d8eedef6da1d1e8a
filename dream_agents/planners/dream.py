"""Dream-MPC: a few policy roll-outs, each improved by gradient ascent (Alg. 1 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.models.objective import planning_objective
from dream_agents.planners.base import Memory, Plan, check_positive, roll_out_policy


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
        return {"plan": torch.zeros(shape, device=next(model.parameters()).device)}

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
        proposal = roll_out_policy(
            model, z, self._length(model), self.candidates, generator
        )  # [H(+1), B, N, A]
        actions = self.mix_with_previous(proposal, memory, episode_start)
        actions, objective, info = self.improve(model, z, actions)
        best = objective.nan_to_num(-torch.inf).argmax(1)  # [B]
        first = actions[0, torch.arange(len(z), device=z.device), best]  # [B, A]
        action = first
        if not deterministic and self.exploration_std > 0:
            noise = torch.randn(first.shape, generator=generator, device=z.device)
            action = (first + self.exploration_std * noise).clamp(-1, 1)
        value = objective.gather(1, best[:, None]).squeeze(1)
        std = torch.full_like(first, self.exploration_std)
        info |= {"value": value, "candidate_spread": actions[0].std(1, correction=0).mean(1)}
        return Plan(action, {"plan": actions.transpose(0, 1)}, first, std, value, info)

    def mix_with_previous(self, proposal: Tensor, memory: Memory, episode_start: Tensor) -> Tensor:
        """rho * previous plan, shifted by one, + (1 - rho) * proposal, candidate by candidate (Eq. 3)."""
        previous = memory["plan"].transpose(0, 1)  # [H(+1), B, N, A]
        shifted = torch.cat((previous[1:], previous[-1:]))
        shifted = torch.where(episode_start[:, None, None], proposal, shifted)
        return torch.lerp(proposal, shifted, self.reuse)

    def improve(
        self, model: WorldModel, z: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Ascend the objective.

        :param z: latents ``[B, Z]``
        :param actions: ``[H(+1), B, N, A]``
        :return: improved actions, the objective ``[B, N]`` at the last gradient's point, and info
        """
        if self.iterations == 0:
            objective = planning_objective(model, z, actions, self.uncertainty_coef)
            return actions, objective.value, {"uncertainty": objective.penalty.mean(1)}
        for _ in range(self.iterations):
            objective, gradient = model.objective_and_gradient(z, actions, self.uncertainty_coef)
            gradient = gradient.nan_to_num(
                0.0, 0.0, 0.0
            )  # a candidate whose prediction fails stays as it was
            improved = torch.add(actions, gradient, alpha=self.step_size).clamp_(-1, 1)
            change, actions = improved - actions, improved
        return actions, objective.value, self._describe(objective.value, objective.penalty, gradient, change)

    def _describe(
        self, objective: Tensor, penalty: Tensor, gradient: Tensor, change: Tensor
    ) -> dict[str, Tensor]:
        """What TensorBoard shows, each ``[B]``; the value after the step is its first-order prediction."""
        gain = (gradient * change).sum((0, 3))  # [B, N]
        return {
            "value_before": objective.mean(1),
            "value_after": (objective + gain).mean(1),
            "gradient_norm": gradient.square().sum((0, 3)).sqrt().mean(1),
            "step": change.abs().mean((0, 2, 3)),
            "uncertainty": penalty.mean(1),
        }
