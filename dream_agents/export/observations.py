"""What an environment observes as inputs of a file, and from these to what networks see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
from gymnasium import spaces
from torch import Tensor

from dream_agents.models.packing import ObsShape, Packing
from dream_agents.wrappers.keyed import is_picture, leaves, name_of, picture_shape

#: Name of an observation that is one array; the parts of others have names that begin with it.
OBSERVATION = "observation"
_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


@dataclass(frozen=True)
class Part:
    """One array that is observed.

    :param path: keys and numbers that lead to it from the observation
    :param space: its space: a Box, Discrete, MultiDiscrete or MultiBinary
    """

    path: tuple[str | int, ...]
    space: gym.Space[Any]

    @property
    def name(self) -> str:
        """Name of the input."""
        return ".".join([OBSERVATION, *map(str, self.path)])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return tuple(self.space.shape or ())

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""
        return np.dtype(self.space.dtype)

    @property
    def is_picture(self) -> bool:
        """Whether it is images that are learned from."""
        return is_picture(self.space)


def parts_of(space: gym.Space[Any]) -> list[Part]:
    """The arrays that an observation consists of, in the order in which they are flattened.

    :param space: what is observed
    :raises ValueError: for spaces whose observations are no arrays of fixed shapes
    """
    parts = [Part(path, own) for path, own in leaves(space)]
    for part in parts:
        if not isinstance(part.space, _ARRAYS):
            raise ValueError(
                f"observations of {part.space} can't be exported: a file takes arrays of fixed shapes (Box, Discrete, "
                "MultiDiscrete, MultiBinary, and Dict and Tuple of these)"
            )
    return parts


def encode(parts: Sequence[Part], inputs: Mapping[str, Tensor], shape: ObsShape) -> Tensor:
    """What :mod:`dream_agents.agents.observations` makes of a batch, as operations on tensors.

    :param parts: of the observation
    :param inputs: tensors ``[B, *part.shape]`` by their parts' names
    :param shape: of what networks see: images with their channels first, vectors, or both by key
    :return: bytes of images ``[B, C, height, width]``, float32 of vectors ``[B, n]``, or both :class:`Joined`
    """
    if isinstance(shape, Mapping):
        return _joined(parts, inputs, Joined(shape))
    if len(shape) == 3:
        (part,) = parts
        images = inputs[part.name]
        return images if part.shape == shape else images.movedim(-1, 1)
    flat = [_flat(part.space, inputs[part.name]) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, 1)


class Joined(Packing):
    """Images and numbers as one vector of float32 numbers: a file's operations can't see bytes as numbers."""

    def join(self, numbers: Sequence[Tensor], images: Sequence[Tensor]) -> Tensor:
        """Join observations as ``[B, D]``.

        :param numbers: float32 ``[B, n]`` of each key, in alphabetical order
        :param images: whole numbers from 0 to 255, ``[B, channels, height, width]`` of each key, in alphabetical order
        """
        return torch.cat([*numbers, *(image.to(torch.float32).flatten(1) for image in images)], 1)

    def unpack(self, packed: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Numbers ``[..., n]`` and images ``[..., channels, height, width]`` of joined observations ``[..., D]``."""
        sizes = [self.num_numbers, *(torch.Size(shape).numel() for shape in self.images.values())]
        numbers, *images = packed.split(sizes, -1)
        shapes = self.images.values()
        return numbers, [image.unflatten(-1, shape) for image, shape in zip(images, shapes, strict=True)]


def see_joined(model: nn.Module) -> None:
    """Have a model take :class:`Joined` observations where it takes packed ones."""
    for module in model.modules():
        packing = getattr(module, "packing", None)
        if isinstance(packing, Packing):
            module.packing = Joined(packing.shapes)  # type: ignore[assignment]


def _joined(parts: Sequence[Part], inputs: Mapping[str, Tensor], joined: Joined) -> Tensor:
    by_key = {name_of(part.path): part for part in parts}
    numbers = [_flat(by_key[key].space, inputs[by_key[key].name]) for key in joined.vectors]
    images = [_whole(by_key[key].space, inputs[by_key[key].name]) for key in joined.images]
    return joined.join(numbers, images)


def _whole(space: gym.Space[Any], images: Tensor) -> Tensor:
    """What :func:`~dream_agents.wrappers.keyed.to_bytes` makes of images, channels first; its type is theirs."""
    assert isinstance(space, spaces.Box)
    if images.shape[1:] != picture_shape(space):
        images = images.movedim(-1, 1)
    return images if space.dtype == np.uint8 else (images * (255 / float(space.high.max()))).round()


def _flat(space: gym.Space[Any], value: Tensor) -> Tensor:
    rows = value.reshape(len(value), -1)
    if isinstance(space, spaces.Discrete):
        return _one_hot(rows - int(space.start), int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        choices = np.asarray(space.nvec).reshape(-1).tolist()
        starts = np.asarray(space.start).reshape(-1).tolist()
        hot = [_one_hot(rows[:, i : i + 1] - starts[i], n) for i, n in enumerate(choices)]
        return torch.cat(hot, 1)
    return rows.to(torch.float32)


def _one_hot(chosen: Tensor, n: int) -> Tensor:
    """``[B, n]`` of the numbers ``[B, 1]``."""
    return (chosen == torch.arange(n, dtype=chosen.dtype)).to(torch.float32)
