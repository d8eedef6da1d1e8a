"""Which planner acts in an evaluation, and what it is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dream_agents.planners import Planner


def planner_for(model: Any, planner: str | Planner, **options: Any) -> Planner:
    """Return the planner that a name stands for: the agent's own one where it has that name, or else a new one.

    So ``"mppi"`` on an agent that plans with MPPI keeps the options that the agent plans with.

    :param model: an agent
    :param planner: a name, or a planner, which is returned as it is
    :param options: options that are to differ from the own planner's, or from the defaults
    :raises ValueError: for an unknown name or option, and for options of a planner that is made already
    """
    from dream_agents.planners import make_planner
    from dream_agents.registry import planners

    own = getattr(model, "planner", None)
    is_own = isinstance(planner, str) and type(own) is planners.get(planner)
    if is_own and not options:
        return own  # type: ignore[return-value]
    if is_own and dataclasses.is_dataclass(own):
        options = {**vars(own), **options}
    return make_planner(planner, **options)


def changed_options(model: Any, planner: str | Planner | None) -> dict[str, Any]:
    """Return the options of a planner that are not those that its name stands for; see :func:`planner_for`.

    :param model: the agent that the planner acts for
    :param planner: what is asked to act; a name, or None for the agent's own planner, changes nothing
    """
    if not dataclasses.is_dataclass(planner) or isinstance(planner, type):
        return {}
    own = getattr(model, "planner", None)
    usual = vars(own) if type(own) is type(planner) else _defaults(planner)
    # Compared as they are written, since arrays that differ have no truth value.
    return {
        name: value
        for name, value in dataclasses.asdict(planner).items()
        if repr(getattr(planner, name)) != repr(usual[name])
    }


def _defaults(planner: Any) -> dict[str, Any]:
    return {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(planner)
    }


def options_of(planner: Planner | None) -> dict[str, Any]:
    """Return the options of a planner, by name; none for planners that are no dataclasses."""
    return dataclasses.asdict(planner) if dataclasses.is_dataclass(planner) else {}


def planner_name(planner: Planner) -> str:
    """Return the registry's name of a planner's class, or the class's own name."""
    from dream_agents.registry import planners

    return planners.name_of(type(planner)) or type(planner).__name__


@contextmanager
def acting_with(model: Any, planner: str | Planner | None) -> Iterator[None]:
    """Give the agent another planner inside the block; with None it is not touched at all.

    :param planner: as for :func:`planner_for`
    :raises ValueError: for agents that have no planner
    """
    if planner is None:
        yield
        return
    if not hasattr(model, "planner"):
        raise ValueError(f"{type(model).__name__} has no world model to plan in; leave planner at None")
    before = model.planner
    model.planner = planner_for(model, planner)
    try:
        yield
    finally:
        model.planner = before
