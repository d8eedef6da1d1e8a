"""Where sub-sequences begin in rings of steps."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from dream_agents.replay.episodes import EpisodeStarts

#: what :class:`SequenceReplayBuffer` can draw uniformly
SAMPLINGS = ("steps", "episodes")


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
    _next_id: int
    #: "steps" or "episodes"
    sampling: str = "steps"
    #: what ``sampling`` may be
    samplings: ClassVar[tuple[str, ...]] = SAMPLINGS
    _episodes: EpisodeStarts | None = None
    _grouped_at: int | None = None  # ``_next_id`` when the episodes were grouped

    def _check_sampling(self, sampling: str) -> str:
        if sampling not in self.samplings:
            raise ValueError(
                f"sampling={sampling!r}: {type(self).__name__} takes {' or '.join(map(repr, self.samplings))}"
            )
        return sampling

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
        """Slots and environments ``[B]`` of start points."""
        drawn = self._draw_episodes(batch_size) if self.sampling == "episodes" else None
        return self._draw_steps(batch_size) if drawn is None else drawn

    def _draw_episodes(self, batch_size: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Start points of finished episodes, each drawn equally often; None as long as there is none."""
        if self._episodes is None or self._grouped_at != self._next_id:  # an episode has ended
            slots, envs = self._all_starts()
            finished = ~np.isin(self.episode_ids[slots, envs], self._current_ids)
            slots, envs = slots[finished], envs[finished]
            self._episodes = EpisodeStarts.of(slots, envs, self.episode_ids[slots, envs])
            self._grouped_at = self._next_id

        def still_there(slots: np.ndarray, envs: np.ndarray, ids: np.ndarray) -> np.ndarray:
            return self._is_start(slots, envs) & (self.episode_ids[slots, envs] == ids)

        return self._episodes.draw(batch_size, self.rng, still_there)

    def _draw_steps(self, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
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
