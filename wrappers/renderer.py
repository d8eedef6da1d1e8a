"""Renders a MuJoCo simulation without a window."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from dream_agents.wrappers import gl

if TYPE_CHECKING:
    import mujoco


_renders_in: dict[str, int] = {}
"""The process that opened the first renderer."""


class Renderer:
    """`mujoco.Renderer` in a thread of its own, on the backend that `gl.select_backend` chooses.

    OpenGL draws to the context that is current in a thread. In its own thread, a renderer never takes away
    that of another one, such as dm_control's, which relies on being alone.

    :param model: what to render
    :param height: of the images, in pixels
    :param width: of the images, in pixels
    :param depth: whether images tell the distance from the camera, in metres, instead of colours
    :raises RenderingUnavailableError: if no OpenGL backend works, or in a process that was forked from one that
        has rendered
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, depth: bool = False) -> None:
        _check_not_forked()
        backend = gl.select_backend()
        buffer = model.vis.global_
        buffer.offheight, buffer.offwidth = height, width
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="renderer")
        self._renderer = self._thread.submit(_open, backend, model, height, width).result()
        if depth:
            self._renderer.enable_depth_rendering()
        # Also when it is dropped or Python ends: OpenGL's memory is freed only in the thread it belongs to.
        self._free = weakref.finalize(self, _free, self._thread, self._renderer)
        gl.at_exit(self._free)

    def render(self, data: mujoco.MjData, camera: str | int) -> np.ndarray[Any, Any]:
        """Return an image of the simulation's state.

        :param camera: name or number of one of the model's cameras
        :returns: [height, width, 3] bytes, or the depth, [height, width] float32
        :raises RenderingUnavailableError: in a forked process
        """
        _check_not_forked()
        return self._thread.submit(self._draw, data, camera).result()

    def close(self) -> None:
        """Free the renderer, which can't be used any more."""
        self._free()

    def _draw(self, data: mujoco.MjData, camera: str | int) -> np.ndarray[Any, Any]:
        self._renderer.update_scene(data, camera)
        image: np.ndarray[Any, Any] = self._renderer.render()
        return image


def _open(backend: str, model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    """Make a renderer on a backend; mujoco has chosen one when it was imported, by what MUJOCO_GL said then."""
    import mujoco

    if platform.system() == "Linux":
        contexts = sys.modules[
            mujoco.Renderer.__module__
        ].gl_context  # newer releases have moved both modules
        contexts.GLContext = importlib.import_module(f"mujoco.{backend}").GLContext
    return mujoco.Renderer(model, height, width)


def _check_not_forked() -> None:
    """Raise a `RenderingUnavailableError` where OpenGL, whose threads a fork doesn't copy, would wait for ever."""
    if _renders_in.setdefault("process", os.getpid()) != os.getpid():
        raise gl.RenderingUnavailableError(
            "this process was forked from one that has rendered, where OpenGL cannot work: start processes by "
            '"forkserver" or "spawn", or render only in them'
        )


def _free(thread: ThreadPoolExecutor, renderer: mujoco.Renderer) -> None:
    """Close a renderer in its thread, of which a forked process has no copy."""
    if _renders_in["process"] != os.getpid():
        return
    thread.submit(renderer.close).result()
    thread.shutdown()
