"""Agents small enough to learn in a second, and environments whose dynamics are known."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from dream_agents import BMPC, TDMPC2, DreamerV3, DreamMPC
from dream_agents.models.dreamer import DreamerSize
from dream_agents.models.tdmpc import TDMPCSize

OPTIONS = {
    "model_size": TDMPCSize(16, 16, 16, 2, 2),
    "learning_starts": 20,
    "batch_size": 16,
    "buffer_size": 2000,
    "device": "cpu",
    "seed": 0,
}
MPPI = {"samples": 24, "policy_samples": 4, "elites": 6, "iterations": 2}


class Walk(gym.Env):
    """A point that moves by 0.2 * action (of -1 to 1) and whose task ends beyond LIMIT.

    It observes (position, number of the episode), and keeps the actions it got.

    :param low: bounds of the action, of one number or several
    :param high: bounds of the action
    :param numbered: observe the episode's number, or else 0
    :param metadata: what an environment says of itself
    """

    LIMIT = 0.7

    def __init__(self, low=-1.0, high=1.0, numbered=True, metadata=None):
        self.low, self.high = np.atleast_1d(low).astype(np.float32), np.atleast_1d(high).astype(np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(self.low, self.high)
        self.actions, self.episode, self.numbered = [], -1, numbered
        self.metadata = {"render_modes": []} | (metadata or {})

    def observe(self):
        return np.array([self.position, self.episode * self.numbered], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.position = self.np_random.uniform(-0.5, 0.5)
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.actions.append(action)
        scaled = 2 * (action - self.low) / (self.high - self.low) - 1
        self.position += 0.2 * float(scaled.flat[0])
        return self.observe(), 1.0, abs(self.position) > self.LIMIT, False, {}


@pytest.fixture
def walk():
    """Make a Walk of up to 30 decisions."""

    def make(steps=30, **kwargs):
        return gym.wrappers.TimeLimit(Walk(**kwargs), steps)

    return make


def make_tdmpc2(env="Pendulum-v1", **kwargs):
    planner = {} if "planner" in kwargs else {"planner_kwargs": MPPI}
    return TDMPC2(env, **{**OPTIONS, **planner, **kwargs})


def make_bmpc(env="Pendulum-v1", **kwargs):
    planner = {} if "planner" in kwargs else {"planner_kwargs": MPPI}
    return BMPC(env, **{**OPTIONS, **planner, **kwargs})


def make_dream_mpc(env="Pendulum-v1", **kwargs):
    """On TD-MPC2's backbone, where Dream-MPC acts while learning, too."""
    return DreamMPC(env, **{**OPTIONS, "backbone": "tdmpc2", **kwargs})


def make_dreamer(env="Pendulum-v1", **kwargs):
    own = {
        "model_size": DreamerSize(16, 16, 4, 4, 16, 2),
        "batch_size": 4,
        "train_freq": 1,
        "learner_kwargs": {"sequence_length": 8, "horizon": 3, "autocast": None},
    }
    return DreamerV3(env, **{**OPTIONS, **own, **kwargs})


AGENTS = {"TDMPC2": TDMPC2, "BMPC": BMPC, "DreamerV3": DreamerV3, "DreamMPC": DreamMPC}
MAKERS = {"TDMPC2": make_tdmpc2, "BMPC": make_bmpc, "DreamerV3": make_dreamer, "DreamMPC": make_dream_mpc}


@pytest.fixture(params=MAKERS)
def make_agent(request):
    """Make each kind of agent in turn, tiny and on Pendulum-v1 unless told otherwise."""
    return MAKERS[request.param]


@pytest.fixture
def dreamer():
    """Make a tiny DreamerV3."""
    return make_dreamer


@pytest.fixture
def make_dream():
    """Make a tiny DreamMPC."""
    return make_dream_mpc


@pytest.fixture(scope="session")
def saved_agents(tmp_path_factory):
    """Path of a saved agent that has learned a little, by name of its class."""
    folder, paths = tmp_path_factory.mktemp("agents"), {}

    def get(name):
        if name not in paths:
            paths[name] = folder / f"{name}.zip"
            MAKERS[name]().learn(40).save(paths[name])
        return paths[name]

    return get


@pytest.fixture(params=MAKERS)
def load(request, saved_agents):
    """Load a saved agent of each kind, with the arguments of ``load`` after the path."""
    path = saved_agents(request.param)
    return partial(AGENTS[request.param].load, path, device="cpu")


@pytest.fixture
def trained(load):
    """An agent that has learned a little, of each kind."""
    return load()


@pytest.fixture
def trained_dream(saved_agents):
    """A DreamMPC that has learned a little."""
    return DreamMPC.load(saved_agents("DreamMPC"), device="cpu")
