"""Environments that render the MuJoCo simulation they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from dream_agents.wrappers.renderer import Renderer

if TYPE_CHECKING:
    import mujoco

Array = np.ndarray[Any, np.dtype[np.float32]]

_RENDER_MODES = ("rgb_array", "depth_array")


class RenderedEnv(gym.Env[Array, Array]):
    """An environment of a MuJoCo simulation, which `render` shows.

    :param model: the simulation's model
    :param data: the simulation's state
    :param render_mode: None, ``"rgb_array"`` or ``"depth_array"``
    :param height: of rendered images, in pixels
    :param width: of rendered images, in pixels
    :param camera: name or number of the camera
    :raises ValueError: if there is no such render mode or camera, or the size of images is not positive
    """

    metadata = {"render_modes": list(_RENDER_MODES)}  # noqa: RUF012

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        *,
        render_mode: str | None,
        height: int,
        width: int,
        camera: str | int,
    ) -> None:
        _check_options(model, render_mode, height, width, camera)
        self.model, self.data = model, data
        self.render_mode = render_mode
        self._image_size = (height, width)
        self._camera = camera
        self._renderer: Renderer | None = None

    def render(self) -> Any:
        """Return an image, [height, width, 3] bytes, or the depth in metres, [height, width]; or None without a mode.

        :raises RenderingUnavailableError: where no OpenGL backend works
        """
        if self.render_mode is None:
            gym.logger.warn(
                "render() was called without a render mode: pass render_mode='rgb_array' when making"
            )
            return None
        if self._renderer is None:
            depth = self.render_mode == "depth_array"
            self._renderer = Renderer(self.model, *self._image_size, depth=depth)
        self._prepare_image()
        return self._renderer.render(self.data, self._camera)

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _prepare_image(self) -> None:
        """Bring into the model what only images show; called before each."""


def _check_options(
    model: mujoco.MjModel, render_mode: str | None, height: int, width: int, camera: str | int
) -> None:
    """Raise a `ValueError` for an option that could only fail later."""
    if render_mode is not None and render_mode not in _RENDER_MODES:
        raise ValueError(f"render_mode={render_mode!r} is not supported; choose from {_RENDER_MODES}")
    for name, size in (("height", height), ("width", width)):
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name}={size!r} must be a positive number of pixels")
    names = [model.camera(index).name for index in range(model.ncam)]
    if camera not in names and camera not in range(model.ncam):
        raise ValueError(
            f"camera={camera!r} is not one of the model's: {', '.join(names)}, by name or number"
        )
