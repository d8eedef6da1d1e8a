"""Where sub-sequences begin in rings of steps."""

from __future__ import annotations

import numpy as np


class Starts:
    """The part of :class:`SequenceReplayBuffer` that draws where sub-sequences begin.

    Each environment has a ring of slots; ``positions`` are the next slots ``[n_envs]``, ``filled`` how many are in use.
    """

    sequence_length: int
    short_episodes: bool
    buffer_size: int
    n_envs: int
    frame_stack: int
    rng: np.random.Generator
    positions: np.ndarray
    filled: np.ndarray
    episode_ids: np.ndarray
    older_frames: np.ndarray
    _current_ids: np.ndarray

    def _is_start(self, slots: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Whether a sub-sequence of one episode begins at these slots: a whole one, or a short episode."""
        length = self.sequence_length
        newest = (self.positions[envs] - 1 - slots) % self.buffer_size  # steps until the newest slot
        older = self.older_frames[slots, envs] if self.frame_stack > 1 else 0
        ids = self.episode_ids[slots, envs]
        stored = (newest + older < self.filled[envs]) & (ids >= 0)
        whole = (newest >= length) & (ids == self.episode_ids[(slots + length) % self.buffer_size, envs])
        if self.short_episodes:
            rest = np.flatnonzero(~whole & stored)
            whole[rest] = self._is_short_episode(slots[rest], envs[rest])
        return stored & whole

    def _is_short_episode(self, slots: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Whether an episode begins at these slots that has ended after fewer steps than a sub-sequence has."""
        age = (self.positions[envs] - 1 - slots) % self.buffer_size
        ids, before = self.episode_ids[slots, envs], self.episode_ids[slots - 1, envs]
        # What was before the oldest slot is forgotten, unless nothing was overwritten yet.
        is_oldest = age + 1 == self.filled[envs]
        begins = np.where(is_oldest, self.filled[envs] < self.buffer_size, before != ids)
        lengths = self._lengths(slots, envs)
        return begins & (ids != self._current_ids[envs]) & (lengths >= 1) & (lengths < self.sequence_length)

    def _lengths(self, slots: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Steps ``[B]`` that follow in the same episode, up to a whole sub-sequence."""
        steps = np.arange(1, self.sequence_length + 1)[:, None]  # [L, 1]
        newest = (self.positions[envs] - 1 - slots) % self.buffer_size
        later = self.episode_ids[(slots + steps) % self.buffer_size, envs]  # [L, B]
        return ((later == self.episode_ids[slots, envs]) & (steps <= newest)).sum(0)

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
            slots, envs = np.concatenate((slots, slot[keep])), np.concatenate((envs, env[keep]))
            if len(slots) >= batch_size:
                return slots[:batch_size], envs[:batch_size]
        all_slots, all_envs = self._all_starts()
        if len(all_slots) == 0:
            raise ValueError(f"{self.why_empty()}; collect more steps or use a shorter horizon")
        chosen = self.rng.integers(len(all_slots), size=batch_size)
        return all_slots[chosen], all_envs[chosen]

    def _all_starts(self) -> tuple[np.ndarray, np.ndarray]:
        slots, envs = np.indices((int(self.filled.max()), self.n_envs)).reshape(2, -1)
        starts = self._is_start(slots, envs)
        return slots[starts], envs[starts]

    def can_sample(self) -> bool:
        """Whether any sub-sequence can be drawn yet."""
        return len(self._all_starts()[0]) > 0

    def why_empty(self) -> str:
        """Say what is missing where :meth:`can_sample` is false."""
        used = int(self.filled.sum())
        return (
            f"the replay buffer holds no sub-sequence of {self.sequence_length} steps inside one episode "
            f"({used} slots in use)"
        )
