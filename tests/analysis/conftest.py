from collections.abc import Iterator

import gymnasium as gym
import pytest
import torch

from dream_agents import TDMPC2
from dream_agents.models.tdmpc import TDMPC_SIZES, TDMPCSize

SHORT_PENDULUM = "tests/AnalysedPendulum-v0"
KEYWORDS = {"model_size": "tiny-analysis", "planner": "policy", "device": "cpu"}


@pytest.fixture(scope="package", autouse=True)
def tiny() -> Iterator[None]:
    """Networks of a few hundred weights, and episodes of 12 decisions."""
    gym.register(SHORT_PENDULUM, "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=12)
    TDMPC_SIZES["tiny-analysis"] = TDMPCSize(16, 16, 16, 2, 2)
    yield
    del TDMPC_SIZES["tiny-analysis"], gym.registry[SHORT_PENDULUM]


def away_from_zero(agent: TDMPC2) -> TDMPC2:
    """Change the weights at random: the rewards and values of a new model are flat."""
    for parameter in agent.world_model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return agent


@pytest.fixture
def swinger() -> TDMPC2:
    """A tiny untrained agent on Pendulum-v1."""
    return away_from_zero(TDMPC2("Pendulum-v1", seed=3, **KEYWORDS))


@pytest.fixture
def short_swinger() -> TDMPC2:
    """The same with episodes of 12 decisions."""
    return away_from_zero(TDMPC2(SHORT_PENDULUM, seed=3, **KEYWORDS))


@pytest.fixture
def env_id() -> str:
    return SHORT_PENDULUM
