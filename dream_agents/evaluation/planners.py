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

    So ``"mppi"`` on an agent that plans with MPPI keeps the options that the agent plans with. A new one has the
    options that the agent's backbone wants, as ``model.planner = "mppi"`` does.

    :param model: an agent
    :param planner: a name, or a planner, which is returned as it is
    :param options: options that are to differ from the own planner's, or from the new one's
    :raises ValueError: for an unknown name or option, for options of a planner that is made already, and for agents
        without planners
    """
    from dream_agents.registry import planners

    _check_plans(model)
    own = model.planner
    is_own = isinstance(planner, str) and type(own) is planners.get(planner)
    if is_own and not options:
        return own
    if is_own and dataclasses.is_dataclass(own):
        options = {**vars(own), **options}
    return model.make_planner(planner, **options)


def changed_options(model: Any, planner: str | Planner | None) -> dict[str, Any]:
    """Return the options of a planner that are not those that its name stands for; see :func:`planner_for`.

    :param model: the agent that the planner acts for
    :param planner: what is asked to act; a name, or None for the agent's own planner, changes nothing
    :raises ValueError: for a planner, where the agent has none
    """
    if not dataclasses.is_dataclass(planner) or isinstance(planner, type):
        return {}
    _check_plans(model)
    own = model.planner
    usual = vars(own) if type(own) is type(planner) else _defaults(model, planner)
    # Compared as they are written, since arrays that differ have no truth value.
    return {
        name: value
        for name, value in dataclasses.asdict(planner).items()
        if repr(getattr(planner, name)) != repr(usual[name])
    }


def _check_plans(model: Any) -> None:
    if not hasattr(model, "planner"):
        raise ValueError(f"{type(model).__name__} has no world model to plan in; leave planner at None")


def _defaults(model: Any, planner: Any) -> dict[str, Any]:
    """What a planner of this class has for options on the model's backbone unless it is told otherwise."""
    own = {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(planner)
    }
    return own | model.backbone.planner_options(planner_name(planner), model.obs_type)


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
    _check_plans(model)
    before = model.planner
    model.planner = planner_for(model, planner)
    try:
        yield
    finally:
        model.planner = before
