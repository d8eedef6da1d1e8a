"""A replay buffer that draws stretches of what happened, across the ends of episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from dream_agents.replay.sequence import SequenceReplayBuffer


class StreamBatch(NamedTuple):
    """``B`` stretches of ``L`` observations and what led to them, time first."""

    #: ``[L, B, *obs_shape]``
    observations: Tensor
    #: action before each observation, in [-1, 1]; 0 where an episode begins, ``[L, B, A]``
    actions: Tensor
    #: reward that came with each observation; 0 where an episode begins, ``[L, B]``
    rewards: Tensor
    #: 1 where the task had ended; 0 at time limits, ``[L, B]``
    terminated: Tensor
    #: 1 where an episode begins, ``[L, B]``
    is_first: Tensor
    #: latents before the first observations as they were last remembered, ``[B, Z]``; 0 where none was, None if
    #: none ever was
    context: Tensor | None
    #: stores the observations' latents ``[L, B, Z]``, as contexts of batches to come
    remember: Callable[[Tensor], None]

    def last(self, steps: int) -> StreamBatch:
        """The last steps of each stretch; ``remember`` still takes all of them."""
        names = ("observations", "actions", "rewards", "terminated", "is_first")
        return self._replace(context=None, **{name: getattr(self, name)[-steps:] for name in names})


class StreamReplayBuffer(SequenceReplayBuffer):
    """Uniform replay of ``sequence_length`` successive observations of one environment, whatever episodes they are of.

    Latents are kept with observations, in half precision, so that a recurrent model can go on in the middle of an
    episode (the latent replay of DreamerV3). They take ``2 * Z`` bytes an observation.

    Parameters are as in :class:`SequenceReplayBuffer`, but for ``sampling``: stretches go across episodes, so that only
    steps can be drawn uniformly.
    """

    samplings = ("steps",)

    #: ``[slots, n_envs, Z]``, where Z is 0 before the first are remembered
    latents: np.ndarray
    _latent_dim = 0

    def _fields(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        return super()._fields() | {"latents": ((self._latent_dim,), np.float16)}

    def _set_latent_dim(self, latent_dim: int) -> None:
        if latent_dim != self._latent_dim:
            self._latent_dim = latent_dim
            self.latents = self._zeros((len(self.rewards), self.n_envs, latent_dim), np.float16)

    def _put(self, envs: np.ndarray, observations: np.ndarray) -> np.ndarray:
        slots = super()._put(envs, observations)
        self.latents[slots, envs] = 0
        return slots

    def _is_start(self, slots: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Whether a whole stretch begins at these slots, and what was before it is known."""
        length = self.sequence_length
        newest = (self.positions[envs] - 1 - slots) % self.buffer_size  # steps until the newest slot
        older = self.older_frames[slots, envs] + 1 if self.frame_stack > 1 else 1
        oldest_known = np.where(self.filled[envs] < self.buffer_size, 0, older)
        steps = (slots + np.arange(length)[:, None]) % self.buffer_size  # [L, B]
        return (
            (newest >= length - 1)
            & (newest + oldest_known < self.filled[envs])
            & (self.episode_ids[steps, envs] >= 0).all(0)  # no frames that only stand in stacks
        )

    def why_empty(self) -> str:
        """Say what is missing where :meth:`can_sample` is false."""
        used = int(self.filled.sum())
        return (
            f"the replay buffer holds no sub-sequence of {self.sequence_length} steps of one environment "
            f"({used} slots in use)"
        )

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> StreamBatch:  # type: ignore[override]
        """Draw stretches uniformly over their start points.

        :param batch_size: number of stretches ``B``
        :param env: normalises observations and rewards, if given
        :raises ValueError: if there are too few steps yet
        """
        starts, envs = self._draw_starts(batch_size)
        slots = (starts + np.arange(-1, self.sequence_length)[:, None]) % self.buffer_size  # [L + 1, B]
        before, slots = slots[:-1], slots[1:]
        known = (slots > 0) | (self.filled[envs] == self.buffer_size)  # [L, B]
        goes_on = known & (self.episode_ids[before, envs] == self.episode_ids[slots, envs])
        rewards = self.rewards[before, envs]
        if env is not None:
            rewards = env.normalize_reward(rewards)

        def tensor(array: np.ndarray) -> Tensor:
            return self.to_torch(np.asarray(array, np.float32), copy=False)

        def remember(latents: Tensor) -> None:
            self._set_latent_dim(latents.shape[-1])
            self.latents[slots, envs] = latents.detach().to(torch.float16).cpu().numpy()

        return StreamBatch(
            observations=self._read_observations(slots, envs, env),
            actions=tensor(self.actions[before, envs] * goes_on[..., None]),
            rewards=tensor(rewards * goes_on),
            terminated=tensor(self.terminated[before, envs] * goes_on),
            is_first=tensor(~goes_on),
            context=tensor(self.latents[before[0], envs]) if self._latent_dim > 0 else None,
            remember=remember,
        )

    def sample_aside(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Draw a batch to try things on: later draws are the same as without it, and it remembers no latents."""
        return super().sample_aside(batch_size, env)._replace(remember=lambda latents: None)

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what :meth:`state_arrays` gave.

        :raises ValueError: if the arrays were stored by a buffer of another size or other spaces
        """
        self._make_room()
        self._set_latent_dim(arrays["latents"].shape[-1])
        super().load_state_arrays(arrays)
