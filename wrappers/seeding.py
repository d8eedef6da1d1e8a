"""Seeds every episode of an environment, so that a run can be continued in another process."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class EpisodeSeeding(gym.Wrapper[Any, Any, Any, Any]):
    """After ``reset(seed=s)``, episode k starts from a seed derived from ``(s, k)`` instead of the random stream.

    Episodes then depend on ``s`` and their number alone, not on what happened before. Until a seed is given,
    resets go through unchanged.
    """

    def __init__(self, env: gym.Env[Any, Any]):
        super().__init__(env)
        self._seed: int | None = None
        self._episode = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the next episode, or, with a seed, episode 0 of that seed."""
        if seed is not None:
            self._seed, self._episode = seed, 0
        elif self._seed is not None:
            self._episode += 1
            seed = int(np.random.SeedSequence([self._seed, self._episode]).generate_state(1)[0])
        return self.env.reset(seed=seed, options=options)

    def episode_seeding_state(self) -> tuple[int | None, int]:
        """Return the seed and the number of the current episode."""
        return self._seed, self._episode

    def set_episode_seeding_state(self, seed: int | None, episode: int) -> None:
        """Let the next ``reset()`` start episode ``episode`` of ``seed``."""
        self._seed, self._episode = seed, episode - 1
