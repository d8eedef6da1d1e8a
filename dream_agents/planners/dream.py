"""Dream-MPC: a few policy roll-outs, each improved by gradient ascent (Alg. 1 and 3 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners.base import Memory, normal
from dream_agents.planners.gradient import GradientPlanner
from dream_agents.planners.objective import Objective, planning_objective, roll_out_policy

READINGS = ("authors", "paper")


@dataclass
class DreamPlanner(GradientPlanner):
    """Gradient-based planning with latent imagination. Shapes: B environments, N candidates, H steps, A actions.

    The defaults are for TD-MPC2's world model (Alg. 1). On Dreamer's (Alg. 3) they are ``horizon=15,
    proposal_noise=0.2, return_lambda=0.95, uncertainty_coef=0, exploration_std=0.3``, and on BMPC's
    ``uncertainty_coef=0.1``; agents take these for "dream" by name.

    ``reading`` says whose algorithm it is, where the paper's text and its authors' code differ:

    ================================  ===================================  ===========================================
    ..                                ``"authors"``                        ``"paper"``
    ================================  ===================================  ===========================================
    a_H of Q(z_H, a_H)                the policy's, at z_H                 one more action of the plan, improved, too
    uncertainty                       at (z_{h+1}, a_h), not in gradients  at (z_h, a_h), in gradients, too
    value at the end                  mean of two random members           mean of all members
    actions                           clamped after the last step          clamped after each step
    gradient                          of all candidates, norm at most 20   as it is
    ``iterations=None``               1, or 3 from 20 actions on           1
    predictions that are not numbers  count as 0                           are not chosen
    ================================  ===================================  ===========================================

    :param reading: ``"authors"``, which made the published tables, or ``"paper"``
    :param iterations: I, gradient steps; None for the reading's
    :param reuse: rho, weight of the previous plan in the initial actions (Eq. 3)
    :param proposal_noise: sigma_a, noise around one roll-out that gives all action sequences (Eq. 15); None for a
        roll-out each (Eq. 2)
    """

    iterations: int | None = None
    uncertainty_coef: float = 0.01
    reading: str = "authors"
    reuse: float = 0.1
    proposal_noise: float | None = None

    #: the authors' largest norm of the gradient with respect to all actions of a decision
    max_gradient_norm = 20.0
    #: members of the value ensemble whose mean the authors take at the end
    end_values = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.reading not in READINGS:
            raise ValueError(f'{name}(reading={self.reading!r}): choose "authors" or "paper"')
        if not 0 <= self.reuse <= 1:
            raise ValueError(f"{name}(reuse={self.reuse}): reuse must lie in [0, 1]")
        if self.proposal_noise is not None and self.proposal_noise < 0:
            raise ValueError(
                f"{name}(proposal_noise={self.proposal_noise}): proposal_noise must be at least 0, "
                "or None for a roll-out of the policy for each candidate"
            )

    @property
    def by_the_letter(self) -> bool:
        """Whether this is the paper's text."""
        return self.reading == "paper"

    def plan_length(self, model: WorldModel) -> int:
        """Actions of a plan: H, and by the letter one more where its end is valued by Q(z_H, a_H)."""
        return self.horizon + int(self.by_the_letter and model.takes_action_in_value and self.terminal_value)

    def iterations_for(self, model: WorldModel) -> int:
        """Gradient steps of a decision in ``model``."""
        if self.iterations is not None:
            return self.iterations
        return 3 if not self.by_the_letter and model.action_dim >= 20 else 1

    # ------------------------------------------------- initial actions (Eq. 2, 3, 15)

    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """An empty plan ``[B, H, N, A]``."""
        shape = (batch_size, self.plan_length(model), self.candidates, model.action_dim)
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
    ) -> Tensor:
        """Policy roll-outs (Eq. 2), or one with noise (Eq. 15), mixed with the previous plan (Eq. 3)."""
        length = self.plan_length(model)
        if self.proposal_noise is None:
            proposed = roll_out_policy(model, z, length, self.candidates, generator)
        else:
            proposed = roll_out_policy(model, z, length, 1, generator)
            noise = normal(z, generator, length, len(z), self.candidates, model.action_dim)
            proposed = (proposed + self.proposal_noise * noise).clamp(-1, 1)
        return torch.lerp(proposed, *self.reused(memory, episode_start, z.dtype))

    def reused(self, memory: Memory, episode_start: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The previous plan ``[H, B, N, A]`` from the present step on, its last action repeated, and its weight."""
        started = episode_start[:, None, None]
        previous = memory["plan"].transpose(0, 1).to(dtype)
        shifted = torch.cat((previous[1:], previous[-1:])).masked_fill(started, 0)
        return shifted, torch.where(started, 0.0, self.reuse).to(dtype)

    # ------------------------------------------------------------- improvement (Eq. 6)

    def objective(
        self, model: WorldModel, z: Tensor, actions: Tensor, generator: torch.Generator | None
    ) -> Objective:
        """J ``[B, N]`` of ``actions [H, B, N, A]`` from ``z [B, Z]``, as ``reading`` has it."""
        if not self.terminal_value:
            return super().objective(model, z, actions, generator)
        if self.by_the_letter:
            return planning_objective(
                model,
                z,
                actions[: self.horizon],
                lambda last: actions[self.horizon],
                self.uncertainty_coef,
                return_lambda=self.return_lambda,
            )
        noise, members = self.draw(model, z, generator)
        objective = planning_objective(
            model,
            z,
            actions,
            lambda last: model.policy(last).at(noise),
            self.uncertainty_coef,
            uncertainty_after=True,
            members=members,
            return_lambda=self.return_lambda,
        )
        return Objective(objective.value.nan_to_num(0.0, 0.0, 0.0), objective.penalty)

    def draw(
        self, model: WorldModel, z: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """Noise ``[B, 1, A]`` of the policy's action at the end, and which values count there, None for all."""
        noise = normal(z, generator, len(z), 1, model.action_dim)
        if model.num_values <= self.end_values:
            return noise, None
        return noise, normal(z, generator, model.num_values).topk(self.end_values).indices

    def ascend(self, actions: Tensor, gradient: Tensor) -> Tensor:
        """One step of ``step_size`` along the gradient; a candidate whose prediction fails stays as it was."""
        if self.by_the_letter:
            return super().ascend(actions, gradient)
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        norm = gradient.square().sum((0, 2, 3), keepdim=True).sqrt()  # [1, B, 1, 1]
        return actions + self.step_size * gradient * (self.max_gradient_norm / norm).clamp(max=1)
