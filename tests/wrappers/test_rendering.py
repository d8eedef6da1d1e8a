"""State observations without OpenGL, and images without a display."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dream_agents import make_env
from dream_agents.wrappers import RenderingUnavailableError, gl

HEADLESS = [backend for backend in gl.HEADLESS if gl.is_usable(backend)]
needs_gl = pytest.mark.skipif(not HEADLESS, reason="neither EGL nor OSMesa works here")
DMC = ("dmc_walker-walk-v0", "dmc_quadruped-escape-v0")


def run(code, **variables):
    """Run Python in a process without a display; warnings of users' concern are errors."""
    hidden = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    return subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True)


PLAY = """
from dream_agents import make_env
for id in {ids}:
    env = make_env(id, seed=0)
    env.reset()
    for _ in range(3):
        env.step(env.action_space.sample())
"""
PLAY_DMC = PLAY.format(ids=DMC)


@pytest.mark.parametrize("variables", [{}, {"MUJOCO_GL": "disable"}], ids=["unset", "disable"])
def test_state_observations_load_no_opengl(variables):
    report = "print(os.environ.get('MUJOCO_GL'), 'OpenGL' in sys.modules, env.unwrapped.physics._contexts)"
    done = run(f"{PLAY_DMC}\nimport os, sys\n{report}", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(variables.get("MUJOCO_GL")), "False", "None"]


@pytest.mark.parametrize("backend", gl.HEADLESS)
@pytest.mark.parametrize(
    "ids", [DMC, ["metaworld_reach-v3"], ["humanoid_h1-reach-v0"]], ids=["dmc", "metaworld", "humanoid_bench"]
)
def test_state_observations_work_although_the_wanted_backend_does_not(ids, backend):
    pretend = (
        "import sys\nsys.modules['OpenGL'] = None\n"
        "from dream_agents.wrappers import gl\ngl.is_usable = lambda backend: False\n"
    )
    done = run(pretend + PLAY.format(ids=ids), MUJOCO_GL=backend)
    assert done.returncode == 0, done.stderr


RENDER = """
import os
import numpy as np
from dream_agents import make_env
state = make_env("dmc_cartpole-balance-v0", seed=0)  # imports dm_control before anything is rendered
state.reset()
env = make_env("dmc_walker-walk-v0", render_mode="rgb_array", seed=0)
env.reset()
image = env.render()
assert image.shape == (240, 320, 3) and image.dtype == np.uint8 and image.std() > 5, image.shape
assert state.unwrapped.physics.render(48, 64).std() > 5
print(os.environ["MUJOCO_GL"])
"""


@needs_gl
@pytest.mark.parametrize("backend", [None, *HEADLESS])
def test_images_without_a_display(backend):
    done = run(RENDER, **({"MUJOCO_GL": backend} if backend else {}))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [backend or HEADLESS[0]]


@needs_gl
def test_simulator_of_a_state_environment_can_be_rendered_too():
    done = run(PLAY_DMC + "assert env.unwrapped.physics.render(48, 64).std() > 5\nenv.close()")
    assert done.returncode == 0, done.stderr


@needs_gl
def test_images_where_the_program_imported_dm_control_itself():
    done = run(
        "import warnings\nwarnings.simplefilter('ignore')\nfrom dm_control import suite\n"
        "warnings.simplefilter('error', UserWarning)\n" + RENDER
    )
    assert done.returncode == 0, done.stderr


@needs_gl
def test_image_follows_the_options_and_the_state():
    env = make_env("dmc_walker-walk-v0", render_mode="rgb_array", height=64, width=48, seed=0)
    env.reset()
    before = env.render()
    assert before.shape == (64, 48, 3)
    for _ in range(10):
        env.step(env.action_space.sample())
    assert not np.array_equal(before, env.render())
    other_camera = make_env("walker-walk", render_mode="rgb_array", height=64, width=48, camera_id=1, seed=0)
    other_camera.reset()
    assert not np.array_equal(before, other_camera.render())


@needs_gl
def test_render_modes_pass_gymnasiums_checker():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(make_env("dmc_quadruped-escape-v0", render_mode="rgb_array"))


@needs_gl
def test_new_terrain_is_rendered_after_reset():
    env = make_env("dmc_quadruped-escape-v0", render_mode="rgb_array")
    env.reset(seed=0)
    env.render()
    env.reset(seed=1)
    reused = env.render()
    fresh = make_env("dmc_quadruped-escape-v0", render_mode="rgb_array")
    fresh.reset(seed=1)
    np.testing.assert_array_equal(reused, fresh.render())


@needs_gl
def test_images_play_at_the_simulations_speed():
    env = make_env("dmc_walker-walk-v0")
    assert env.metadata["render_fps"] == pytest.approx(1 / (2 * 0.025))


def test_unknown_render_mode_names_the_known_ones():
    with (
        pytest.warns(UserWarning, match="render_mode"),
        pytest.raises(
            ValueError, match=r"'ansi' is not supported; choose from \('rgb_array', 'depth_array'\)"
        ),
    ):
        make_env("dmc_walker-walk-v0", render_mode="ansi")


@pytest.fixture
def bare_machine(monkeypatch):
    """Pretend that no backend works."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl, "is_usable", lambda backend: False)
    monkeypatch.setattr(gl.platform, "system", lambda: "Linux")
    return monkeypatch


def test_error_without_any_backend_names_the_packages(bare_machine):
    with pytest.raises(RenderingUnavailableError) as error:
        make_env("dmc_walker-walk-v0", render_mode="rgb_array")
    assert "libosmesa6" in str(error.value)
    assert "libegl1 libopengl0 libgl1-mesa-dri" in str(error.value)


@pytest.mark.parametrize("id", ["dmc_walker-walk-v0", "metaworld_reach-v3", "humanoid_h1-stand-v0"])
def test_images_as_observations_without_any_backend_name_the_packages(bare_machine, id):
    with pytest.raises(RenderingUnavailableError, match=r"libosmesa6.*libegl1 libopengl0 libgl1-mesa-dri"):
        make_env(id, obs_type="pixels")


def test_error_names_the_variable_that_switches_rendering_off(bare_machine):
    bare_machine.setenv("MUJOCO_GL", "disable")
    with pytest.raises(RenderingUnavailableError, match="MUJOCO_GL=disable switches it off"):
        make_env("dmc_walker-walk-v0", render_mode="rgb_array")


@pytest.mark.parametrize("backend", ["egl", "osmesa", "glfw"])
def test_error_names_the_wanted_backend(bare_machine, backend):
    bare_machine.setenv("MUJOCO_GL", backend)
    with pytest.raises(RenderingUnavailableError, match=rf"MUJOCO_GL={backend} does not work.*libosmesa6"):
        make_env("dmc_walker-walk-v0", render_mode="rgb_array")


def test_backend_is_chosen_in_order_of_speed(bare_machine):
    bare_machine.setattr(gl, "is_usable", lambda backend: backend in ("osmesa", "glfw"))
    assert gl.select_backend() == "osmesa"
    assert os.environ["MUJOCO_GL"] == "osmesa"
