"""Planners: from a latent state to an action, on any world model."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from dream_agents.planners.base import Memory, Plan, Planner

__all__ = ["Memory", "Plan", "Planner", "make_optional_planner", "make_planner"]


def make_planner(planner: str | Planner, **options: Any) -> Planner:
    """Make a planner from its name in the registry; a planner object is passed through.

    :param planner: a name, e.g. ``"dream"``, or a planner
    :param options: the planner's fields, e.g. ``iterations=2``
    :raises ValueError: for an unknown name or option, for options together with an object, and for what is no planner
    """
    from dream_agents.registry import planners

    if not isinstance(planner, str):
        if options:
            raise ValueError(
                f"options {sorted(options)} go with a planner's name; {planner!r} is made already"
            )
        if isinstance(planner, type) or not isinstance(planner, Planner):
            raise ValueError(
                f"planner={planner!r} is no planner; give a name ({', '.join(planners.names())}) or an object with "
                "initial_memory and plan"
            )
        return planner
    planner_class = planners.get(planner)
    try:
        return planner_class(**options)
    except TypeError as error:
        known = fields(planner_class) if is_dataclass(planner_class) else ()
        names = ", ".join(option.name for option in known)
        raise ValueError(
            f'planner "{planner}" does not take {options}: {error}; its options are {names}'
        ) from error


def make_optional_planner(
    role: str, planner: str | Planner | None, options: dict[str, Any] | None = None
) -> Planner | None:
    """:func:`make_planner`, or None.

    :param role: the keyword that ``planner`` was given as, for the message
    :raises ValueError: as :func:`make_planner`, and for options without a planner
    """
    if planner is not None:
        return make_planner(planner, **(options or {}))
    if options:
        raise ValueError(f"{role}_kwargs are given without a {role}")
    return None
