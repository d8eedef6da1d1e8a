"""Observations as an exported file takes them, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dream_agents.deploy.description import Array
from dream_agents.deploy.errors import ControllerError


class ObservationReader:
    """Checks observations and takes them apart into a file's inputs.

    :param parts: the inputs that are parts of an observation
    :param description: "kind" ("array" or "parts") and "flat_size", the length of the flat vector that networks see,
        None where observations can't be told from it
    :param n_envs: observations a call
    """

    def __init__(self, parts: Sequence[Array], description: dict[str, Any], n_envs: int):
        self._parts, self._n_envs = list(parts), n_envs
        self._single = description["kind"] == "array"
        self._flat_size: int | None = description.get("flat_size")

    def read(self, observation: Any, inputs: dict[str, np.ndarray]) -> bool:
        """Put an observation into ``inputs`` by name.

        :return: whether it was a batch
        :raises ControllerError: if it is no observation of the environment, saying what one is
        """
        if not isinstance(observation, dict | tuple):
            flat = self._as_flat(observation)
            if flat is not None:
                return self._read_flat(*flat, inputs)
        batches = {self._read_part(part, self._find(part, observation), inputs) for part in self._parts}
        if len(batches) > 1:
            raise ControllerError("some parts of the observation are batches, and others are not")
        return batches.pop()

    def _find(self, part: Array, observation: Any) -> Any:
        if (
            self._single
            and isinstance(observation, tuple)
            and len(observation) == 2
            and isinstance(observation[1], dict)
        ):
            raise ControllerError(
                "an observation and a dictionary were given, which is what env.reset() returns: write "
                "`observation, info = env.reset()` and give the observation"
            )
        value = observation
        for depth, key in enumerate(part.path):
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                where = ".".join(map(str, part.path[: depth + 1]))
                raise ControllerError(
                    f"the observation has no {where!r}; it consists of {', '.join(map(_described, self._parts))}"
                ) from None
        return value

    def _read_part(self, part: Array, value: Any, inputs: dict[str, np.ndarray]) -> bool:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ControllerError(
                f"{part.name} is no array ({error}); {_described(part)} is expected"
            ) from error
        one, batch = part.shape[1:], part.shape
        if _has_channels_last(array, part):
            array = np.moveaxis(array, -1, -3)
        is_batch = array.shape == batch and array.shape != one
        if not is_batch and not (array.shape == one and self._n_envs == 1):
            several = f", {self._n_envs} in a batch" if self._n_envs > 1 else ""
            raise ControllerError(
                f"{part.name} has shape {array.shape}; the environment observes {_described(part)}{several}"
            )
        wanted = np.dtype(part.dtype)
        if not _fits(array.dtype, wanted):
            raise ControllerError(
                f"{part.name} holds numbers of type {array.dtype}; the environment observes {_described(part)}"
            )
        array = np.ascontiguousarray(array.reshape(batch), wanted)
        if wanted.kind == "f" and not np.isfinite(array).all():
            place = np.argwhere(~np.isfinite(array))[0].tolist()
            raise ControllerError(
                f"{part.name}{place} is {array[tuple(place)]}: observations have to be finite"
            )
        inputs[part.name] = array
        return is_batch

    def _as_flat(self, observation: Any) -> tuple[np.ndarray, bool] | None:
        """The flat vectors ``[n_envs, size]`` and whether they are a batch, where the observation is such."""
        if self._flat_size is None or (self._single and len(self._parts[0].shape) == 2):
            return None
        array = np.asarray(observation)
        if array.shape == (self._n_envs, self._flat_size):
            return array, True
        return (array[None], False) if array.shape == (self._flat_size,) and self._n_envs == 1 else None

    def _read_flat(self, flat: np.ndarray, is_batch: bool, inputs: dict[str, np.ndarray]) -> bool:
        start = 0
        for part in self._parts:
            size = int(np.prod(part.shape[1:]))
            self._read_part(part, flat[:, start : start + size].reshape(part.shape), inputs)
            start += size
        return is_batch


def _described(part: Array) -> str:
    return f"{part.name} of shape {part.shape[1:]} and type {part.dtype}"


def _has_channels_last(array: np.ndarray, part: Array) -> bool:
    """Whether these are a part's images as cameras give them, where the file has their channels first."""
    image = part.shape[1:]
    if len(image) != 3 or part.dtype != "uint8" or array.shape[-3:] == image:
        return False
    return array.shape[-3:] == (*image[1:], image[0])


def _fits(found: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether numbers of a type may be taken as another one: no images of floats, nothing complex or of text."""
    if wanted.kind == "f":
        return found.kind in "fiub"
    return found.kind in "iub" if wanted.itemsize > 1 else found == wanted
