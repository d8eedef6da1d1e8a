"""Tasks whose episodes are shorter than the sequences that agents learn from."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from dream_agents.learners.tdmpc2 import TDMPC2Backbone


class Bandit(gym.Env):
    """Ends after ``length`` steps; the reward is highest for the action 0.5."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), -float(abs(action[0] - 0.5)), self.t >= self.length, False, {}


@pytest.mark.parametrize("length", [1, 2, 3])
def test_every_agent_learns_from_them(make_agent, length):
    agent = make_agent(Bandit(length), planner="policy").learn(60)
    assert agent._n_updates >= 60
    batch = agent.replay_buffer.sample(32)
    if hasattr(batch, "mask") and length < 3:
        assert batch.mask.sum(0).tolist() == [length] * 32


def test_a_bandits_reward_is_learned(make_dream):
    agent = make_dream(Bandit(1), planner="policy", learning_starts=200, learning_rate=3e-3).learn(500)
    model = agent.world_model
    actions = torch.linspace(-1, 1, 21)[:, None]
    with torch.no_grad():
        rewards = model.reward(model.encode(torch.zeros(21, 2)), actions)
    assert abs(float(actions[rewards.argmax()]) - 0.5) < 0.25
    assert rewards[15] - rewards[0] > 0.7  # it is 1.5


def test_learners_that_don_t_know_masks_are_not_given_any(make_dream, monkeypatch):
    monkeypatch.setattr(TDMPC2Backbone, "takes_short_episodes", False)
    with pytest.warns(
        UserWarning, match="DreamMPC can't learn yet: .* no sub-sequence of 3 steps inside one episode"
    ):
        agent = make_dream(Bandit(2), planner="policy").learn(40)
    assert agent._n_updates == 0


def test_nothing_changes_where_none_is_short(make_dream, walk, monkeypatch):
    first = make_dream("Pendulum-v1", planner="policy").learn(60)
    monkeypatch.setattr(TDMPC2Backbone, "takes_short_episodes", False)
    second = make_dream("Pendulum-v1", planner="policy").learn(60)
    for ours, theirs in zip(
        first.world_model.state_dict().values(), second.world_model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
