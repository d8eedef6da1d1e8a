"""A replay buffer that draws sub-sequences of one episode."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor


class SequenceBatch(NamedTuple):
    """``B`` sub-sequences of ``L`` steps, time first."""

    #: ``[L + 1, B, *obs_shape]``
    observations: Tensor
    #: ``[L, B, A]``, in [-1, 1]
    actions: Tensor
    #: ``[L, B]``
    rewards: Tensor
    #: ``[L, B]``, 1 where the step ended the task; 0 at time limits
    terminated: Tensor


class SequenceReplayBuffer(ReplayBuffer):
    """Uniform replay of sub-sequences of ``sequence_length + 1`` observations inside one episode of one environment.

    Each observation is stored once: a step takes one slot, and the last observation of an episode one more. The
    newest observation becomes available with the step that follows it.

    :param buffer_size: number of slots, over all environments
    :param observation_space: a Box; images keep their dtype, anything else is stored as float32
    :param action_space: a Box
    :param device: where batches go
    :param n_envs: environments that are stored side by side
    :param optimize_memory_usage: accepted for Stable-Baselines3's sake; observations are stored once in any case
    :param handle_timeout_termination: treat time limits as not ending the task
    :param sequence_length: steps ``L`` in a sub-sequence
    :param seed: seed of the draws
    :param folder: keep the arrays in memory-mapped files there instead of in memory, from the first step stored on;
        the files have no names, belong to this buffer alone, and are gone when it or its process is
    :raises ValueError: if the buffer can't hold one sub-sequence an environment
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        sequence_length: int = 3,
        seed: int | None = None,
        folder: str | Path | None = None,
    ):
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs)
        self.buffer_size = buffer_size // n_envs
        if self.buffer_size < sequence_length + 2:
            raise ValueError(
                f"buffer_size={buffer_size} over {n_envs} environments leaves {self.buffer_size} slots each; "
                f"a sub-sequence of {sequence_length} steps needs at least {sequence_length + 2}"
            )
        self.sequence_length = sequence_length
        self.handle_timeout_termination = handle_timeout_termination
        self.rng = np.random.default_rng(seed)
        self.folder = Path(folder) if folder is not None else None
        self._allocate(self.buffer_size if folder is None else 0)
        self.reset()

    def _allocate(self, slots: int) -> None:
        space = self.observation_space
        obs_dtype = space.dtype if space.dtype == np.uint8 else np.dtype(np.float32)
        lead = (slots, self.n_envs)
        self.observations = self._zeros((*lead, *self.obs_shape), obs_dtype)
        self.actions = self._zeros((*lead, self.action_dim), np.float32)
        self.rewards = self._zeros(lead, np.float32)
        self.terminated = self._zeros(lead, np.float32)
        self.episode_ids = self._zeros(lead, np.int64)

    def _zeros(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if self.folder is None or 0 in shape:
            return np.zeros(shape, dtype)
        # The file has no name, and stays for as long as the map does.
        with tempfile.TemporaryFile(dir=self.folder) as file:
            return np.memmap(file, dtype, mode="w+", shape=shape)

    def _make_room(self) -> None:
        """Open the files at the first use: a saved agent that is loaded to act needs none."""
        if self.folder is not None and len(self.rewards) == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._allocate(self.buffer_size)
            self.episode_ids[:] = -1

    def reset(self) -> None:
        """Forget everything."""
        self.positions = np.zeros(self.n_envs, np.int64)  # next slot of each environment
        self.filled = np.zeros(self.n_envs, np.int64)  # slots in use of each environment
        self._current_ids = np.arange(self.n_envs)
        self._next_id = self.n_envs
        self.episode_ids[:] = -1
        self.pos, self.full = 0, False

    def size(self) -> int:
        """Slots in use over all environments."""
        return int(self.filled.sum())

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store one step of every environment, each argument ``[n_envs, ...]``."""
        self._make_room()
        envs = np.arange(self.n_envs)
        slots = self.positions
        timeouts = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        self.observations[slots, envs] = np.asarray(obs).reshape(self.n_envs, *self.obs_shape)
        self.actions[slots, envs] = np.asarray(action).reshape(self.n_envs, self.action_dim)
        self.rewards[slots, envs] = reward
        self.terminated[slots, envs] = done & ~timeouts if self.handle_timeout_termination else done
        self.episode_ids[slots, envs] = self._current_ids
        self._advance(envs)
        ended = np.flatnonzero(done)
        if len(ended) > 0:
            slots = self.positions[ended]
            self.observations[slots, ended] = np.asarray(next_obs).reshape(self.n_envs, *self.obs_shape)[
                ended
            ]
            self.episode_ids[slots, ended] = self._current_ids[ended]
            self._advance(ended)
            self.start_episodes(ended)

    def _advance(self, envs: np.ndarray) -> None:
        self.positions[envs] = (self.positions[envs] + 1) % self.buffer_size
        self.filled[envs] = np.minimum(self.filled[envs] + 1, self.buffer_size)
        self.pos, self.full = int(self.positions[0]), bool(self.filled.min() == self.buffer_size)

    def start_episodes(self, envs: np.ndarray | None = None) -> None:
        """Let the next step of ``envs`` (all by default) begin a new episode, whether or not the last one ended."""
        envs = np.arange(self.n_envs) if envs is None else envs
        self._current_ids[envs] = self._next_id + np.arange(len(envs))
        self._next_id += len(envs)

    def _is_start(self, slots: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Whether a whole sub-sequence of one episode begins at these slots."""
        length = self.sequence_length
        newest = (self.positions[envs] - 1 - slots) % self.buffer_size  # steps until the newest slot
        ids = self.episode_ids[slots, envs]
        return (
            (newest >= length)
            & (ids >= 0)
            & (ids == self.episode_ids[(slots + length) % self.buffer_size, envs])
        )

    def _draw_starts(self, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Uniform start points: rejection sampling, since nearly every slot is one; else a draw from the full list."""
        slots, envs = np.empty(0, np.int64), np.empty(0, np.int64)
        bounds = np.cumsum(self.filled)
        for _ in range(4):
            flat = (
                self.rng.integers(bounds[-1], size=batch_size + 16)
                if bounds[-1] > 0
                else np.empty(0, np.int64)
            )
            env = np.searchsorted(bounds, flat, side="right")
            slot = flat - (bounds - self.filled)[env]
            keep = self._is_start(slot, env)
            slots, envs = np.append(slots, slot[keep]), np.append(envs, env[keep])
            if len(slots) >= batch_size:
                return slots[:batch_size], envs[:batch_size]
        all_slots, all_envs = self._all_starts()
        if len(all_slots) == 0:
            raise ValueError(
                f"the replay buffer holds no sub-sequence of {self.sequence_length} steps inside one episode "
                f"({self.size()} slots in use); collect more steps or use a shorter horizon"
            )
        chosen = self.rng.integers(len(all_slots), size=batch_size)
        return all_slots[chosen], all_envs[chosen]

    def _all_starts(self) -> tuple[np.ndarray, np.ndarray]:
        slots, envs = np.indices((int(self.filled.max()), self.n_envs)).reshape(2, -1)
        starts = self._is_start(slots, envs)
        return slots[starts], envs[starts]

    def can_sample(self) -> bool:
        """Whether any episode is long enough for a sub-sequence yet."""
        return len(self._all_starts()[0]) > 0

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> SequenceBatch:  # type: ignore[override]
        """Draw sub-sequences uniformly over their start points.

        :param batch_size: number of sub-sequences ``B``
        :param env: normalises observations and rewards, if given
        :raises ValueError: if no episode is long enough yet
        """
        starts, envs = self._draw_starts(batch_size)
        slots = (starts + np.arange(self.sequence_length + 1)[:, None]) % self.buffer_size  # [L + 1, B]
        steps = slots[:-1]
        observations, rewards = self.observations[slots, envs], self.rewards[steps, envs]
        if env is not None:
            observations, rewards = env.normalize_obs(observations), env.normalize_reward(rewards)
        arrays = (observations, self.actions[steps, envs], rewards, self.terminated[steps, envs])
        return SequenceBatch(*(self.to_torch(np.asarray(array), copy=False) for array in arrays))

    def state_arrays(self) -> dict[str, np.ndarray]:
        """Everything stored, cut to the slots in use, for :meth:`load_state_arrays`."""
        used = int(self.filled.max())
        names = ("observations", "actions", "rewards", "terminated", "episode_ids")
        arrays = {name: getattr(self, name)[:used] for name in names}
        counters = {"positions": self.positions, "filled": self.filled, "current_ids": self._current_ids}
        return arrays | counters | {"next_id": np.array(self._next_id)}

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what :meth:`state_arrays` gave.

        :raises ValueError: if the arrays were stored by a buffer of another size or other spaces
        """
        self._make_room()
        self.reset()
        used = len(arrays["rewards"])
        for name in ("observations", "actions", "rewards", "terminated", "episode_ids"):
            own = getattr(self, name)
            if used > len(own) or arrays[name].shape[1:] != own.shape[1:]:
                raise ValueError(
                    f"stored replay array {name} has shape {arrays[name].shape}, "
                    f"this buffer's has shape {own.shape}; use the same buffer_size and environments"
                )
            own[:used] = arrays[name]
        self.positions[:], self.filled[:] = arrays["positions"], arrays["filled"]
        self._current_ids[:], self._next_id = arrays["current_ids"], int(arrays["next_id"])
        self.pos, self.full = int(self.positions[0]), bool(self.filled.min() == self.buffer_size)
