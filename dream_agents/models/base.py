"""The contract between world models and planners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from dream_agents.models.heads import ActionDistribution
from dream_agents.models.objective import Objective, objective_and_gradient


class WorldModel(nn.Module, ABC):
    """A learned model that planners can dream in.

    Everything is batched over leading dimensions, which broadcast between latents and actions
    (``z [B, 1, Z]`` goes with ``a [B, N, A]``), and differentiable in ``z`` and ``a``. The latent is one tensor
    ``[..., Z]``, whatever the model. Actions lie in [-1, 1].
    """

    latent_dim: int
    action_dim: int
    #: members of the value ensemble
    num_values: int
    #: whether :meth:`values` are Q(z, a) or V(z)
    takes_action_in_value: bool
    #: whether the task can end before its time limit, so that :meth:`continuation` has to be asked
    episodic: bool
    #: whether :meth:`objective_and_gradient` does without autograd and takes what :meth:`step` kept
    keeps_steps: bool = False
    #: discount factor of the returns that :meth:`values` predict
    discount: float

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def initial_memory(self, batch_size: int) -> dict[str, Tensor]:
        """Recurrent memory at an episode's start, each ``[batch_size, ...]``; empty for feed-forward encoders."""
        return {}

    def prepared(self, pack: bool = True) -> WorldModel:
        """Return this model made ready for planning; it gives the same results, up to rounding.

        To be asked for anew before each decision, since weights may have changed.

        :param pack: whether many decisions with these weights are to come, so that work on the weights pays off
        """
        return self

    @abstractmethod
    def observe(
        self,
        obs: Tensor,
        memory: dict[str, Tensor] | None = None,
        episode_start: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode observations ``[..., *obs_shape]`` into latents ``[..., Z]`` and the new memory.

        :param generator: of the random numbers of models whose latents are samples; None for PyTorch's global one
        """

    def remember_action(self, memory: dict[str, Tensor], action: Tensor) -> dict[str, Tensor]:
        """The memory that :meth:`observe` gave, with the actions ``[B, A]`` that are executed then."""
        return memory

    @abstractmethod
    def next(self, z: Tensor, action: Tensor) -> Tensor:
        """Latent ``[..., Z]`` after taking actions ``[..., A]`` in latents ``[..., Z]``."""

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Any]:
        """:meth:`next`, and what :meth:`objective_and_gradient` can use of it where ``keeps_steps``.

        :param z: latents ``[B, 1, Z]`` or ``[B, K, Z]``
        :param action: ``[B, K, A]``
        """
        return self.next(z, action), None

    @abstractmethod
    def reward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predicted reward ``[...]`` of taking ``action`` in ``z``, in reward units."""

    def rewards_along(self, latents: Tensor, actions: Tensor, last: Tensor) -> Tensor:
        """Predicted rewards ``[H, ...]`` of an imagined path; for models that read rewards off where a step leads.

        :param latents: where actions are taken ``[H, ..., Z]``
        :param actions: ``[H, ..., A]``
        :param last: where the last one leads ``[..., Z]``
        """
        return self.reward(latents, actions)

    def continuation(self, z: Tensor) -> Tensor:
        """1 where the task goes on in ``z``, 0 where it has ended, ``[...]``."""
        return torch.ones(z.shape[:-1], dtype=z.dtype, device=z.device)

    @abstractmethod
    def values(self, z: Tensor, action: Tensor | None, members: Sequence[int] | None = None) -> Tensor:
        """Predicted returns ``[M, ...]`` of the ensemble's ``members`` (all by default), in return units.

        State-value models ignore ``action``.
        """

    def objective_and_gradient(
        self, z: Tensor, actions: Tensor, uncertainty_coef: float, steps: Sequence[Any] = ()
    ) -> tuple[Objective, Tensor]:
        """The planning objective (Eq. 6) and its gradient with respect to the actions only.

        :param z: latents ``[B, Z]``
        :param actions: as for :func:`planning_objective`
        :param steps: H times what :meth:`step` gave for these actions as the first N of its K
        :return: objective ``[B, N]`` and gradient, shaped as ``actions``
        """
        return objective_and_gradient(self, z, actions, uncertainty_coef)

    @abstractmethod
    def policy(self, z: Tensor) -> ActionDistribution:
        """The policy prior in latents ``[..., Z]``."""
