"""Observations that are images."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from dream_agents import make_env, make_vec_env
from dream_agents.wrappers import gl, task_info
from dream_agents.wrappers.pixels import observe_pixels

needs_gl = pytest.mark.skipif(
    not any(map(gl.is_usable, gl.HEADLESS)), reason="neither EGL nor OSMesa works here"
)


class Counter(gym.Env):
    """Shows an image of 64 x 64 whose every pixel is (number of steps, episode, 7)."""

    def __init__(self, render_mode="rgb_array", size=64):
        self.metadata = {"render_modes": ["rgb_array", "depth_array"], "action_repeat": 2}
        self.render_mode, self.size, self.episode = render_mode, size, 0
        self.observation_space, self.action_space = Box(-1, 1, (2,), np.float32), Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.episode = 0, self.episode + 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        self.action = action
        return np.zeros(2, np.float32), 1.0, False, self.steps == 5, {}

    def render(self):
        return np.full((self.size, self.size, 3), (self.steps, self.episode, 7), np.uint8)


def steps_shown(observation):
    """Step counts of the frames, oldest first."""
    assert observation.shape == (9, 64, 64) and observation.dtype == np.uint8
    assert (observation == observation[:, :1, :1]).all() and (observation[2::3] == 7).all()
    assert len(set(observation[1::3].flat)) == 1, "frames of two episodes"
    return observation[::3, 0, 0].tolist()


def test_three_frames_are_stacked_and_the_first_fills_the_stack():
    env = make_env(Counter, obs_type="pixels")
    for _ in range(2):
        observation, _ = env.reset()
        shown = [steps_shown(observation)]
        for _ in range(4):
            observation, *_ = env.step(env.action_space.sample())
            shown.append(steps_shown(observation))
        assert shown == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_earlier_observations_stay_as_they_were():
    env = make_env(Counter, obs_type="pixels")
    first, _ = env.reset()
    env.step(env.action_space.sample())
    assert steps_shown(first) == [0, 0, 0]


def test_actions_are_brought_into_form():
    env = make_env(Counter, obs_type="pixels")
    env.reset()
    env.step(np.array([0.5], np.float32))
    assert env.action_space == Box(-1, 1, (1,), np.float32) and env.unwrapped.action == 1.0


def test_metadata_tells_the_stack_and_keeps_the_rest():
    info = task_info(make_env(Counter, obs_type="pixels"))
    assert (info.frame_stack, info.action_repeat) == (3, 2)
    assert task_info(make_env(Counter)).frame_stack == 1
    assert task_info(make_vec_env(Counter, 2, obs_type="pixels")).frame_stack == 3


def test_images_that_an_environment_observes_stay_as_they_are():
    class Painter(Counter):
        def __init__(self):
            super().__init__(render_mode=None)
            self.observation_space = Box(0, 255, (4, 30, 50), np.uint8)

    env = Painter()
    assert observe_pixels(env) is env
    assert make_env(Painter, obs_type="pixels").observation_space == env.observation_space


def test_render_mode_is_needed_and_must_fit():
    with pytest.raises(ValueError, match=r"render_mode=None; make it with render_mode=\"rgb_array\""):
        make_env(lambda: Counter(render_mode=None), obs_type="pixels")
    with pytest.raises(ValueError, match=r"render_mode='human' does not go with obs_type=\"pixels\""):
        make_env("dmc_walker-walk-v0", obs_type="pixels", render_mode="human")


def test_images_of_another_size_are_resized():
    pytest.importorskip("cv2")
    env = make_env(lambda: Counter(size=128), obs_type="pixels")
    assert steps_shown(env.reset()[0]) == [0, 0, 0]


@needs_gl
@pytest.mark.parametrize("id", ["dmc_quadruped-walk-v0", "dmc_lqr-lqr_2_1-v0", "humanoid_h1-stand-v0"])
def test_frames_are_what_the_environment_renders(id):
    env = make_env(id, obs_type="pixels", seed=1)
    observation, _ = env.reset()
    for _ in range(3):
        observation, *_ = env.step(env.action_space.sample())
        np.testing.assert_array_equal(observation[-3:].transpose(1, 2, 0), env.render())
    assert observation.std() > 5
    assert not (observation[-3:] == observation[:3]).all()
    env.close()


@needs_gl
def test_checkers_of_gymnasium_and_sb3(recwarn):
    env = make_env("dmc_cartpole-balance-v0", obs_type="pixels", seed=0)
    check_env_sb3(env)
    check_env(env)
    env.close()
    own = [str(w.message) for w in recwarn if "different from the unwrapped" not in str(w.message)]
    assert own == []


@needs_gl
def test_seed_decides_the_images():
    first, second, other = (
        make_env("dmc_reacher-easy-v0", obs_type="pixels", seed=seed).reset()[0] for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@needs_gl
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_several_environments_in_processes(start_method):
    """They show what environments in this process show."""
    options = {"obs_type": "pixels", "seed": 5}
    here = make_vec_env("dmc_pendulum-swingup-v0", 2, **options)
    apart = make_vec_env(
        "dmc_pendulum-swingup-v0", 2, vec_env_cls="subproc", start_method=start_method, **options
    )
    try:
        assert apart.observation_space == Box(0, 255, (9, 64, 64), np.uint8)
        np.testing.assert_array_equal(apart.reset(), here.reset())
        actions = np.ones((2, 1), np.float32)
        for _ in range(3):
            np.testing.assert_array_equal(apart.step(actions)[0], here.step(actions)[0])
    finally:
        apart.close()
        here.close()
