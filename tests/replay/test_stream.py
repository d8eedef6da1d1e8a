"""Replay across the ends of episodes."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from dream_agents.replay.stream import StreamReplayBuffer

LENGTH = 6


def make_buffer(size=200, n_envs=2, **kwargs):
    box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    actions = spaces.Box(-1, 1, (1,), np.float32)
    return StreamReplayBuffer(size, box, actions, "cpu", n_envs, sequence_length=LENGTH, seed=0, **kwargs)


def fill(buffer, steps, episode=4):
    """Observations (environment, time in episode + 100 * episode), action -time / 100, reward time + 1."""
    n, envs = buffer.n_envs, np.arange(buffer.n_envs)
    for step in range(steps):
        time, number = step % episode, step // episode
        obs = np.stack((envs, np.full(n, time + 100.0 * number)), 1)
        done = time == episode - 1
        buffer.add(
            obs,
            obs + np.array([0, 1]),
            np.full((n, 1), -time / 100),
            np.full(n, time + 1.0),
            np.full(n, done),
            [{"TimeLimit.truncated": done and number % 2 == 0}] * n,
        )
    return buffer


def test_stretches_go_across_episodes_in_the_order_of_what_happened():
    batch = fill(make_buffer(), 60).sample(64)
    env, clock = batch.observations[..., 0], batch.observations[..., 1]
    assert batch.observations.shape == (LENGTH, 64, 2)
    assert (env == env[0]).all() and set(env[0].tolist()) == {0, 1}
    time, number = clock % 100, clock // 100
    first = time == 0  # an episode of 4 steps has the observations 0 to 4
    assert torch.equal(batch.is_first.bool(), first)
    assert first.any(0).all()
    after = torch.where(first[1:], time[:-1] == 4, time[1:] == time[:-1] + 1)
    assert after.all()
    assert (number[1:] == number[:-1] + first[1:]).all()


def test_what_led_to_an_observation_stands_beside_it():
    batch = fill(make_buffer(), 60).sample(64)
    time, number = batch.observations[..., 1] % 100, batch.observations[..., 1] // 100
    begins = batch.is_first.bool()
    assert torch.equal(batch.rewards, torch.where(begins, 0, time))
    expected = torch.where(begins, 0, -(time - 1) / 100)
    torch.testing.assert_close(batch.actions[..., 0], expected)
    assert torch.equal(
        batch.terminated.bool(), (time == 4) & (number % 2 == 1)
    )  # the others hit a time limit


def test_latents_are_remembered_as_contexts():
    buffer = fill(make_buffer(n_envs=1), 60)
    assert buffer.sample(4).context is None
    for _ in range(60):
        batch = buffer.sample(8)
        batch.remember(batch.observations)  # latents that say where they belong
    batch = buffer.sample(64)
    goes_on = batch.is_first[0] == 0
    assert goes_on.any()
    known = goes_on & (batch.context != 0).any(-1)
    assert known.float().mean() > 0.4
    assert torch.equal(batch.context[known, 1], batch.observations[0, known, 1] - 1)


def test_new_observations_have_no_latent_of_the_ones_they_replace():
    buffer = fill(make_buffer(size=20, n_envs=1), 40)
    for _ in range(20):
        batch = buffer.sample(8)
        batch.remember(torch.ones(LENGTH, 8, 3))
    assert buffer.latents.any()
    fill(buffer, 40)
    assert not buffer.latents.any()


@pytest.mark.parametrize("size", [20, 200])
def test_nothing_before_the_oldest_observation_is_made_up(size):
    """In a full ring, what led to the oldest observation is lost."""
    buffer = fill(make_buffer(size=size, n_envs=1), 45)
    batch = buffer.sample(500)
    time = batch.observations[0, :, 1] % 100
    assert torch.equal(batch.rewards[0], torch.where(batch.is_first[0] > 0, 0, time))
    assert torch.equal(batch.is_first[0] > 0, time == 0)


def test_state_arrays_travel(tmp_path):
    buffer = fill(make_buffer(), 60)
    batch = buffer.sample(8)
    batch.remember(torch.randn(LENGTH, 8, 3))
    np.savez(tmp_path / "replay.npz", **buffer.state_arrays())
    other = make_buffer()
    with np.load(tmp_path / "replay.npz") as arrays:
        other.load_state_arrays(dict(arrays))
    other.rng.bit_generator.state = buffer.rng.bit_generator.state
    for ours, expected in zip(other.sample(16)[:6], buffer.sample(16)[:6], strict=True):
        assert torch.equal(ours, expected)


def test_too_few_steps():
    buffer = fill(make_buffer(n_envs=1), 3)
    assert not buffer.can_sample()
    with pytest.raises(ValueError, match="no sub-sequence of 6 steps"):
        buffer.sample(2)
    assert fill(buffer, 5).can_sample()
