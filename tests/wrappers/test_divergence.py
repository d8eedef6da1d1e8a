"""Simulations that diverge in the middle of an episode."""

import gymnasium as gym
import numpy as np
import pytest

from dream_agents import SAC, make_env, make_vec_env

IDS = [
    "dmc_walker-walk-v0",
    "dmc_reacher-three_easy-v0",
    "metaworld_reach-v3",
    "humanoid_h1-run-v0",
    "humanoid_h1-reach-v0",
    "humanoid_h1hand-stand-v0",
    "HalfCheetah-v5",
    "Ant-v5",
    "Humanoid-v5",
]


def data_of(env):
    env = env.unwrapped
    return env.physics.data if hasattr(env, "physics") else env.data


def explode(env, kind):
    data = data_of(env)
    if kind == "huge velocity":
        data.qvel[:] = 1e12
    else:
        data.qpos[:] = np.nan


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["huge velocity", "no position"])
@pytest.mark.parametrize("id", IDS)
class TestDivergence:
    def test_the_episode_ends_with_the_observation_before(self, id, kind):
        if id.startswith("metaworld"):
            pytest.importorskip("metaworld")
        env = make_env(id, seed=0)
        env.reset()
        zero = np.zeros(env.action_space.shape, np.float32)
        for _ in range(5):
            before, _, _, _, info = env.step(zero)
            assert "invalid_step" not in info
        explode(env, kind)
        obs, reward, terminated, truncated, info = env.step(zero)
        np.testing.assert_array_equal(obs, before)
        assert (reward, terminated, truncated) == (0, False, True)
        assert info["invalid_step"].startswith("the physics diverged (")
        assert "BADQ" in info["invalid_step"]

    def test_the_next_episode_is_like_any_other(self, id, kind):
        if id.startswith("metaworld"):
            pytest.importorskip("metaworld")
        env, other = make_env(id), make_env(id)
        zero = np.zeros(env.action_space.shape, np.float32)
        env.reset(seed=0)
        explode(env, kind)
        env.step(zero)
        first, _ = env.reset(seed=3)
        expected, _ = other.reset(seed=3)
        np.testing.assert_array_equal(first, expected)
        for _ in range(3):
            ours, theirs = env.step(zero), other.step(zero)
            np.testing.assert_array_equal(ours[0], theirs[0])
            assert ours[1:4] == theirs[1:4]
            assert "invalid_step" not in ours[4]


@pytest.mark.filterwarnings("ignore")
def test_a_vectorized_environment_begins_the_next_episode():
    env = make_vec_env("dmc_walker-walk-v0", 2, seed=0)
    env.reset()
    zero = np.zeros((2, *env.action_space.shape), np.float32)
    before, *_ = env.step(zero)
    explode(env.envs[0], "huge velocity")
    _, _, dones, infos = env.step(zero)
    assert dones.tolist() == [True, False]
    assert infos[0]["TimeLimit.truncated"]
    np.testing.assert_array_equal(infos[0]["terminal_observation"], before[0])
    _, _, dones, _ = env.step(zero)
    assert not dones.any()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("normalized", [True, False])
def test_a_ready_environment_of_mujoco_ends_there_too(normalized):
    env = make_env(make_env(gym.make("HalfCheetah-v5"), normalized=normalized), normalized=normalized)
    env.reset(seed=0)
    explode(env, "no position")
    _, reward, terminated, truncated, info = env.step(np.zeros(6, np.float32))
    assert (reward, terminated, truncated) == (0, False, True)
    assert info == {"invalid_step": "the physics diverged (BADQPOS)"}


@pytest.mark.filterwarnings("ignore")
def test_agents_do_not_learn_from_it():
    class Explodes(gym.Wrapper):
        steps = 0

        def step(self, action):
            self.steps += 1
            if self.steps == 15:
                explode(self, "huge velocity")
            return self.env.step(action)

    model = SAC(
        Explodes(gym.make("HalfCheetah-v5")), learning_starts=100, buffer_size=50, device="cpu", seed=0
    )
    model.learn(30)
    stored = model.replay_buffer
    assert np.abs(stored.observations).max() < 100
    assert stored.pos == 29
