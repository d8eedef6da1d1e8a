"""Episodes that are shorter than a sub-sequence."""

from collections import Counter

import numpy as np
import pytest
import torch
from gymnasium import spaces

from dream_agents.replay import ExtraField, SequenceReplayBuffer

LENGTH = 4


def make_buffer(size=400, n_envs=1, **kwargs):
    options = {
        "observation_space": spaces.Box(-np.inf, np.inf, (2,), np.float32),
        "action_space": spaces.Box(-1, 1, (1,), np.float32),
        "device": "cpu",
        "sequence_length": LENGTH,
        "seed": 0,
        "short_episodes": True,
    }
    return SequenceReplayBuffer(size, n_envs=n_envs, **(options | kwargs))


class Player:
    """Observes (episode, step); the reward is 10 * episode + step + 1, the action its hundredth, and all ends count."""

    def __init__(self, *buffers):
        self.buffers, self.episode = buffers, 0

    def play(self, *lengths, cut=False):
        for length in lengths:
            self.episode += 1
            for step in range(length):
                reward = np.array([10.0 * self.episode + step + 1])
                obs, after = (np.array([[self.episode, t]], np.float32) for t in (step, step + 1))
                done = np.array([step + 1 == length and not cut])
                for buffer in self.buffers:
                    buffer.add(obs, after, reward[None] / 100, reward, done, [{}])
            if cut:
                for buffer in self.buffers:
                    buffer.start_episodes()
        return self


def drawn(buffer, count=3000):
    """Steps of every sub-sequence that is drawn, by (episode, step) of its start."""
    batch = buffer.sample(count)
    mask = torch.ones(LENGTH, count) if batch.mask is None else batch.mask
    return {
        tuple(key): int(n) for key, n in zip(batch.observations[0].int().tolist(), mask.sum(0), strict=True)
    }


def test_each_is_drawn_once_from_its_beginning():
    buffer = make_buffer()
    Player(buffer).play(1, 2, 3, 6)
    assert drawn(buffer) == {(1, 0): 1, (2, 0): 2, (3, 0): 3, (4, 0): 4, (4, 1): 4, (4, 2): 4}
    counts = Counter(map(tuple, buffer.sample(6000).observations[0].int().tolist()))
    assert min(counts.values()) > 850  # uniformly


def test_what_follows_the_end_is_masked():
    buffer = make_buffer(extra_fields={"std": ExtraField(1, 1.0)})
    Player(buffer).play(*[4] * 70, 2)  # what lies in overwritten slots must not show
    Player(buffer).play(*[2] * 90)
    batch = buffer.sample(500)
    short = batch.mask.sum(0) == 2
    assert short.any()
    assert batch.mask[:, short].tolist() == [[1.0] * int(short.sum())] * 2 + [[0.0] * int(short.sum())] * 2
    assert batch.terminated[1, short].all()
    for part in (batch.actions, batch.rewards, batch.terminated):
        assert (part[2:, short] == 0).all()
    assert (batch.extra["std"] == 1).all()
    assert torch.equal(batch.observations[2, short], batch.observations[3, short])
    assert torch.equal(batch.observations[2, short], batch.observations[4, short])
    episode, step = batch.observations[:2, short].unbind(-1)
    torch.testing.assert_close(batch.rewards[:2, short], 10 * episode + step + 1)


def test_an_episode_that_goes_on_is_not_drawn_yet():
    buffer = make_buffer()
    player = Player(buffer).play(2)
    for step in range(3):
        obs = np.array([[9, step]], np.float32)
        buffer.add(obs, obs, np.zeros((1, 1)), np.zeros(1), np.array([False]), [{}])
        assert set(drawn(buffer, 100)) == {(player.episode, 0)}


def test_one_that_was_cut_has_no_last_step():
    """Where it led is not stored."""
    buffer = make_buffer()
    Player(buffer).play(1, 3, cut=True)
    assert drawn(buffer) == {(2, 0): 2}


def test_what_is_left_of_a_long_episode_is_no_short_one():
    buffer = make_buffer(size=40)
    player = Player(buffer).play(30)
    for _ in range(9):
        player.play(6)
        batch = buffer.sample(500)
        assert batch.mask is None
        oldest = int(buffer.episode_ids[buffer.positions[0], 0])
        first = batch.observations[0]
        assert (first[:, 1] <= 6 - LENGTH)[first[:, 0] > 1].all(), oldest


@pytest.mark.parametrize("size", [400, 60])
def test_batches_are_the_same_where_no_episode_is_short(size):
    plain, masked = make_buffer(size, short_episodes=False), make_buffer(size)
    player = Player(plain, masked)
    for _ in range(12):
        player.play(7, 4, 12)
        one, other = plain.sample(64), masked.sample(64)
        assert other.mask is None
        for ours, theirs in zip(one[:4], other[:4], strict=True):
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype


def test_stacks_of_frames():
    images = spaces.Box(0, 255, (2, 8, 8), np.uint8)
    buffer = make_buffer(observation_space=images, frame_stack=2)
    for episode in range(1, 20):
        frames = [np.full((8, 8), 10 * episode + t, np.uint8) for t in range(4)]
        stacks = [np.stack((frames[max(0, t - 1)], frames[t]))[None] for t in range(4)]
        for t in range(3):
            buffer.add(stacks[t], stacks[t + 1], np.zeros((1, 1)), np.ones(1), np.array([t == 2]), [{}])
    batch = buffer.sample(64)
    values = batch.observations[..., 0, 0].int() % 10  # [L + 1, B, 2]
    assert values[:, 0].tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [2, 3]]
    assert (values == values[:, :1]).all()
    assert batch.mask.sum(0).tolist() == [3] * 64


def test_buffers_don_t_unless_they_are_told_to():
    buffer = make_buffer(short_episodes=False)
    Player(buffer).play(1, 2, 3)
    assert not buffer.can_sample()
    with pytest.raises(ValueError, match="no sub-sequence of 4 steps inside one episode"):
        buffer.sample(4)
