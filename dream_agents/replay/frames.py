"""Stacks of frames that are put together from frames stored once.

An observation ``[k * C, H, W]`` is ``k`` frames of ``C`` channels, oldest first. Its newest frame is all that is new
in it: the others are the newest frames of the observations before it. Where its episode has fewer, the first frame
stands for those that are missing, as ``gymnasium.wrappers.FrameStackObservation`` pads.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor


def frame_shape(space: spaces.Space, frame_stack: int) -> tuple[int, int, int]:
    """Shape ``(C, H, W)`` of the frames in a space of stacks ``[k * C, H, W]``.

    :raises ValueError: if the space doesn't hold stacks of ``frame_stack`` images
    """
    if not isinstance(space, spaces.Box) or len(space.shape) != 3 or space.dtype != np.uint8:
        raise ValueError(
            f"frame_stack={frame_stack} needs observations that are uint8 images of shape (channels, height, width), "
            f"not {space}; leave frame_stack at 1"
        )
    channels, height, width = space.shape
    if channels % frame_stack != 0:
        raise ValueError(
            f"frame_stack={frame_stack} does not divide the {channels} channels of observations of shape "
            f"{space.shape}; use the number of frames that the environment stacks"
        )
    return channels // frame_stack, height, width


@dataclass(frozen=True)
class StackedFrames:
    """Stacks of ``k`` frames in rings that hold each frame once.

    :param frames: the newest frame of each observation, ``[slots, n_envs, C, H, W]``; frames of other dimensions are
        stacked along the first of them, too
    :param older: how many frames of the same episode the observation reaches back over, at most ``k - 1``,
        ``[slots, n_envs]``
    :param frame_stack: frames ``k`` in a stack
    """

    frames: np.ndarray
    older: np.ndarray
    frame_stack: int

    def read(self, slots: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Put the stacks ``[..., B, k * C, H, W]`` of slots ``[..., B]`` of environments ``[B]`` together."""
        back = np.arange(self.frame_stack - 1, -1, -1)
        back = np.minimum(back, self.older[slots, envs][..., None])  # [..., B, k]
        frames = self.frames[(slots[..., None] - back) % len(self.frames), envs[:, None]]
        channels, *rest = self.frames.shape[2:]
        return frames.reshape(*slots.shape, self.frame_stack * channels, *rest)

    def read_on(self, device: torch.device, slots: np.ndarray, envs: np.ndarray) -> Tensor:
        """Put stacks together on a device, which the frames that successive stacks share reach only once.

        A CUDA device is not waited for.

        :param slots: successive slots of one episode ``[T, B]``
        :param envs: environments ``[B]``
        :return: ``[T, B, k * C, H, W]``
        """
        steps, k = len(slots), self.frame_stack
        total, n_envs, *shape = self.frames.shape
        reach = np.maximum(np.arange(1 - k, steps)[:, None], -self.older[slots[0], envs])
        rows = (slots[0] + reach) % total * n_envs + envs  # [T + k - 1, B]
        frames = torch.empty((*rows.shape, *shape), dtype=torch.uint8, pin_memory=device.type == "cuda")
        # With mode="raise" NumPy would fill an array of its own first.
        np.take(self.frames.reshape(-1, *shape), rows, axis=0, out=frames.numpy(), mode="clip")
        frames = frames.to(device, non_blocking=True)
        return torch.cat([frames[first : first + steps] for first in range(k)], dim=2)

    def write(self, slots: np.ndarray, envs: np.ndarray, stacks: np.ndarray, older: np.ndarray) -> None:
        """Store the newest frames of stacks ``[B, k * C, H, W]`` that reach back over ``older`` frames ``[B]``."""
        self.frames[slots, envs] = stacks[:, -self.frames.shape[2] :]
        self.older[slots, envs] = older

    def are_stored(
        self, stacks: np.ndarray, before: np.ndarray, envs: np.ndarray, goes_on: np.ndarray
    ) -> np.ndarray:
        """Whether the older frames of new stacks ``[B, k * C, H, W]`` are those that :meth:`read` would give, ``[B]``.

        :param before: slots before those that the stacks are for ``[B]``
        :param goes_on: whether the stacks belong to the same episodes as what is there ``[B]``
        :raises ValueError: if one goes on and the older frames are others
        """
        channels = self.frames.shape[2]
        stored = self.read(before, envs)[:, channels:]
        stored[~goes_on] = np.concatenate([stacks[~goes_on, -channels:]] * (self.frame_stack - 1), 1)
        same = (stacks[:, :-channels] == stored).reshape(len(stacks), -1).all(1)
        if (goes_on & ~same).any():
            raise ValueError(
                f"the observation of environment {envs[goes_on & ~same][0]} is not the one before it moved on by one "
                f"frame, as frame_stack={self.frame_stack} needs (stacked on the first axis, oldest frame first); "
                "if the environment was reset without a done, call start_episodes() first"
            )
        return same


@dataclass(frozen=True)
class PackedStacks:
    """Takes packed observations of numbers and stacked images apart, and puts them together again.

    A packed observation ``[D]`` ends with its images, as bytes. Here all of them are stacks ``[k * C, H, W]``.

    :param images: shape of each, channels first
    :param frame_stack: frames ``k`` in each
    :raises ValueError: if these are no stacks of that many frames
    """

    images: tuple[tuple[int, ...], ...]
    frame_stack: int

    def __post_init__(self) -> None:
        if any(shape[0] % self.frame_stack != 0 for shape in self.images):
            raise ValueError(
                f"frame_stack={self.frame_stack} does not divide the channels of images of shape "
                f"{' and '.join(map(str, self.images))}; all images of an observation have to be such stacks"
            )

    @property
    def sizes(self) -> list[int]:
        """Bytes of each image."""
        return [math.prod(shape) for shape in self.images]

    @property
    def frame_size(self) -> int:
        """Bytes F of a frame of all images."""
        return sum(self.sizes) // self.frame_stack

    def split(self, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rest ``[B, R]`` and the stacks ``[B, k * F]``, frame by frame, of packed observations ``[B, D]``."""
        rest, *images = np.split(packed, self._ends(packed.shape[-1]), axis=-1)
        frames = [image.reshape(len(image), self.frame_stack, -1) for image in images]
        return rest, np.concatenate(frames, -1).reshape(len(packed), -1)

    def join(self, rest: Tensor, stacks: Tensor) -> Tensor:
        """Packed observations ``[..., D]`` of their rest ``[..., R]`` and stacks ``[..., k * F]``."""
        if len(self.images) == 1:
            return torch.cat((rest, stacks), -1)
        frames = stacks.unflatten(-1, (self.frame_stack, -1))
        images = frames.split([size // self.frame_stack for size in self.sizes], -1)
        return torch.cat((rest, *(image.flatten(-2) for image in images)), -1)

    def _ends(self, size: int) -> list[int]:
        """Where the rest and each image but the last end in ``size`` bytes."""
        return list(itertools.accumulate(self.sizes[:-1], initial=size - sum(self.sizes)))
