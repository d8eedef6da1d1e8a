"""Observations of images and numbers, as one array of bytes.

World models, planners and replay take one tensor an observation. A camera and numbers in one observation are therefore
packed: float32 numbers first, as their bytes, then each image. So images take a byte a pixel, numbers keep all their
digits, and the networks unpack them without copying.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from dream_agents.models.pixels import random_shift

#: shape of an observation: of a vector, of an image, or of both by key
ObsShape = tuple[int, ...] | Mapping[str, tuple[int, ...]]

_FLOAT = 4  # bytes


class Packing:
    """Where numbers and images lie in packed observations ``[..., D]``, uint8.

    Keys are in alphabetical order, whatever order they are given in.

    :param shapes: by key, ``(n,)`` for numbers and ``(channels, height, width)`` for images
    :raises ValueError: for other shapes, and where there is no image
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        for name, shape in shapes.items():
            if len(shape) not in (1, 3):
                raise ValueError(
                    f'observations "{name}" of shape {shape} are neither numbers, shape (n,), nor images, shape '
                    "(channels, height, width)"
                )
        self.shapes = dict(shapes)
        #: shapes of images, and how many numbers there are, by key
        self.images = {name: _of_image(shapes[name]) for name in sorted(shapes) if len(shapes[name]) == 3}
        self.vectors = {name: shapes[name][0] for name in sorted(shapes) if len(shapes[name]) == 1}
        if not self.images:
            raise ValueError(f"observations {dict(shapes)} have no image; without one they are one vector")
        self.num_numbers = sum(self.vectors.values())
        sizes = [math.prod(shape) for shape in self.images.values()]
        # Between numbers and images are as many zeros as let every observation of a batch begin at a whole number.
        self.start = _FLOAT * self.num_numbers + -sum(sizes) % _FLOAT
        self.size = self.start + sum(sizes)
        ends = accumulate(sizes, initial=self.start)
        self._places = [slice(*ends) for ends in pairwise(ends)]

    def pack(self, numbers: np.ndarray, images: Sequence[np.ndarray]) -> np.ndarray:
        """Pack observations as ``[B, D]``.

        :param numbers: float32 ``[B, n]`` of all keys, in alphabetical order
        :param images: uint8 ``[B, channels, height, width]`` of each key, in alphabetical order
        """
        packed = np.zeros((len(numbers), self.size), np.uint8)
        packed[:, : _FLOAT * self.num_numbers] = np.ascontiguousarray(numbers, np.float32).view(np.uint8)
        for place, image in zip(self._places, images, strict=True):
            packed[:, place] = image.reshape(len(image), -1)
        return packed

    def unpack(self, packed: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Numbers ``[..., n]`` and images ``[..., channels, height, width]`` of packed observations ``[..., D]``."""
        numbers = packed[..., : _FLOAT * self.num_numbers].view(torch.float32)
        shapes = zip(self._places, self.images.values(), strict=True)
        return numbers, [packed[..., place].unflatten(-1, shape) for place, shape in shapes]

    def shift_images(self, packed: Tensor, pad: int, generator: torch.Generator | None = None) -> Tensor:
        """Packed observations ``[..., D]`` whose images are shifted by :func:`random_shift`, each by its own draw."""
        shifted = [random_shift(image, pad, generator).flatten(-3) for image in self.unpack(packed)[1]]
        return torch.cat((packed[..., : self.start], *shifted), -1)


def shift_images(
    obs: Tensor, obs_shape: ObsShape, pad: int, generator: torch.Generator | None = None
) -> Tensor:
    """Observations ``[..., *obs_shape]`` with their images, if they have any, shifted at random to augment them.

    :param obs: vectors, images, or both packed
    :param pad: the largest shift in pixels
    :param generator: source of the draws, on the observations' device
    """
    if isinstance(obs_shape, Mapping):
        return Packing(obs_shape).shift_images(obs, pad, generator)
    return random_shift(obs, pad, generator) if len(obs_shape) == 3 else obs


def count_dims(obs_shape: ObsShape) -> int:
    """Dimensions of the tensor of one observation, not counting a batch's."""
    return 1 if isinstance(obs_shape, Mapping) else len(obs_shape)


def check_obs_shape(obs_shape: ObsShape) -> None:
    """Raise a ValueError that says what to do unless observations are vectors, images, or both by key."""
    if not isinstance(obs_shape, Mapping) and len(obs_shape) not in (1, 3):
        raise ValueError(
            f"observations of shape {obs_shape} are neither flat, shape (n,), nor images, shape (channels, height, "
            "width); wrap the environment in gymnasium.wrappers.FlattenObservation"
        )


def _of_image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    channels, height, width = shape
    return channels, height, width
