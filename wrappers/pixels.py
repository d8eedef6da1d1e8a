"""Observes images of an environment instead of its numbers."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

from dream_agents.wrappers.spaces import is_image

IMAGE_SIZE = 64
"""Height and width of an observed image, in pixels."""
FRAME_STACK = 3
"""Images in an observation, unless another number is asked for."""


class StackedChannels(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Put the channels of stacked images first, the newest image's last.

    ``metadata["frame_stack"]`` tells the number of images. The only render mode is the one that is observed.

    :param env: an environment that observes images, uint8 [stack, height, width, channels]
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        assert env.observation_space.shape is not None
        stack, height, width, channels = env.observation_space.shape
        self.observation_space = Box(0, 255, (stack * channels, height, width), np.uint8)
        self.metadata = {**env.metadata, "frame_stack": stack, "render_modes": [env.render_mode]}

    def observation(self, observation: Any) -> np.ndarray[Any, Any]:
        """Return [stack * channels, height, width]."""
        images: np.ndarray[Any, Any] = np.moveaxis(observation, -1, 1).reshape(self.observation_space.shape)
        return images


def observe_pixels(env: gym.Env[Any, Any], frame_stack: int = FRAME_STACK) -> gym.Env[Any, Any]:
    """Return `env` observing the last frames, of three uint8 ``Box(0, 255, (9, 64, 64))``.

    A frame is what `env.render` shows after a decision, channels first; the newest comes last. At an episode's
    start the first one fills the stack.

    :param env: an environment made with ``render_mode="rgb_array"``. Images of another size are resized, which
        needs opencv. One that observes images of its own, a uint8 `Box` with three dimensions, is returned as it is.
    :param frame_stack: frames in an observation
    :raises ValueError: if the environment was made with another render mode, and for less than one frame
    :raises gymnasium.error.DependencyNotInstalled: if images have to be resized and opencv is missing
    """
    if is_image(env.observation_space):
        return env
    if frame_stack < 1:
        raise ValueError(f"frame_stack={frame_stack}: an observation of pixels has at least 1 frame")
    space = env.observation_space
    if env.render_mode != "rgb_array" and isinstance(space, Box) and len(space.shape) == 3:
        check_image(space)
    if env.render_mode != "rgb_array":
        raise ValueError(
            f"obs_type='pixels' shows what an environment renders, but this one has render_mode={env.render_mode!r}; "
            'make it with render_mode="rgb_array"'
        )
    env = gym.wrappers.AddRenderObservation(env, render_only=True)  # [height, width, 3]
    shape = env.observation_space.shape
    assert shape is not None
    if shape[:2] != (IMAGE_SIZE, IMAGE_SIZE):
        env = gym.wrappers.ResizeObservation(env, (IMAGE_SIZE, IMAGE_SIZE))
    return StackedChannels(gym.wrappers.FrameStackObservation(env, frame_stack))


def check_image(space: gym.Space[Any]) -> None:
    """Raise a `ValueError` that names dtype and range unless images of a space are uint8 from 0 to 255.

    :param space: a `Box` with three dimensions
    """
    assert isinstance(space, Box)
    if space.dtype != np.uint8 or np.any(space.low != 0) or np.any(space.high != 255):
        raise ValueError(
            f"images of dtype {space.dtype} from {space.low.min():.4g} to {space.high.max():.4g} are observed, but "
            "agents learn from images of dtype uint8 from 0 to 255; wrap the environment with "
            "gymnasium.wrappers.TransformObservation, e.g. with lambda image: (255 * image).astype(numpy.uint8)"
        )
