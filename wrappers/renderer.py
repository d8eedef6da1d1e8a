"""Renders a MuJoCo simulation without a window."""

from __future__ import annotations

import atexit
import importlib
import platform
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from dream_agents.wrappers import gl

if TYPE_CHECKING:
    import mujoco


class Renderer:
    """`mujoco.Renderer` in a thread of its own, on the backend that `gl.select_backend` chooses.

    OpenGL draws to the context that is current in a thread. In its own thread, a renderer never takes away
    that of another one, such as dm_control's, which relies on being alone.

    :param model: what to render
    :param height: of the images, in pixels
    :param width: of the images, in pixels
    :param depth: whether images tell the distance from the camera, in metres, instead of colours
    :raises RenderingUnavailableError: if no OpenGL backend works
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, depth: bool = False) -> None:
        backend = gl.select_backend()
        buffer = model.vis.global_
        buffer.offheight, buffer.offwidth = max(buffer.offheight, height), max(buffer.offwidth, width)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="renderer")
        self._renderer = self._thread.submit(_open, backend, model, height, width).result()
        if depth:
            self._renderer.enable_depth_rendering()
        # What is still open when Python ends must be freed before mujoco closes EGL.
        atexit.register(_close_if_alive, weakref.ref(self._renderer))

    def render(self, data: mujoco.MjData, camera: str) -> np.ndarray[Any, Any]:
        """Return an image of the simulation's state.

        :param camera: name of the model's camera
        :returns: [height, width, 3] bytes, or the depth, [height, width] float32
        """
        return self._thread.submit(self._draw, data, camera).result()

    def close(self) -> None:
        """Free the renderer, which can't be used any more."""
        self._thread.submit(self._renderer.close).result()
        self._thread.shutdown()

    def _draw(self, data: mujoco.MjData, camera: str) -> np.ndarray[Any, Any]:
        self._renderer.update_scene(data, camera)
        image: np.ndarray[Any, Any] = self._renderer.render()
        return image


def _open(backend: str, model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    """Make a renderer on a backend; mujoco has chosen one when it was imported, by what MUJOCO_GL said then."""
    import mujoco

    if platform.system() == "Linux":
        mujoco.gl_context.GLContext = importlib.import_module(f"mujoco.{backend}").GLContext
    return mujoco.Renderer(model, height, width)


def _close_if_alive(reference: weakref.ref[Any]) -> None:
    renderer = reference()
    if renderer is not None:
        renderer.close()
