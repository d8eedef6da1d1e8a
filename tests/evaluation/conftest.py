from collections.abc import Iterator
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch

from dream_agents import DreamMPC
from dream_agents.models.tdmpc import TDMPCSize

TINY = TDMPCSize(16, 16, 16, 2, 2)
SHORT_PENDULUM = "tests/ShortPendulum-v0"


class Walk(gym.Env):
    """Starts at a random place, which is the return; ends where the actions lead out, or after 12 decisions."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gym.spaces.Box(-10, 10, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    render_mode = "rgb_array"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.start = self.np_random.uniform(-1, 1)
        self.steps = 0
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        self.place += 0.2 + 0.1 * float(action[0])
        over = self.place > 1
        reward = self.start if self.steps == 1 else 0.0
        return self._obs(), reward, over, self.steps == 12, {"success": over}

    def _obs(self):
        return np.array([self.place, self.start], np.float32)

    def render(self):
        return np.full((30, 50, 3), 20 * self.steps, np.uint8)


class ForwardModel:
    """Acts like an agent of Stable-Baselines3, always with the same action, and notes what it is asked."""

    observation_space, action_space = Walk.observation_space, Walk.action_space
    device = torch.device("cpu")

    def __init__(self, action: float = 1.0):
        self.action = action
        self.starts: list[list[bool]] = []

    def predict(self, obs, state=None, episode_start=None, deterministic=False):
        self.starts.append(episode_start.tolist())
        return np.full((len(obs), 1) if obs.ndim > 1 else (1,), self.action, np.float32), state


@pytest.fixture(scope="package", autouse=True)
def short_pendulum() -> Iterator[str]:
    gym.register(SHORT_PENDULUM, "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=8)
    yield SHORT_PENDULUM
    del gym.registry[SHORT_PENDULUM]


@pytest.fixture(scope="session")
def walk() -> type[Walk]:
    return Walk


@pytest.fixture
def forward() -> ForwardModel:
    return ForwardModel()


@pytest.fixture
def make_forward() -> type[ForwardModel]:
    return ForwardModel


@pytest.fixture
def walker() -> DreamMPC:
    """A tiny untrained agent in the Walk."""
    return DreamMPC(Walk(), model_size=TINY, seed=3, device="cpu")


@pytest.fixture
def swinger() -> DreamMPC:
    """A tiny untrained agent that knows its environment by its id."""
    return DreamMPC(SHORT_PENDULUM, model_size=TINY, seed=3, device="cpu")
