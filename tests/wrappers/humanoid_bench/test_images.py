"""Images of HumanoidBench's environments, without a display."""

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dream_agents import make_env
from dream_agents.wrappers import RenderingUnavailableError, gl

from .conftest import sample_of

pytestmark = pytest.mark.skipif(
    not any(map(gl.is_usable, gl.HEADLESS)), reason="neither EGL nor OSMesa works here"
)


@pytest.fixture
def make():
    """Make environments that render, and close them afterwards."""
    made = []

    def make_one(id, render_mode="rgb_array", **options):
        made.append(make_env(id, render_mode=render_mode, **options))
        made[-1].reset(seed=0)
        return made[-1]

    yield make_one
    for env in made:
        env.close()


def show(env, *, x=0.0, y=0.0, **state):
    """Return an image of the robot standing somewhere, [H, W, 3] whole numbers."""
    simulation = env.unwrapped
    qpos = simulation.data.qpos.copy()
    qpos[:2] = x, y
    simulation.set_state(qpos, np.zeros(simulation.model.nv), **state)
    return env.render().astype(int)


def pixels(image, colour):
    """Count the pixels in which red (0), green (1) or blue (2) prevails clearly."""
    others = np.delete(image, colour, axis=-1).max(axis=-1)
    return int((image[..., colour] > others + 60).sum())


@pytest.mark.parametrize("id", sample_of())
def test_images_show_the_robot_moving(id, make):
    env = make(id, early_termination=False)
    image = env.render()
    assert image.shape == (256, 256, 3) and image.dtype == np.uint8 and image.std() > 5
    for _ in range(10):
        env.step(env.action_space.sample())
    assert not np.array_equal(image, env.render())


def test_images_follow_the_options(make):
    env = make("h1-stand", height=48, width=96)
    assert env.metadata["render_fps"] == 50
    image = env.render()
    assert image.shape == (48, 96, 3)
    other = make("h1-stand", height=48, width=96, camera="cam_inhand").render()
    assert not np.array_equal(image, other)


def test_each_task_has_its_camera(make):
    for task, camera in (("stand", "cam_default"), ("maze", "cam_maze"), ("hurdle", "cam_hurdle")):
        default = make(f"h1-{task}", height=32, width=32)
        named = make(f"h1-{task}", height=32, width=32, camera=camera)
        np.testing.assert_array_equal(default.render(), named.render())


def test_depth_is_in_metres(make):
    depth = make("h1-stand", "depth_array", height=64, width=80).render()
    assert depth.shape == (64, 80) and depth.dtype == np.float32
    assert 3 < depth[16:36, 30:50].min() < 4  # the camera stands at (2, 3, 0.8) from the robot
    assert depth[0, 0] > 20


def test_render_modes_pass_gymnasiums_checker(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(make("h1-reach", height=32, width=32))


def test_the_goal_of_reach_is_a_red_ball(make):
    env = make("h1-reach")
    near, elsewhere, behind = (
        show(env, goal=np.array(goal)) for goal in ((0.5, 0.5, 1.0), (-0.3, 0.6, 1.5), (3, 4, 1))
    )
    assert pixels(near, 0) > 30 and pixels(elsewhere, 0) > 30
    assert not np.array_equal(near, elsewhere)
    assert pixels(behind, 0) == 0


def test_a_new_episodes_goal_is_shown_where_it_is(make):
    env = make("h1-reach")
    env.render()
    env.reset(seed=5)
    fresh = make("h1-reach")
    fresh.reset(seed=5)
    np.testing.assert_array_equal(env.render(), fresh.render())


def test_checkpoints_are_green_when_reached_and_the_next_is_red(make):
    env = make("h1-maze")
    images = [show(env, x=1.5, stage=stage) for stage in range(4)]  # between the first two checkpoints
    seen = [(pixels(image, 0) > 10, pixels(image, 1) > 10) for image in images]
    assert seen == [(True, False), (True, True), (False, True), (False, True)]
    assert pixels(images[2], 1) > pixels(images[1], 1)


def test_markers_touch_nothing(make):
    """They change images, and neither observations nor the simulation."""
    seen, unseen = make("h1-reach"), make_env("h1-reach", seed=0)
    unseen.reset(seed=0)
    action = np.zeros(19, np.float32)
    for _ in range(5):
        seen.render()
        np.testing.assert_array_equal(seen.step(action)[0], unseen.step(action)[0])


def test_official_markers_are_shown_too(make, official_files):
    env = make("h1-reach", geometry="official")
    assert pixels(show(env, goal=np.array([0.5, 0.5, 1])), 0) > 30


def test_without_a_render_mode_there_is_no_image(monkeypatch):
    env = make_env("h1-stand", seed=0)
    env.reset()
    with pytest.warns(UserWarning, match="pass render_mode='rgb_array'"):
        assert env.render() is None


def test_without_opengl_the_first_image_is_an_error(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    env = make_env("h1-stand", render_mode="rgb_array", seed=0)
    env.reset()
    with pytest.raises(RenderingUnavailableError, match="MUJOCO_GL=disable"):
        env.render()


@pytest.mark.parametrize("other", ["humanoid_h1hand-slide-v0", "walker-walk"])
def test_environments_can_be_rendered_by_turns(make, other):
    first, second = make("h1-stand"), make(other)
    images = [env.render() for env in (first, second)]
    for env, image in zip((first, second), images, strict=True):
        np.testing.assert_array_equal(env.render(), image)


def test_closing_one_environment_leaves_the_others_images_alone(make):
    first, second = make("h1-stand"), make("h1-stand", height=64)
    image = first.render()
    second.render()
    second.close()
    np.testing.assert_array_equal(first.render(), image)


@pytest.mark.parametrize(("height", "width"), [(1200, 64), (64, 2000)])
def test_large_images_are_complete(make, height, width):
    image = make("h1-stand", height=height, width=width).render()
    assert image.shape == (height, width, 3)
    assert image.any(axis=-1).mean() > 0.99


def test_a_closed_environment_can_be_rendered_again(make):
    env = make("h1-stand", height=32, width=32)
    image = env.render()
    env.close()
    env.close()
    np.testing.assert_array_equal(env.unwrapped.render(), image)
