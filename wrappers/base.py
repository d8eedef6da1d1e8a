"""What an environment suite is, and the usual way to be one: a table of tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym

from dream_agents.wrappers.repeat import check_repeat


@dataclass(frozen=True)
class Task:
    """One environment of a suite, described without making it.

    A step, here and everywhere, is one decision of the agent: `action_repeat` frames of the simulator.
    """

    id: str
    """Gymnasium id, with a version: ``"dmc_walker-walk-v0"``."""
    entry_point: str | Callable[..., gym.Env[Any, Any]]
    """Function that makes the environment, as ``"module:function"`` so that nothing is imported early."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the entry point."""
    aliases: tuple[str, ...] = ()
    """Other names that `make_env` understands."""
    max_episode_steps: int | None = None
    """Decisions after which an episode is truncated; None for no limit."""
    action_repeat: int = 1
    """Frames of the simulator a decision."""
    episodic: bool = True
    """Whether an episode may end by `terminated`, before the time limit."""
    observation_size: int | None = None
    """Numbers in a state observation; None if only making the environment tells."""
    action_size: int | None = None
    """Numbers in an action; None if only making the environment tells."""
    sized_images: bool = False
    """Whether the entry point takes the `height` and `width` of rendered images."""
    target_return: float | None = None
    """Return at which the benchmark counts an episode as a success; None if it names none."""
    random_return: float | None = None
    """Mean return of a uniform random policy as published, for normalized scores:
    ``(x - random) / (target - random)``."""


@runtime_checkable
class Suite(Protocol):
    """A family of environments. `TableSuite` is the ready-made one."""

    name: str

    def ids(self) -> Sequence[str]:
        """Return the Gymnasium ids of all environments."""

    def names(self) -> Sequence[str]:
        """Return every name that `resolve` understands: ids and aliases."""

    def resolve(self, name: str) -> str | None:
        """Return the id that an id or alias stands for, or None if it is not of this suite."""

    def task(self, id: str) -> Task:
        """Return the description of one environment.

        :raises KeyError: if there is no such id
        """

    def make(self, id: str, *, render_mode: str | None = None, **options: Any) -> gym.Env[Any, Any]:
        """Make one environment, time limit included."""


class TableSuite:
    """A suite whose environments are listed in a table.

    :param name: the suite's name
    :param tasks: the environments
    :raises ValueError: if two tasks share an id or an alias
    """

    def __init__(self, name: str, tasks: Iterable[Task]) -> None:
        self.name = name
        self._tasks = {task.id: task for task in tasks}
        self._ids: dict[str, str] = {}
        for task in self._tasks.values():
            for spelling in dict.fromkeys((task.id, *task.aliases)):
                if spelling in self._ids:
                    raise ValueError(f'"{spelling}" names both {self._ids[spelling]} and {task.id}')
                self._ids[spelling] = task.id

    def ids(self) -> Sequence[str]:
        """Return the Gymnasium ids of all environments."""
        return tuple(self._tasks)

    def names(self) -> Sequence[str]:
        """Return every id and alias."""
        return tuple(self._ids)

    def resolve(self, name: str) -> str | None:
        """Return the id that an id or alias stands for, or None if it is not of this suite."""
        return self._ids.get(name)

    def task(self, id: str) -> Task:
        """Return the description of one environment.

        :raises KeyError: if there is no such id
        """
        return self._tasks[id]

    def make(self, id: str, *, render_mode: str | None = None, **options: Any) -> gym.Env[Any, Any]:
        """Make one environment, as `gymnasium.make` would.

        :param id: one of `ids`
        :param render_mode: as for `gymnasium.make`
        :param options: keyword arguments of the task's entry point. Where `action_repeat` is among them,
            the time limit keeps its number of frames.
        """
        task = self.task(id)
        limit = task.max_episode_steps
        if limit is not None and "action_repeat" in options:
            check_repeat(options["action_repeat"])
            limit = math.ceil(limit * task.action_repeat / options["action_repeat"])
        spec = gym.envs.registration.EnvSpec(
            task.id, entry_point=task.entry_point, max_episode_steps=limit, kwargs=dict(task.kwargs)
        )
        if render_mode is not None:
            options["render_mode"] = render_mode
        return gym.make(spec, **options)
