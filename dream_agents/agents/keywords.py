"""Keyword arguments of agents: which there are, and where one belongs that is given in the wrong place."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dream_agents.registry import planners


def parameters_of(agent: type) -> dict[str, inspect.Parameter]:
    """Collect the parameters of an agent's class and of those that it passes the rest on to.

    :param agent: the class
    """
    found: dict[str, inspect.Parameter] = {}
    for base in agent.__mro__:
        if "__init__" in base.__dict__:
            found = dict(inspect.signature(base.__dict__["__init__"]).parameters) | found
    return {name: one for name, one in found.items() if name not in ("self", "args", "kwargs")}


def explain_misplaced(agent: type, given: Mapping[str, Any]) -> None:
    """Say of keyword arguments that are options of the agent's parts where to write them.

    :param agent: the agent's class
    :param given: its keyword arguments
    :raises TypeError: for an option of the learner or the planner that is given to the agent
    """
    known = parameters_of(agent)
    unknown = [name for name in given if name not in known]
    if not unknown or "backbone" not in known:
        return
    groups = _options_of_parts(given, known)
    for name in unknown:
        having = [
            f"{group}={{{name!r}: {given[name]!r}}}" for group, options in groups.items() if name in options
        ]
        if having:
            raise TypeError(
                f"{name} is no keyword of {agent.__name__} but an option of its parts; write {' or '.join(having)}"
            )


def _options_of_parts(
    given: Mapping[str, Any], known: Mapping[str, inspect.Parameter]
) -> dict[str, set[str]]:
    """Options of the learner and of the planner, by the keyword that takes them."""
    from dream_agents.learners.base import get_backbone

    backbone = get_backbone(given.get("backbone", known["backbone"].default))
    classes = {"learner_kwargs": backbone.config_class}
    planner = given.get("planner", known["planner"].default)
    if isinstance(planner, str):
        classes["planner_kwargs"] = planners.get(planner)
    return {group: set(parameters_of(kind)) for group, kind in classes.items()}


def require_env(agent: type, env: object) -> None:
    """Check that there is an environment to learn in.

    :param agent: the agent's class, for the message
    :param env: what is given
    :raises ValueError: if it is None
    """
    if env is None:
        raise ValueError(
            f"{agent.__name__} has no environment (env=None): give an id (`dream-agents envs` lists them), a "
            "gymnasium.Env or a VecEnv"
        )


@contextmanager
def explaining_memory(buffer_size: int) -> Iterator[None]:
    """Say what to do where the replay buffer does not fit into memory.

    :param buffer_size: its slots
    :raises ValueError: if it does not
    """
    try:
        yield
    except MemoryError as error:
        raise ValueError(
            f"buffer_size={buffer_size}: the replay buffer does not fit into memory ({error}); give a smaller "
            'buffer_size, or keep it in files with replay_buffer_kwargs={"folder": "..."}'
        ) from error
