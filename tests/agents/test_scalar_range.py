"""Rewards that the two-hot bins can't hold, and bins that can."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from dream_agents import TDMPC2, DreamerV3, zoo
from dream_agents.models.heads import TwoHot, symlog_to_hold
from dream_agents.models.symexp import SymexpTwoHot


class Pays(gym.Env):
    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, reward):
        self.reward = reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), self.reward, False, self.t >= 20, {}


@pytest.fixture
def make(make_agent):
    return lambda env, **kwargs: make_agent(env, planner="policy", **{"learning_starts": 10**6, **kwargs})


def told(agent, decisions=45):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent.learn(decisions)
    return [str(warning.message) for warning in caught if "two-hot" in str(warning.message)]


def test_rewards_are_said_once_with_what_to_set(make):
    (message,) = told(make(Pays(-1e6)))
    assert message.startswith("a reward of -1e+06 (environment 0, decision 1) is beyond")
    assert "-22025.5 is learned instead" in message
    options = eval(message.split("Set model_kwargs=")[1].split("}")[0] + "}")
    agent = make(Pays(-1e6), model_kwargs=options)
    assert told(agent) == []
    low, high = agent.world_model.scalar_range
    assert low < -1e6 / (1 - agent.gamma) and high == -low


def test_returns(make):
    (message,) = told(make(Pays(3000.0), gamma=0.99))
    assert message.startswith("the discounted return of ")


def test_returns_end_where_episodes_do_without_saying_so(make):
    agent = make(Pays(3000.0), gamma=0.99)
    assert [told(agent, 5) for _ in range(4)] == [[]] * 4  # ten rewards are beyond 22,025, five are not


@pytest.mark.parametrize("reward", [1.0, -16.0, 900.0])
def test_ordinary_ones_are_quiet(make, reward):
    assert told(make(Pays(reward))) == []


def test_gaussian_heads_hold_any(dreamer):
    assert (
        told(dreamer(Pays(1e6), planner="policy", backbone="dreamer_gaussian", learning_starts=10**6)) == []
    )


def test_bins_can_tell_huge_rewards_apart():
    large = torch.tensor([5e4, 1e6, -1e6])
    for head in (TwoHot(low=-15, high=15), SymexpTwoHot(limit=15.0)):
        if isinstance(head, TwoHot):
            decoded = head.decode((head.encode(large) + 1e-12).log())
        else:
            pairs, weights = head._neighbours(large)
            decoded = (head.bins[pairs] * weights).sum(-1)
        torch.testing.assert_close(decoded, large, rtol=0.02, atol=0.0)


@pytest.mark.parametrize("largest", [1.0, 22025.0, 1e6, 1e12, 1e38])
def test_the_range_that_is_advised_holds_it(largest):
    _, high = TwoHot(low=-symlog_to_hold(largest), high=symlog_to_hold(largest)).range
    assert high >= min(largest, 5e34)


@pytest.mark.parametrize(
    ("agent", "options", "match"),
    [
        (
            TDMPC2,
            {"vmin": 3, "vmax": -3},
            "vmin=3 and vmax=-3 are symlog values, which have to be in this order",
        ),
        (TDMPC2, {"vmax": 22025}, "from -80.0 to 80.0"),
        (TDMPC2, {"num_bins": 1}, "num_bins=1"),
        (DreamerV3, {"num_bins": 128}, "num_bins=128 has to be odd"),
        (DreamerV3, {"vmax": 100.0}, "vmax=100.0 is a symlog value"),
    ],
)
def test_impossible_bins(agent, options, match):
    with pytest.raises(ValueError, match=match):
        agent("Pendulum-v1", model_kwargs=options, model_size="1M", device="cpu")


def test_bins_go_with_the_model(make, tmp_path):
    agent = make("Pendulum-v1", model_kwargs={"vmax": 14.0})
    agent.save(tmp_path / "agent")
    loaded = type(agent).load(tmp_path / "agent", device="cpu")
    assert loaded.world_model.scalar_range == agent.world_model.scalar_range
    zoo.save(agent, tmp_path / "entry")
    entry = zoo.load(tmp_path / "entry", device="cpu")
    assert entry.world_model.scalar_range == agent.world_model.scalar_range
    assert entry.world_model.scalar_range[1] == pytest.approx(np.expm1(14.0))
