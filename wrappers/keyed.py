"""Observations of images and numbers by key: which parts are images, and what they are as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.spaces import Box

Array = np.ndarray[Any, Any]
Path = tuple[str | int, ...]
"""Keys of dictionaries and places in tuples, from the outside."""

_LARGE = 32
"""Height and width from which an array of three dimensions can only be an image."""


_AS_VECTOR = 'or make a vector of it with obs_type="state"'


def leaves(space: gym.Space[Any], path: Path = ()) -> Iterator[tuple[Path, gym.Space[Any]]]:
    """Yield the parts of a space that hold no others, each with where it is."""
    parts: Any = ()
    if isinstance(space, spaces.Dict):
        parts = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
    else:
        yield path, space
    for key, part in parts:
        yield from leaves(part, (*path, key))


def name_of(path: Path) -> str:
    """Write a path with dots."""
    return ".".join(map(str, path))


def pick(observation: Any, path: Path) -> Any:
    """Return the part of an observation that is at a path."""
    for key in path:
        observation = observation[key]
    return observation


def is_picture(space: gym.Space[Any]) -> bool:
    """Tell whether a space is one of images that are learned from: three dimensions, bytes or fractions.

    Bytes go from 0 to 255; numbers with fractions from 0 to 1, or from 0 to 255.
    """
    if not isinstance(space, Box) or len(space.shape) != 3 or np.any(space.low != 0):
        return False
    highest = (255,) if space.dtype == np.uint8 else (1, 255)
    is_known = space.dtype == np.uint8 or np.issubdtype(space.dtype, np.floating)
    return is_known and any(bool(np.all(space.high == high)) for high in highest)


def has_pictures(space: gym.Space[Any]) -> bool:
    """Tell whether a space is a dictionary or a tuple with images somewhere in it."""
    inside = isinstance(space, spaces.Dict | spaces.Tuple)
    return inside and any(is_picture(part) for _, part in leaves(space))


def check_pictures(space: gym.Space[Any]) -> None:
    """Raise a `ValueError` that names key, dtype and range unless whatever looks like an image is one."""
    for path, part in leaves(space):
        which = f'images "{name_of(path)}"' if path else "images"
        if _is_grey(part):
            raise ValueError(
                f"{which} of dtype uint8 and shape {part.shape} are observed, which have no dimension of channels; "
                "keep it (gymnasium.wrappers.GrayscaleObservation(env, keep_dim=True)), or give it with "
                f"gymnasium.wrappers.ReshapeObservation; {_AS_VECTOR}"
            )
        if is_picture(part) or not _is_large(part):
            continue
        assert isinstance(part, Box)
        raise ValueError(
            f"{which} of dtype {part.dtype} from {part.low.min():.4g} to {part.high.max():.4g} "
            "are observed, but agents learn from images of dtype uint8 from 0 to 255, or of fractions from 0 to 1; "
            f"wrap the environment with gymnasium.wrappers.TransformObservation; {_AS_VECTOR}"
        )


def obs_type_of(space: gym.Space[Any]) -> str:
    """Tell what `obs_type` an environment has where none is given.

    :param space: what it observes
    :returns: "pixels+state" where a dictionary or a tuple holds images, "pixels" for an image alone, or "state"
    :raises ValueError: for images that can't be learned from
    """
    if has_pictures(space):
        return "pixels+state"
    if isinstance(space, Box) and _is_large(space):
        return "pixels"
    check_pictures(space)
    return "state"


def _is_large(space: gym.Space[Any]) -> bool:
    """Tell whether a space has three dimensions and can only be one of images."""
    return isinstance(space, Box) and len(space.shape) == 3 and min(picture_shape(space)[1:]) >= _LARGE


def _is_grey(space: gym.Space[Any]) -> bool:
    """Tell whether a space is one of images of bytes without channels."""
    if not isinstance(space, Box) or space.dtype != np.uint8 or len(space.shape) != 2:
        return False
    return min(space.shape) >= _LARGE and bool(np.all(space.high == 255))


def channels_come_first(space: Box) -> bool:
    """Tell where channels are: in the smallest dimension, as in Stable-Baselines3."""
    return bool(np.argmin(space.shape) == 0)


def picture_shape(space: Box) -> tuple[int, int, int]:
    """Return channels, height and width of a space's images."""
    first, second, third = space.shape
    return (first, second, third) if channels_come_first(space) else (third, first, second)


def to_bytes(name: str, space: Box, images: Array) -> Array:
    """Return images as bytes, channels first.

    :param name: their key, for messages
    :param space: of one image, in its own dtype, range and order
    :param images: [batch, ...], in the order of the space or channels first
    :returns: uint8 [batch, channels, height, width]
    :raises ValueError: for images of another dtype or range than the space's, naming both
    """
    if images.shape[1:] != picture_shape(space):
        images = np.moveaxis(images, -1, 1)
    if space.dtype == np.uint8 and images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    highest = float(space.high.max())
    is_float = space.dtype != np.uint8 and np.issubdtype(images.dtype, np.floating)
    if not is_float or not (np.all(images >= 0) and np.all(images <= highest)):
        raise ValueError(
            f'images "{name}" of dtype {images.dtype} from {images.min():.4g} to {images.max():.4g} were given, but '
            f"the environment observes images of dtype {space.dtype} from 0 to {highest:.4g}"
        )
    scaled: Array = np.rint(images * (255 / highest)).astype(np.uint8)
    return np.ascontiguousarray(scaled)


def observe_by_key(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` observing a dictionary of images and numbers that Stable-Baselines3 can store.

    :param env: one that observes images in a dictionary or a tuple; it is returned as it is unless it holds further
        ones, or images with channels first as well as last
    :raises ValueError: for images of other dtypes and ranges, and numbers without a fixed length
    """
    check_pictures(env.observation_space)
    return env if _is_plain(env.observation_space) else KeyedObservation(env)


class KeyedObservation(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Observe images as bytes, channels first, and numbers as float32 vectors, each by its key: ``"arm.camera"``.

    :param env: an environment that observes a dictionary or a tuple
    :raises ValueError: if numbers have no fixed length
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        self._leaves = list(leaves(env.observation_space))
        for path, part in self._leaves:
            if not part.is_np_flattenable:
                raise ValueError(
                    f'"{name_of(path)}" is a {part}, which has no fixed length and cannot be made a vector of numbers; '
                    "wrap the environment with gymnasium.wrappers.TransformObservation"
                )
        self.observation_space = spaces.Dict({name_of(path): _plain(part) for path, part in self._leaves})

    def observation(self, observation: Any) -> dict[str, Array]:
        """Return the parts of an observation by their keys."""
        found = {}
        for path, part in self._leaves:
            name, value = name_of(path), pick(observation, path)
            if is_picture(part):
                assert isinstance(part, Box)
                found[name] = to_bytes(name, part, np.asarray(value)[None])[0]
            else:
                found[name] = np.asarray(spaces.flatten(part, value), np.float32)
        return found


def unkeyed(space: gym.Space[Any], keyed: Mapping[str, Array], path: Path = ()) -> Any:
    """Return the observation that :class:`KeyedObservation` made these parts of.

    :param space: what the environment itself observes
    :param keyed: one observation's parts by their keys
    :param path: where `space` is in it
    """
    if isinstance(space, spaces.Dict):
        return {key: unkeyed(part, keyed, (*path, key)) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(unkeyed(part, keyed, (*path, key)) for key, part in enumerate(space.spaces))
    value = keyed[name_of(path)]
    if not is_picture(space):
        return spaces.unflatten(space, value)
    assert isinstance(space, Box)
    image = value if value.shape == space.shape else np.moveaxis(value, 0, -1)
    return image if space.dtype == np.uint8 else (image * (space.high.max() / 255)).astype(space.dtype)


def _plain(space: gym.Space[Any]) -> Box:
    if is_picture(space):
        assert isinstance(space, Box)
        return Box(0, 255, picture_shape(space), np.uint8)
    return Box(-np.inf, np.inf, (spaces.flatdim(space),), np.float32)


def _is_plain(space: gym.Space[Any]) -> bool:
    """Tell whether Stable-Baselines3 can store a space, and puts channels first or leaves them there."""
    if not isinstance(space, spaces.Dict):
        return False
    parts = list(space.spaces.values())
    stored = (Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    orders = {channels_come_first(part) for part in parts if isinstance(part, Box) and is_picture(part)}
    return len(orders) == 1 and all(isinstance(part, stored) and _is_flat(part) for part in parts)


def _is_flat(space: gym.Space[Any]) -> bool:
    """Tell whether a part has no more dimensions than an image, and counts from 0."""
    starts = getattr(space, "start", 0)
    return len(space.shape or ()) <= 3 and bool(np.all(starts == 0))
