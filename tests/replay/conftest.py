"""Cameras whose frames are stacked by hand, and buffers for them."""

import sys
from collections import deque

import numpy as np
import pytest
import torch
from gymnasium import spaces

from dream_agents.replay import SequenceReplayBuffer


def by_start(batch):
    """Tell the sub-sequences of a batch apart: (episode, step) of their starts."""
    first = batch.actions[0].int().tolist()
    return {tuple(key): [tensor[:, i] for tensor in batch[:4]] for i, key in enumerate(first)}


def assert_same(batch, other):
    for ours, expected in zip(batch[:4], other[:4], strict=True):
        assert ours.dtype == expected.dtype
        assert torch.equal(ours, expected)


def make_buffer(size=60, n_envs=1, k=3, channels=3, length=3, **kwargs):
    options = {
        "observation_space": spaces.Box(0, 255, (k * channels, 8, 8), np.uint8),
        "action_space": spaces.Box(-1, 1, (2,), np.float32),
        "device": "cpu",
        "n_envs": n_envs,
        "sequence_length": length,
        "seed": 0,
        "frame_stack": k,
    }
    return SequenceReplayBuffer(size, **(options | kwargs))


class Cameras:
    """Environments of random frames ``[channels, 8, 8]``, played into several buffers at once.

    Actions are (episode, step), unique over environments, so that each sub-sequence can be recognised.
    """

    def __init__(self, *buffers, k=3, channels=3, seed=0, lengths=(1, 12)):
        self.buffers, self.k, self.channels, self.lengths = buffers, k, channels, lengths
        self.random = np.random.default_rng(seed)
        self.n_envs = buffers[0].n_envs
        self.stacks = [deque(maxlen=k) for _ in range(self.n_envs)]
        self.episodes, self.steps = np.arange(self.n_envs), np.zeros(self.n_envs, int)
        self.ends = np.zeros(self.n_envs, int)
        #: of each environment what the first buffer should hold: (episode, step, older frames that the stack needs),
        #: or None for a frame that only stands in stacks
        self.rings = [[] for _ in range(self.n_envs)]
        self.extra = [0] * self.n_envs  # frames that were there before the episode
        for env in range(self.n_envs):
            self.reset(env)

    def frame(self):
        return self.random.integers(256, size=(self.channels, 8, 8), dtype=np.uint8)

    def observations(self):
        return np.stack([np.concatenate(list(stack)) for stack in self.stacks])

    def reset(self, env):
        self.stacks[env].extend([self.frame()] * self.k)
        self.new_episode(env)

    def new_episode(self, env):
        """Begin an episode with the stack that there is."""
        padded = len({frame.tobytes() for frame in self.stacks[env]}) == 1
        self.extra[env] = 0 if padded else self.k - 1
        self.episodes[env] += self.n_envs
        self.steps[env] = 0
        self.ends[env] = self.random.integers(*self.lengths, endpoint=True)

    def remember(self, env):
        step, extra = int(self.steps[env]), self.extra[env]
        if step == 0:
            self.rings[env] += [None] * extra
        self.rings[env].append((int(self.episodes[env]), step, min(step + extra, self.k - 1)))
        del self.rings[env][: -self.buffers[0].buffer_size]

    def play(self, decisions):
        for _ in range(decisions):
            obs = self.observations()
            actions = np.stack([self.episodes, self.steps], -1).astype(np.float32)
            done = self.steps + 1 == self.ends
            truncated = self.random.random(self.n_envs) < 0.5
            for env in range(self.n_envs):
                self.stacks[env].append(self.frame())
            infos = [{"TimeLimit.truncated": bool(value)} for value in done & truncated]
            rewards = self.random.normal(size=self.n_envs)
            for buffer in self.buffers:
                buffer.add(obs, self.observations(), actions, rewards, done, infos)
            for env in range(self.n_envs):
                self.remember(env)
                self.steps[env] += 1
                if done[env]:
                    self.remember(env)
                    self.reset(env)

    def cut(self, env, reset):
        """Let a new episode begin, whether or not the environment is reset."""
        for buffer in self.buffers:
            buffer.start_episodes(np.array([env]))
        if reset:
            self.reset(env)
        else:
            self.new_episode(env)

    def starts(self):
        """Every (episode, step) from which a sub-sequence is stored together with the older frames of its start."""
        length, stacked = self.buffers[0].sequence_length, self.buffers[0].frame_stack > 1
        starts = set()
        for ring in self.rings:
            for i, entry in enumerate(ring[: len(ring) - length]):
                whole = entry and ring[i + length] and entry[0] == ring[i + length][0]
                if whole and i >= (entry[2] if stacked else 0):
                    starts.add(entry[:2])
        return starts

    def check(self, draws=2000):
        """The first buffer draws exactly what it should hold, and each as the second draws it."""
        stacked, plain = (by_start(buffer.sample(draws)) for buffer in self.buffers)
        assert set(stacked) == self.starts()
        assert set(stacked) <= set(plain)
        for key, sequence in stacked.items():
            assert_same(sequence, plain[key])
        return stacked


@pytest.fixture(name="make_buffer")
def make_buffer_fixture():
    """A buffer of stacks of ``k`` frames; ``frame_stack=1`` stores the stacks as they are."""
    return make_buffer


@pytest.fixture
def make_cameras():
    return Cameras


@pytest.fixture
def same():
    return assert_same


@pytest.fixture
def lines_to_sample():
    """How many lines of Python run while a buffer draws a batch of some size."""

    def count_lines(buffer, batch_size):
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            count += event == "line"
            return trace

        buffer.sample(4)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            buffer.sample(batch_size)
        finally:
            sys.settrace(before)
        return count

    return count_lines
