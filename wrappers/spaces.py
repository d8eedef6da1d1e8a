"""Brings any environment's spaces into the agents' form: flat float32 boxes, actions in [-1, 1]."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.spaces import Box

from dream_agents.wrappers.actions import (
    ScaledAction,
    check_action_space,
    env_name,
    is_unit,
)

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

Spaces = tuple[gym.Space[Any], gym.Space[Any]]
"""Observation space and action space."""


class Float32Observation(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Observe float32 numbers in place of another dtype; bounds beyond float32 become infinite.

    :param env: an environment that observes a `Box`
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        inner = env.observation_space
        assert isinstance(inner, Box)
        with np.errstate(over="ignore"):
            low, high = inner.low.astype(np.float32), inner.high.astype(np.float32)
        self.observation_space = Box(low, high, dtype=np.float32)

    def observation(self, observation: Any) -> np.ndarray[Any, Any]:
        """Return the observation as float32."""
        return np.asarray(observation, dtype=np.float32)


class NativeSpaces(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Remember which spaces an environment had before they were brought into another form.

    :param env: the environment in its new form
    :param native_spaces: its own observation space and action space
    :param is_normalized: whether the form is that of `normalize`
    """

    def __init__(self, env: gym.Env[Any, Any], native_spaces: Spaces, is_normalized: bool = True) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, native_spaces=native_spaces, is_normalized=is_normalized
        )
        gym.Wrapper.__init__(self, env)
        self.native_spaces, self.is_normalized = native_spaces, is_normalized


def normalize(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` with a flat float32 observation and an action in ``Box(-1, 1, (A,), float32)``.

    An environment that has both already is returned as it is. Another one tells its own spaces by `native_spaces`.

    :raises ValueError: if the action is not a bounded floating-point `Box`, or the observation cannot
        be made one vector
    """
    return with_native_spaces(normalize_action(normalize_observation(env)), env)


def with_native_spaces(
    env: gym.Env[Any, Any], before: gym.Env[Any, Any], is_normalized: bool = True
) -> gym.Env[Any, Any]:
    """Let an environment tell the spaces that it had before, where it has been wrapped since."""
    if env is before:
        return env
    return NativeSpaces(env, (before.observation_space, before.action_space), is_normalized)


def native_spaces(env: VecEnv) -> Spaces:
    """Tell the environments' own spaces, or the `VecEnv`'s where it was not `make_env` that changed them."""
    observation_space, action_space = env.observation_space, env.action_space
    if not env.has_attr("native_spaces"):
        return observation_space, action_space
    observed, acted = env.get_attr("native_spaces", indices=[0])[0]
    return (
        observed if spaces.flatdim(observed) == spaces.flatdim(observation_space) else observation_space,
        acted if is_unit(action_space) else action_space,
    )


def normalize_observation(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` with a flat float32 `Box` as observation.

    :raises ValueError: if its observation's length is not fixed (a `Sequence` or a `Graph`)
    """
    space = env.observation_space
    if not space.is_np_flattenable:
        raise ValueError(
            f"{env_name(env)} observes {space}, which has no fixed length and cannot be made a vector of "
            "numbers; wrap it with gymnasium.wrappers.TransformObservation so that it observes a Box"
        )
    _warn_of_images(env)
    if not (isinstance(space, Box) and len(space.shape) == 1):
        env = gym.wrappers.FlattenObservation(env)
    if env.observation_space.dtype != np.float32:
        env = Float32Observation(env)
    return env


def keep_observation(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` itself if Stable-Baselines3 can store what it observes, or else `normalize_observation`'s.

    It can't store tuples, dictionaries in dictionaries and the like; and with `obs_type="state"`, images are vectors.

    :raises ValueError: if its observation's length is not fixed (a `Sequence` or a `Graph`)
    """
    space = env.observation_space
    parts = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    return env if parts and all(map(_is_plain, parts)) else normalize_observation(env)


def normalize_action(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` with ``Box(-1, 1, (A,), float32)`` as action, linearly rescaled to its own bounds.

    :raises ValueError: if its action is not a bounded floating-point `Box`
    """
    check_action_space(env.action_space, env_name(env))
    return env if is_unit(env.action_space) else ScaledAction(env)


def is_image(space: gym.Space[Any]) -> bool:
    """Tell whether a space is one of images: uint8 with three dimensions."""
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 3


def _is_plain(space: gym.Space[Any]) -> bool:
    """Tell whether Stable-Baselines3's buffers and networks take a space as it is."""
    if isinstance(space, Box):
        return 1 <= len(space.shape) <= 2
    if isinstance(space, spaces.Discrete):
        return bool(space.start == 0)
    if isinstance(space, spaces.MultiDiscrete):
        return len(space.nvec.shape) == 1 and bool(np.all(space.start == 0))
    return isinstance(space, spaces.MultiBinary) and len(space.shape) == 1


def _warn_of_images(env: gym.Env[Any, Any]) -> None:
    images = dict(_images(env.observation_space))
    if images:
        names = ", ".join(f'"{name}"' for name in images if name)
        sizes = ", ".join(str(int(np.prod(space.shape))) for space in images.values())
        warnings.warn(
            f"{env_name(env)} observes images{names and f' ({names})'}; each becomes a vector of {sizes} numbers",
            stacklevel=3,
        )


def _images(space: gym.Space[Any], name: str = "") -> Iterator[tuple[str, Box]]:
    """Yield the images in a space, with their names in dictionaries and places in tuples."""
    if isinstance(space, Box):
        # Floating-point images are nobody's state vector either.
        if is_image(space) or (
            len(space.shape) == 3 and np.all(space.low >= 0) and np.all(space.high <= 255)
        ):
            yield name, space
        return
    parts: dict[str, gym.Space[Any]] = {}
    if isinstance(space, spaces.Dict):
        parts = dict(space.spaces)
    elif isinstance(space, spaces.Tuple):
        parts = {str(place): part for place, part in enumerate(space.spaces)}
    for key, part in parts.items():
        yield from _images(part, f"{name}.{key}" if name else key)
