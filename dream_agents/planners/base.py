"""The contract of planners and what they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel

#: What a planner remembers of its previous plan; every tensor is ``[B, ...]``.
Memory = dict[str, Tensor]


class Described(Mapping[str, Tensor]):
    """What a planner tells the log, worked out when it is first read: most decisions are never logged.

    :param describe: returns the dictionary
    """

    def __init__(self, describe: Callable[[], dict[str, Tensor]]):
        self._describe = describe

    def again(self) -> Described:
        """The same, to be worked out once more from what the tensors hold when it is read."""
        return Described(self._describe)

    @cached_property
    def _info(self) -> dict[str, Tensor]:
        with torch.no_grad():
            return self._describe()

    def __reduce__(self) -> tuple[type, tuple[dict[str, Tensor]]]:
        return dict, (dict(self),)  # copies and pickles are what it says

    def __getitem__(self, name: str) -> Tensor:
        return self._info[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._info)

    def __len__(self) -> int:
        return len(self._info)


@dataclass
class Plan:
    """What a planner decided for ``B`` environments.

    :param action: executed action ``[B, A]``
    :param memory: what the next call needs
    :param mean: centre of the first action's distribution ``[B, A]``
    :param std: its standard deviation ``[B, A]``
    :param value: predicted return ``[B]``
    :param info: scalars or ``[B]`` tensors for the log, a dictionary or :class:`Described`
    """

    action: Tensor
    memory: Memory
    mean: Tensor
    std: Tensor
    value: Tensor
    info: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Planner(Protocol):
    """Chooses actions by dreaming in a world model; knows nothing of training.

    A planner that never records operations for autograd can say so by a class attribute ``uses_autograd = False``; it
    may then be called in PyTorch's inference mode, and be compiled.
    """

    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """Memory at an episode's start, zeros ``[batch_size, ...]`` on the model's device."""
        ...

    def plan(
        self,
        model: WorldModel,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Plan for ``B`` environments at once.

        :param model: the world model; none of its parameters receives a gradient
        :param z: latents ``[B, Z]``
        :param memory: what the previous call returned, or :meth:`initial_memory`
        :param episode_start: bool ``[B]``; where true the memory is ignored
        :param deterministic: leave out exploration noise
        :param generator: source of randomness, on the device of ``z``
        """
        ...


def clocked(planner: Planner) -> str | None:
    """Why a planner's decision is no fixed list of operations, and what to set, if a clock ends its iterations."""
    budget = getattr(planner, "budget_ms", None)
    if budget is None:
        return None
    return (
        f"{type(planner).__name__}(budget_ms={budget}) iterates as long as a clock allows; set budget_ms=None, and "
        "iterations"
    )


def normal(like: Tensor, generator: torch.Generator | None, *shape: int) -> Tensor:
    """Standard normal numbers of this shape, with the device and the precision of ``like``."""
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)


def take(actions: Tensor, index: Tensor) -> Tensor:
    """Candidates ``[L, B, K, A]`` of ``actions [L, B, N, A]`` by number ``[B, K]``."""
    return actions.gather(2, index[None, :, :, None].expand(len(actions), -1, -1, actions.shape[-1]))


def explore(action: Tensor, std: float, generator: torch.Generator | None) -> Tensor:
    """Add Gaussian noise to executed actions ``[B, A]`` and keep them within [-1, 1]."""
    if std == 0:
        return action
    return (action + std * normal(action, generator, *action.shape)).clamp(-1, 1)


def check_kinds(owner: Any) -> None:
    """Raise a ValueError that names the option unless a planner's numbers are finite and of the kind declared.

    :param owner: a dataclass in a module whose annotations are strings
    """
    for option in fields(owner):
        value = getattr(owner, option.name)
        if value is None and "None" in option.type:
            continue
        if option.type.startswith("int"):
            good, kind = isinstance(value, Integral) and not isinstance(value, bool), "a whole number"
        elif option.type.startswith("float"):
            good, kind = isinstance(value, Real) and math.isfinite(value), "a finite number"
        else:
            continue
        if not good:
            raise ValueError(f"{type(owner).__name__}({option.name}={value!r}): {option.name} must be {kind}")


def check_positive(owner: object, **values: float) -> None:
    """Raise a ValueError that names the option unless every value is above zero."""
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{type(owner).__name__}({name}={value}): {name} must be above 0")
