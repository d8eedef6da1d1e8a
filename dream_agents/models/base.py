"""The contract between world models and planners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from dream_agents.models.heads import ActionDistribution


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
    #: discount factor of the returns that :meth:`values` predict
    discount: float

    #: rewards and returns that the heads can tell apart; None for any
    scalar_range: tuple[float, float] | None = None

    @staticmethod
    def options_for_range(largest: float) -> dict[str, float]:
        """Options of the networks whose :attr:`scalar_range` holds rewards and returns up to ``largest`` either way."""
        return {}

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    # ---------------------------------------------------------- observations

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

    def initial_memory(self, batch_size: int) -> dict[str, Tensor]:
        """Recurrent memory at an episode's start, each ``[batch_size, ...]``; empty for feed-forward encoders."""
        return {}

    def remember_action(self, memory: dict[str, Tensor], action: Tensor) -> dict[str, Tensor]:
        """The memory that :meth:`observe` gave, with the actions ``[B, A]`` that are executed then."""
        return memory

    # ----------------------------------------------------------- imagination

    @abstractmethod
    def next(self, z: Tensor, action: Tensor) -> Tensor:
        """Latent ``[..., Z]`` after taking actions ``[..., A]`` in latents ``[..., Z]``."""

    @abstractmethod
    def reward(self, z: Tensor, action: Tensor, next_z: Tensor | None = None) -> Tensor:
        """Predicted reward ``[...]`` of taking ``action`` in ``z``, in reward units.

        :param next_z: where it leads, ``[..., Z]``, if that is known; models that read rewards off it need not ask
            :meth:`next` then
        """

    def continuation(self, z: Tensor) -> Tensor:
        """1 where the task goes on in ``z``, 0 where it has ended, ``[...]``."""
        return torch.ones(z.shape[:-1], dtype=z.dtype, device=z.device)

    @abstractmethod
    def values(self, z: Tensor, action: Tensor | None, members: Sequence[int] | None = None) -> Tensor:
        """Predicted returns ``[M, ...]`` of the ensemble's ``members`` (all by default), in return units.

        State-value models ignore ``action``.
        """

    @abstractmethod
    def policy(self, z: Tensor) -> ActionDistribution:
        """The policy prior in latents ``[..., Z]``."""
