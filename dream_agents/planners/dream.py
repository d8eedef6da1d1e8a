"""Dream-MPC: a few policy roll-outs, each improved by gradient ascent (Alg. 1 and 3 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners.base import Memory
from dream_agents.planners.gradient import GradientPlanner


@dataclass
class DreamPlanner(GradientPlanner):
    """Gradient-based planning with latent imagination. Shapes: B environments, N candidates, H steps, A actions.

    The defaults are those on TD-MPC2's and BMPC's world models (Alg. 1); on Dreamer's (Alg. 3) they are ``horizon=15,
    proposal_noise=0.2, return_lambda=0.95, uncertainty_coef=0``.

    :param candidates: N, action sequences, roll-outs of the stochastic policy
    :param reuse: rho, weight of the previous plan in the initial actions (Eq. 3)
    :param proposal_noise: sigma_a, noise around one roll-out that gives all action sequences (Eq. 15); None for a
        roll-out each (Eq. 2)
    """

    uncertainty_coef: float = 0.01
    reuse: float = 0.1
    proposal_noise: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.reuse <= 1:
            raise ValueError(f"{type(self).__name__}(reuse={self.reuse}): reuse must lie in [0, 1]")
        if self.proposal_noise is not None and self.proposal_noise < 0:
            raise ValueError(
                f"{type(self).__name__}(proposal_noise={self.proposal_noise}): proposal_noise must be at least 0, "
                "or None for a roll-out of the policy for each candidate"
            )

    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """An empty plan ``[B, H (+ 1), N, A]``."""
        shape = (batch_size, self._length(model), self.candidates, model.action_dim)
        return {"plan": torch.zeros(shape, device=model.device)}

    def remember(self, actions: Tensor) -> Memory:
        """The improved plan."""
        return {"plan": actions.transpose(0, 1)}

    def propose(
        self,
        model: WorldModel,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[Any]]:
        """Policy roll-outs (Eq. 2), or one with noise (Eq. 15), mixed with the previous plan (Eq. 3).

        The policy follows its own roll-outs. Where the model keeps the steps it dreams for the gradient, the resulting
        sequences are dreamt in the same calls, so that the dynamics' weights are read once for both.

        :return: actions ``[H(+1), B, N, A]`` and the model's steps along them, if it keeps them
        """
        keeps = model.keeps_steps and not self.uses_autograd
        changes = self.reuse > 0 or self.proposal_noise is not None
        roll_outs = self.candidates if self.proposal_noise is None else 1
        started = episode_start[:, None, None]
        previous = torch.where(
            started, 0.0, self._shifted(memory).to(z.dtype)
        ).unbind()  # H(+1) times [B, N, A]
        weight = torch.where(started, 0.0, self.reuse).to(z.dtype)  # [B, 1, 1]
        distribution = model.policy(z.unsqueeze(1)).expand(-1, roll_outs)
        latents = z.unsqueeze(1)
        actions: list[Tensor] = []
        steps: list[Any] = []
        for last in previous:
            proposal = distribution.sample(generator)  # [B, N or 1, A]
            actions.append(torch.lerp(self._spread(proposal, generator), last, weight))
            if len(actions) < len(previous):
                dreamt = torch.cat((actions[-1], proposal), 1) if keeps and changes else proposal
                latents, step = model.step(latents, dreamt)
                steps.append(step)
                distribution = model.policy(latents[:, -roll_outs:])
        if keeps and len(steps) < self.horizon:  # the step to V(z_H), where the policy has no more to say
            steps.append(model.step(latents[:, : self.candidates], actions[-1])[1])
        return torch.stack(actions), steps if keeps else []

    def _spread(self, proposal: Tensor, generator: torch.Generator | None) -> Tensor:
        """Candidates ``[B, N, A]`` around the one roll-out's action ``[B, 1, A]``; roll-outs as they are."""
        if self.proposal_noise is None:
            return proposal
        shape = (len(proposal), self.candidates, proposal.shape[-1])
        noise = torch.randn(shape, generator=generator, dtype=proposal.dtype, device=proposal.device)
        return torch.add(proposal, noise, alpha=self.proposal_noise).clamp_(-1, 1)

    def _shifted(self, memory: Memory) -> Tensor:
        """The previous plan ``[H(+1), B, N, A]`` from the present step on, its last action repeated."""
        previous = memory["plan"].transpose(0, 1)
        return torch.cat((previous[1:], previous[-1:]))
