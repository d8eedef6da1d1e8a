"""What an environment observes as inputs of a file, and from these to what networks see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

#: Name of an observation that is one array; the parts of others have names that begin with it.
OBSERVATION = "observation"


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

    def of(self, observation: Any) -> Any:
        """Find this part in an observation."""
        for key in self.path:
            observation = observation[key]
        return observation


def parts_of(space: gym.Space[Any], path: tuple[str | int, ...] = ()) -> list[Part]:
    """The arrays that an observation consists of, in the order in which they are flattened.

    :param space: what is observed
    :raises ValueError: for spaces whose observations are no arrays of fixed shapes
    """
    if isinstance(space, spaces.Dict):
        return [part for key, own in space.spaces.items() for part in parts_of(own, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [part for key, own in enumerate(space.spaces) for part in parts_of(own, (*path, key))]
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return [Part(path, space)]
    raise ValueError(
        f"observations of {space} can't be exported: a file takes arrays of fixed shapes (Box, Discrete, "
        "MultiDiscrete, MultiBinary, and Dict and Tuple of these)"
    )


def encode(parts: list[Part], inputs: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """What :class:`~dream_agents.agents.observations.ObservationEncoding` makes of a batch, as operations on tensors.

    :param parts: of the observation
    :param inputs: tensors ``[B, *part.shape]`` by their parts' names
    :param shape: of what networks see: images with their channels first, or vectors
    :return: ``[B, *shape]``, bytes of images, float32 of vectors
    """
    if len(shape) == 3:
        (part,) = parts
        images = inputs[part.name]
        return images if part.shape == shape else images.movedim(-1, 1)
    flat = [_flat(part.space, inputs[part.name]) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, 1)


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
