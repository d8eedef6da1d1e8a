"""Rendering of MuJoCo models: what a renderer leaves behind, and where it draws."""

import gc
import os
import subprocess
import sys
import threading

import mujoco
import numpy as np
import pytest

from dream_agents import make_env
from dream_agents.wrappers import RenderingUnavailableError, gl

try:
    gl.select_backend()
except RenderingUnavailableError as error:
    pytest.skip(str(error), allow_module_level=True)

PIXELS = {"render_mode": "rgb_array", "height": 48, "width": 64}


@pytest.fixture
def closing_threads(monkeypatch):
    """Names of the threads in which renderers are closed."""
    names = []
    close = mujoco.Renderer.close

    def noted(renderer):
        if renderer._mjr_context is not None:
            names.append(threading.current_thread().name)
        close(renderer)

    monkeypatch.setattr(mujoco.Renderer, "close", noted)
    return names


@pytest.mark.parametrize("closed", [True, False])
def test_a_renderer_is_freed_in_its_own_thread(closing_threads, closed):
    env = make_env("humanoid_h1-run-v0", seed=0, **PIXELS)
    env.render()
    if closed:
        env.close()
    del env
    gc.collect()
    assert len(closing_threads) == 1
    assert closing_threads[0].startswith("renderer")


def test_an_environment_renders_again_after_close():
    env = make_env("humanoid_h1-run-v0", seed=0, **PIXELS)
    before = env.render()
    env.close()
    assert np.array_equal(env.render(), before)


def in_a_new_process(code, **variables):
    """Run code; return what it prints, errors included."""
    environment = {key: value for key, value in os.environ.items() if key != "PYOPENGL_PLATFORM"}
    result = subprocess.run(
        [sys.executable, "-c", f"from dream_agents import make_env\n{code}"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**environment, **variables},
    )
    return result.stdout + result.stderr


MAKE = f"env = make_env('humanoid_h1-run-v0', seed=0, **{PIXELS})\nenv.render()\n"
# What weakref.finalize has done in atexit since its first use, here, comes after OpenGL's end there.
FINALIZE_FIRST = "import tempfile\nfolder = tempfile.TemporaryDirectory()\n"
CLOSE_LAST = "import atexit\natexit.register(env.close)\n"
DM_CONTROL = f"other = make_env('dmc_cartpole-balance-v0', seed=0, **{PIXELS})\nother.render()\n"


@pytest.mark.parametrize("backend", [backend for backend in gl.HEADLESS if gl.is_usable(backend)])
@pytest.mark.parametrize(
    "code",
    [FINALIZE_FIRST + MAKE, MAKE + CLOSE_LAST, MAKE + DM_CONTROL, FINALIZE_FIRST + DM_CONTROL + MAKE],
    ids=["open", "closed last", "before dm_control", "after dm_control"],
)
def test_python_ends_quietly_with_renderers_open(code, backend):
    assert in_a_new_process(code, MUJOCO_GL=backend) == ""


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@needs_fork
def test_what_a_process_opened_is_freed_there_and_not_where_it_forks():
    code = (
        "import os\nfrom dream_agents.wrappers import gl\n"
        "gl.at_exit(lambda: print('freed', flush=True))\n"
        "if os.fork() == 0:\n    raise SystemExit\n"
        "os.wait()"
    )
    assert in_a_new_process(code) == "freed\n"


@needs_fork
@pytest.mark.parametrize("which", ["env", "make_env('humanoid_h1-run-v0', render_mode='rgb_array', seed=0)"])
def test_a_forked_process_is_told_that_it_cannot_render(which):
    code = (
        "import os\nchild = os.fork()\nif child == 0:\n"
        f"    try:\n        {which}.render()\n"
        "    except RuntimeError as error:\n        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\nprint(env.render().shape)"
    )
    told, parents = in_a_new_process(MAKE + code).splitlines()
    assert 'start processes by "forkserver" or "spawn"' in told
    assert parents == "(48, 64, 3)"
