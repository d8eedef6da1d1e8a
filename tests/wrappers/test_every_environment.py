"""What every environment of every suite promises, whatever it simulates."""

import base64
import inspect
import os
import pickle
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from dream_agents import make_env
from dream_agents.registry import suites
from dream_agents.wrappers import gl, resolve, task_info

SUITES = ("dmc", "metaworld", "humanoid_bench")
SAMPLE = (
    "dmc_cartpole-swingup_sparse-v0",  # a scalar in the observation
    "dmc_quadruped-escape-v0",  # terrain, bounds that are not symmetric
    "dmc_lqr-lqr_2_1-v0",  # no bounds, a random model, may end early
    "dmc_reacher-three_hard-v0",  # TD-MPC2's
    "metaworld_reach-v3",
    "humanoid_h1-stand-v0",  # ends early
    "humanoid_h1-reach-v0",  # a goal in the observation
)
IDS = [id for suite in SUITES for id in suites.get(suite).ids()]
every_id = pytest.mark.parametrize(
    "id", [id if id in SAMPLE else pytest.param(id, marks=pytest.mark.slow) for id in IDS]
)
needs_gl = pytest.mark.skipif(
    not any(map(gl.is_usable, gl.HEADLESS)), reason="neither EGL nor OSMesa works here"
)


def play(env, seed):
    """Return all observations and rewards of two episodes' starts, [2, ...]; both take the same random actions."""
    episodes = []
    for start in (seed, None):  # a seeded episode, and the next one of the stream
        observation, _ = env.reset(seed=start)
        seen, random = [observation], np.random.default_rng(seed)
        for _ in range(10):
            action = random.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            observation, reward, *_ = env.step(action)
            seen += [observation, reward]
        episodes.append(np.hstack(seen))
    return np.array(episodes)


@pytest.fixture(scope="module")
def play_elsewhere():
    """Play the environment that a function makes in another process, to which the function is pickled."""
    code = f"""
import base64, pickle, sys
import numpy as np
{inspect.getsource(play)}
for line in sys.stdin:
    seen = play(pickle.loads(base64.b64decode(line))(), 7)
    print(base64.b64encode(pickle.dumps(seen)).decode(), flush=True)
"""
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONHASHSEED": "7"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, env=environment
    ) as process:

        def play_there(make):
            print(base64.b64encode(pickle.dumps(make)).decode(), file=process.stdin, flush=True)
            return pickle.loads(base64.b64decode(process.stdout.readline()))

        yield play_there
        process.stdin.close()


@every_id
class TestEveryEnvironment:
    def test_spaces_are_those_of_the_table(self, id):
        suite, _ = resolve(id)
        task, env = suite.task(id), make_env(id)
        assert env.spec.id == id
        assert env.action_space == Box(-1, 1, (task.action_size,), np.float32)
        assert env.observation_space.shape == (task.observation_size,)
        assert env.observation_space.dtype == np.float32
        info = task_info(env)
        assert (info.action_repeat, info.max_episode_steps, info.episodic, info.frame_stack) == (
            task.action_repeat,
            task.max_episode_steps,
            task.episodic,
            1,
        )

    def test_passes_the_checkers_of_gymnasium_and_sb3(self, id):
        env = make_env(id)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            check_env_sb3(env, skip_render_check=True)
            warnings.filterwarnings("ignore", message=".*different from the unwrapped version")
            warnings.filterwarnings("ignore", message=".*infinity. This is probably too (low|high)")
            check_env(env, skip_render_check=True)

    def test_is_truncated_at_the_limit_and_not_before(self, id):
        options = {"early_termination": False} if id.startswith("humanoid") else {}
        env = make_env(id, seed=0, **options)
        limit = task_info(env).max_episode_steps
        env.reset()
        action = np.zeros(env.action_space.shape, np.float32)
        for decision in range(1, limit + 1):
            observation, reward, terminated, truncated, _ = env.step(action)
            assert (terminated, truncated) == (False, decision == limit)
            assert observation.dtype == np.float32
            assert np.isfinite(observation).all() and np.isfinite(reward)
        env.reset()
        assert env.step(action)[2:4] == (False, False)

    def test_largest_actions_are_taken(self, id):
        env = make_env(id, seed=0)
        env.reset()
        for bound in (env.action_space.low, env.action_space.high):
            given = bound.copy()
            observation, reward, *_ = env.step(given)
            assert np.isfinite(observation).all() and np.isfinite(reward)
            np.testing.assert_array_equal(given, bound)

    def test_seed_decides_the_episode(self, id, play_elsewhere):
        """In a fresh environment, in one that has been used, and in another process."""
        used = make_env(id, seed=5)
        play(used, 3)
        expected = play(make_env(id), 7)
        np.testing.assert_array_equal(play(used, 7), expected)
        np.testing.assert_array_equal(play_elsewhere(partial(make_env, id)), expected)
        assert (expected[0] != expected[1]).any()
        assert (play(used, 8) != expected).any()

    @needs_gl
    def test_images_show_what_happens(self, id):
        env = make_env(id, render_mode="rgb_array", height=48, width=64, seed=0)
        env.reset()
        image = env.render()
        assert image.shape == (48, 64, 3) and image.dtype == np.uint8
        assert image.std() > 5
        for _ in range(10):
            env.step(env.action_space.high)
        assert (env.render() != image).any()
        env.close()

    @needs_gl
    def test_images_can_be_observed(self, id):
        env = make_env(id, obs_type="pixels", seed=0)
        assert env.observation_space == Box(0, 255, (9, 64, 64), np.uint8)
        first, _ = env.reset()
        np.testing.assert_array_equal(first[:3], first[-3:])
        for _ in range(3):
            observation, *_ = env.step(env.action_space.high)
        assert env.observation_space.contains(observation)
        assert observation.std() > 5
        assert (observation[-3:] != first[-3:]).any()
        env.close()
