"""Observes images of an environment, instead of its numbers or with them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict

from dream_agents.wrappers.actions import env_name
from dream_agents.wrappers.keyed import check_pictures, has_pictures, observe_by_key
from dream_agents.wrappers.spaces import is_image, keep_observation

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
        check_image(env.observation_space)
        return env
    if frame_stack < 1:
        raise ValueError(f"frame_stack={frame_stack}: an observation of pixels has at least 1 frame")
    space = env.observation_space
    if env.render_mode != "rgb_array":
        if has_pictures(space):
            raise ValueError(
                f"{env_name(env)} observes {space}, images among others; pass obs_type='pixels+state', "
                "which encodes each"
            )
        if isinstance(space, Box) and len(space.shape) == 3:
            check_image(space)
        check_pictures(space)
        raise ValueError(
            f"obs_type='pixels' and 'pixels+state' show what an environment renders, but this one has "
            f"render_mode={env.render_mode!r}; "
            'make it with render_mode="rgb_array"'
        )
    env = gym.wrappers.AddRenderObservation(env, render_only=True)  # [height, width, 3]
    shape = env.observation_space.shape
    assert shape is not None
    if shape[:2] != (IMAGE_SIZE, IMAGE_SIZE):
        env = gym.wrappers.ResizeObservation(env, (IMAGE_SIZE, IMAGE_SIZE))
    return StackedChannels(gym.wrappers.FrameStackObservation(env, frame_stack))


class RememberedObservation(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Remember what an environment observed last, as `seen`.

    :param env: any environment
    """

    seen: Any = None

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)

    def observation(self, observation: Any) -> Any:
        """Return the observation itself."""
        self.seen = observation
        return observation


class PixelsAndState(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Observe what `observe_pixels` shows as ``"pixels"``, and the environment's own observation as ``"state"``.

    A dictionary's parts keep their keys instead.

    :param env: an environment made with ``render_mode="rgb_array"``
    :param frame_stack: frames in an observation
    :raises ValueError: if the environment was made with another render mode, or has a key ``"pixels"``
    """

    def __init__(self, env: gym.Env[Any, Any], frame_stack: int = FRAME_STACK) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, frame_stack=frame_stack)
        own = env.observation_space
        parts = dict(own.spaces) if isinstance(own, Dict) else {"state": own}
        if "pixels" in parts:
            raise ValueError(
                f'{env_name(env)} observes {parts["pixels"]} as "pixels" already, where obs_type="pixels+state" puts '
                "what it renders; rename that key with gymnasium.wrappers.TransformObservation"
            )
        self._state = RememberedObservation(env)
        pixels = observe_pixels(self._state, frame_stack)
        gym.ObservationWrapper.__init__(self, pixels)
        self.observation_space = Dict({"pixels": pixels.observation_space, **parts})

    def observation(self, observation: Any) -> dict[str, Any]:
        """Return the pixels with the rest."""
        seen = self._state.seen
        own = seen if isinstance(self._state.observation_space, Dict) else {"state": seen}
        return {"pixels": observation, **own}


def observe_pixels_and_state(env: gym.Env[Any, Any], frame_stack: int = FRAME_STACK) -> gym.Env[Any, Any]:
    """Return `env` observing images and numbers by key.

    :param env: one that observes images in a dictionary or a tuple, which it keeps (`observe_by_key`), or one that
        observes numbers and was made with ``render_mode="rgb_array"``, see `PixelsAndState`
    :param frame_stack: frames in an observation, where they are rendered
    :raises ValueError: for other images, an environment that observes nothing but an image, and as `observe_pixels`
    """
    if has_pictures(env.observation_space):
        return observe_by_key(env)
    if is_image(env.observation_space):
        raise ValueError(
            f'{env_name(env)} observes an image and no numbers, {env.observation_space}; pass obs_type="pixels"'
        )
    check_pictures(env.observation_space)
    return PixelsAndState(keep_observation(env), frame_stack)


def check_image(space: gym.Space[Any]) -> None:
    """Raise a `ValueError` that names dtype and range unless images of a space are uint8 from 0 to 255.

    :param space: a `Box` with three dimensions
    """
    assert isinstance(space, Box)
    if space.dtype != np.uint8 or np.any(space.low != 0) or np.any(space.high != 255):
        raise ValueError(
            f"images of dtype {space.dtype} from {space.low.min():.4g} to {space.high.max():.4g} are observed, but "
            "agents learn from images of dtype uint8 from 0 to 255; wrap the environment with "
            "gymnasium.wrappers.TransformObservation, e.g. with lambda image: (255 * image).astype(numpy.uint8); or "
            'make a vector of it with obs_type="state"'
        )
