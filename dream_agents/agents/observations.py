"""From what an environment observes to what a world model sees: vectors of float32 numbers, images, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from dream_agents.models.packing import Packing
from dream_agents.wrappers.keyed import is_picture, leaves, name_of, pick, picture_shape, to_bytes

_MIXED_APIS = (
    "predict() got a tuple of an observation and a dictionary, which is what env.reset() of a gymnasium.Env returns: "
    "write `obs, info = env.reset()` and give it obs. Only reset() of a Stable-Baselines3 VecEnv returns the "
    "observations alone (https://stable-baselines3.readthedocs.io/en/master/guide/vec_envs.html)"
)


class ObservationEncoding:
    """Turns an environment's observations into the arrays that a world model sees.

    Images (uint8) have their channels first. Anything else is one float32 vector, in the order of
    ``gymnasium.spaces.flatten``. What has been brought into this form already is taken as it is.

    :param space: what the agent's environments observe, as Stable-Baselines3 gives it
    :param native: what the environment itself observes, where ``space`` is that in another form
    """

    def __init__(self, space: gym.Space[Any], native: gym.Space[Any] | None = None):
        self.spaces = [space] if native is None or native == space else [space, native]
        self.is_image = is_image_space(space)
        if self.is_image:
            assert isinstance(space, spaces.Box)
            self.shape: tuple[int, ...] = space.shape
        else:
            self.shape = (spaces.flatdim(space),)

    #: what replay is told of packed observations
    replay_options: Mapping[str, Any] = MappingProxyType({})

    @property
    def space(self) -> spaces.Box:
        """The space of what the world model sees, which replay stores."""
        if self.is_image:
            return spaces.Box(0, 255, self.shape, np.uint8)
        return spaces.Box(-np.inf, np.inf, self.shape, np.float32)

    def batch(self, observation: Any) -> tuple[np.ndarray, bool]:
        """Encode one observation or a batch of them.

        :param observation: in any of the forms that Stable-Baselines3's ``predict`` takes
        :return: ``[B, *shape]``, and whether it was a batch
        :raises ValueError: if it is no observation of the environment, saying what one looks like
        """
        _refuse_reset(observation, self.spaces)
        for space in self.spaces:
            n = _batch_size(space, observation)
            if n is not None:
                return self._encoded(space, observation, n)
        return self._encoded_already(observation)

    def encode(self, observations: Any) -> np.ndarray:
        """Encode a batch of observations as ``[B, *shape]``."""
        return self.batch(observations)[0]

    def _encoded(self, space: gym.Space[Any], observation: Any, n: int) -> tuple[np.ndarray, bool]:
        """Encode ``n`` observations of a space, or one where ``n`` is 0."""
        if self.is_image:
            images = np.asarray(observation).reshape(max(n, 1), *space.shape)  # type: ignore[misc]
            return self._channels_first(images), n > 0
        return _flat(space, observation, max(n, 1)), n > 0

    def _encoded_already(self, observation: Any) -> tuple[np.ndarray, bool]:
        """Take vectors, and images with their channels first or last."""
        if not isinstance(observation, dict | tuple):
            array, shape = np.asarray(observation), self.shape
            for form in (shape, (*shape[1:], shape[0])) if self.is_image else (shape,):
                if form not in (array.shape, array.shape[1:]):
                    continue
                batch = array.reshape(-1, *form)
                encoded = self._channels_first(batch) if self.is_image else batch.astype(np.float32)
                return encoded, array.shape != form
        expected = " or ".join(str(space) for space in self.spaces)
        raise ValueError(f"{_described(observation)} is no observation of {expected}, nor a batch of them")

    def _channels_first(self, images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8:
            raise ValueError(
                f"images of dtype {images.dtype} from {images.min():.3g} to {images.max():.3g} were given, but this "
                "model learned from images of dtype uint8 from 0 to 255"
            )
        if images.shape[1:] != self.shape:
            images = np.moveaxis(images, -1, 1)
        return np.ascontiguousarray(images)


class KeyedEncoding:
    """Packs images and numbers in dictionaries and tuples, as :class:`Packing` has them; see there.

    Images become bytes with their channels first, anything else float32 numbers.

    :param space: what the agent's environments observe, as Stable-Baselines3 gives it
    :param native: what the environment itself observes, where ``space`` is that in another form
    :raises ValueError: if there is no image
    """

    def __init__(self, space: gym.Space[Any], native: gym.Space[Any] | None = None):
        self.spaces = [space] if native is None or native == space else [space, native]
        self.shape: Mapping[str, tuple[int, ...]] = {
            name_of(path): picture_shape(part) if is_picture(part) else (spaces.flatdim(part),)  # type: ignore[arg-type]
            for path, part in leaves(space)
        }
        self.packing = Packing(self.shape)

    @property
    def replay_options(self) -> Mapping[str, Any]:
        """What replay is told of packed observations."""
        return {"packed_images": tuple(self.packing.images.values())}

    @property
    def space(self) -> spaces.Box:
        """The space of what the world model sees, which replay stores."""
        return spaces.Box(0, 255, (self.packing.size,), np.uint8)

    def batch(self, observation: Any) -> tuple[np.ndarray, bool]:
        """Pack one observation or a batch of them; see :meth:`ObservationEncoding.batch`."""
        _refuse_reset(observation, self.spaces)
        for space in self.spaces:
            n = _batch_size(space, observation, either_order=True)
            if n is not None:
                return self._packed(space, observation, max(n, 1)), n > 0
        expected = " or ".join(str(space) for space in self.spaces)
        raise ValueError(f"{_described(observation)} is no observation of {expected}, nor a batch of them")

    def encode(self, observations: Any) -> np.ndarray:
        """Pack a batch of observations as ``[B, D]``."""
        return self.batch(observations)[0]

    def _packed(self, space: gym.Space[Any], observation: Any, n: int) -> np.ndarray:
        parts = {name_of(path): (part, pick(observation, path)) for path, part in leaves(space)}
        numbers = [_flat(*parts[name], n) for name in self.packing.vectors]
        images = []
        for name in self.packing.images:
            part, value = parts[name]
            assert isinstance(part, spaces.Box)
            array = np.asarray(value)
            images.append(to_bytes(name, part, array.reshape(n, *array.shape[-3:])))
        return self.packing.pack(np.concatenate(numbers, 1) if numbers else np.zeros((n, 0)), images)


def make_encoding(
    space: gym.Space[Any], native: gym.Space[Any] | None, obs_type: str
) -> ObservationEncoding | KeyedEncoding:
    """Make what encodes the observations of an agent.

    :param space: what its environments observe, as Stable-Baselines3 gives it
    :param native: what the environment itself observes
    :param obs_type: "pixels+state" keeps images and numbers apart
    """
    return (KeyedEncoding if obs_type == "pixels+state" else ObservationEncoding)(space, native)


class EncodedReplay:
    """A replay buffer that is given what an environment observes, and stores it as a world model sees it.

    :param replay_buffer: where steps are stored
    :param encoding: what encodes the observations
    """

    def __init__(self, replay_buffer: ReplayBuffer, encoding: ObservationEncoding | KeyedEncoding):
        self.replay_buffer, self.encoding = replay_buffer, encoding

    def add(self, obs: Any, next_obs: Any, *step: Any) -> None:
        """Store one step of every environment, as ``ReplayBuffer.add``."""
        encode = self.encoding.encode
        self.replay_buffer.add(encode(obs), encode(next_obs), *step)


def is_image_space(space: gym.Space[Any]) -> bool:
    """Tell whether a space is one of images, which have three dimensions."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3


def _refuse_reset(observation: Any, known: Sequence[gym.Space[Any]]) -> None:
    """Raise a ValueError that says what to do for what ``reset`` of a ``gymnasium.Env`` returns."""
    is_tuple = isinstance(observation, tuple)
    takes_tuples = any(isinstance(space, spaces.Tuple) for space in known)
    if is_tuple and len(observation) == 2 and isinstance(observation[1], dict) and not takes_tuples:
        raise ValueError(_MIXED_APIS)


def _described(observation: Any) -> str:
    if isinstance(observation, dict):
        return f"a dictionary of {', '.join(map(repr, observation)) or 'nothing'}"
    if isinstance(observation, tuple):
        return f"a tuple of {len(observation)}"
    return f"an array of shape {np.shape(observation)}"


def _batch_size(space: gym.Space[Any], observation: Any, either_order: bool = False) -> int | None:
    """Number of observations of a space, 0 for a single one without a batch's dimension; None if it is none.

    :param either_order: take channels first as well as last
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(observation, dict) or set(observation) != set(space.spaces):
            return None
        parts = ((part, observation[name]) for name, part in space.spaces.items())
        return _common(_batch_size(*part, either_order) for part in parts)
    if isinstance(space, spaces.Tuple):
        if not isinstance(observation, tuple) or len(observation) != len(space.spaces):
            return None
        return _common(
            _batch_size(*part, either_order) for part in zip(space.spaces, observation, strict=True)
        )
    if isinstance(observation, dict | tuple | str) or space.shape is None:
        return 0 if space.contains(observation) else None
    shape = np.shape(observation)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) and not _is_whole(observation):
        return None  # a vector, which is encoded already
    forms = {space.shape}
    if either_order and is_picture(space):
        assert isinstance(space, spaces.Box)
        channels, height, width = picture_shape(space)
        forms |= {(channels, height, width), (height, width, channels)}
    if shape in forms:
        return 0
    return shape[0] if shape[1:] in forms else None


def _is_whole(value: Any) -> bool:
    return bool(np.issubdtype(np.asarray(value).dtype, np.integer))


def _common(sizes: Any) -> int | None:
    """The size that all parts of an observation have; None if they differ."""
    found = set(sizes)
    return found.pop() if len(found) == 1 else None


def _flat(space: gym.Space[Any], value: Any, n: int) -> np.ndarray:
    """Flatten ``n`` observations to ``[n, D]`` as ``gymnasium.spaces.flatten`` does each of them."""
    if isinstance(space, spaces.Dict):
        return np.concatenate([_flat(part, value[name], n) for name, part in space.spaces.items()], 1)
    if isinstance(space, spaces.Tuple):
        parts = zip(space.spaces, value, strict=True)
        return np.concatenate([_flat(part, own, n) for part, own in parts], 1)
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        with np.errstate(over="ignore"):
            return np.asarray(value).astype(np.float32).reshape(n, -1)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        rows = np.asarray(value).reshape(n, *space.shape)  # type: ignore[misc]
        return np.stack([np.asarray(spaces.flatten(space, row), np.float32) for row in rows])
    return np.asarray(spaces.flatten(space, value), np.float32).reshape(n, -1)
