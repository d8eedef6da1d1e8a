"""How replay holds observations: as they are, or each frame of a stack once."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from dream_agents.replay.frames import PackedStacks, StackedFrames, frame_shape


class StoredObservations(ReplayBuffer):
    """The part of :class:`SequenceReplayBuffer` that writes observations into slots, and reads them."""

    #: ``[slots, n_envs, *obs_shape]``; of stacks the newest frames, ``[slots, n_envs, C, H, W]``, and of packed stacks
    #: the newest frames of all images, ``[slots, n_envs, F]``
    observations: np.ndarray
    #: ``[slots, n_envs, R]``, what packed stacks have in addition to frames
    unstacked: np.ndarray
    #: ``[slots, n_envs]``, -1 for frames that only stand in stacks
    episode_ids: np.ndarray
    #: ``[slots, n_envs]``, frames of its episode that a stack reaches back over, at most ``k - 1``
    older_frames: np.ndarray
    positions: np.ndarray
    filled: np.ndarray
    frame_stack: int
    packed_images: tuple[tuple[int, ...], ...] = ()
    _stored_shape: tuple[int, ...]
    _current_ids: np.ndarray

    @abstractmethod
    def _advance(self, envs: np.ndarray, slots: int = 1) -> None:
        """Move the next slots of ``envs`` on."""

    def _shape_to_store(self, space: spaces.Space[Any]) -> tuple[int, ...]:
        """Shape of what a slot of :attr:`observations` holds.

        :raises ValueError: if observations are no stacks of ``frame_stack`` frames
        """
        if self.frame_stack == 1:
            return tuple(self.obs_shape)
        return (self._packed.frame_size,) if self.packed_images else frame_shape(space, self.frame_stack)

    def _observation_fields(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of what is stored of an observation, by the name of the array."""
        dtype = np.uint8 if self.observation_space.dtype == np.uint8 else np.float32
        fields: dict[str, tuple[tuple[int, ...], Any]] = {"observations": (self._stored_shape, dtype)}
        if self.frame_stack > 1:
            fields["older_frames"] = ((), np.int32)
            if self.packed_images:
                fields["unstacked"] = ((math.prod(self.obs_shape) - sum(self._packed.sizes),), np.uint8)
        return fields

    @property
    def _stacks(self) -> StackedFrames:
        return StackedFrames(self.observations, self.older_frames, self.frame_stack)

    @property
    def _packed(self) -> PackedStacks:
        return PackedStacks(self.packed_images, self.frame_stack)

    def _put(self, envs: np.ndarray, observations: np.ndarray) -> np.ndarray:
        """Write an observation of each of ``envs`` into its next slot; return the slots."""
        if self.frame_stack == 1:
            slots = self.positions[envs]
            self.observations[slots, envs] = observations
        elif self.packed_images:
            rest, stacks = self._packed.split(observations)
            slots = self._put_stacks(envs, stacks)
            self.unstacked[slots, envs] = rest
        else:
            slots = self._put_stacks(envs, observations)
        self.episode_ids[slots, envs] = self._current_ids[envs]
        return slots

    def _put_stacks(self, envs: np.ndarray, observations: np.ndarray) -> np.ndarray:
        """Write the newest frames; where an episode starts without padding, the older ones first."""
        stacks, most = self._stacks, self.frame_stack - 1
        before = (self.positions[envs] - 1) % self.buffer_size
        goes_on = (self.filled[envs] > 0) & (self.episode_ids[before, envs] == self._current_ids[envs])
        older = np.where(goes_on, np.minimum(self.older_frames[before, envs] + 1, most), 0)
        unpadded = ~stacks.are_stored(observations, before, envs, goes_on)
        if unpadded.any():
            cut = envs[unpadded, None]
            slots = (self.positions[cut] + np.arange(most)) % self.buffer_size  # [n, k - 1]
            frames = observations[unpadded].reshape(-1, self.frame_stack, *self._stored_shape)
            self.observations[slots, cut], self.episode_ids[slots, cut] = frames[:, :-1], -1
            self._advance(cut[:, 0], most)
            older[unpadded] = most
        slots = self.positions[envs]
        stacks.write(slots, envs, observations, older)
        return slots

    def _read_observations(self, slots: np.ndarray, envs: np.ndarray, env: VecNormalize | None) -> Tensor:
        """Observations ``[L + 1, B, *obs_shape]`` of these slots, on the device."""
        if env is not None and not env.norm_obs:
            env = None
        successive = (slots[1:] == (slots[:-1] + 1) % self.buffer_size).all()
        if self.frame_stack > 1 and self.device.type == "cuda" and env is None and successive:
            read = self._stacks.read_on(self.device, slots, envs)
        else:
            stacked = self.frame_stack > 1
            observations = self._stacks.read(slots, envs) if stacked else self.observations[slots, envs]
            read = self.to_torch(np.asarray(self._normalize_obs(observations, env)), copy=False)
        if self.frame_stack == 1 or not self.packed_images:
            return read
        return self._packed.join(self.to_torch(np.asarray(self.unstacked[slots, envs]), copy=False), read)
