"""Environments with a point on a line."""

from __future__ import annotations

import gymnasium as gym
import numpy as np


class Home(gym.Env):
    """A point that moves by half of the action; the reward is largest at 0."""

    metadata = {"render_modes": []}  # noqa: RUF012

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, render_mode: str | None = None):
        self.render_mode, self.place = render_mode, 0.0

    def reset(self, *, seed=None, options=None):
        """Begin anywhere from -1 to 1."""
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1)
        return self._observe(), {}

    def step(self, action):
        """Move."""
        self.place += 0.5 * float(action[0])
        return self._observe(), 1 - abs(self.place), False, False, {}

    def _observe(self) -> np.ndarray:
        return np.array([self.place], np.float32)
