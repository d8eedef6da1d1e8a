"""Registers the suites' environments with Gymnasium."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dream_agents.registry import suites

if TYPE_CHECKING:
    from dream_agents.wrappers.base import Suite

_registered: set[str] = set()


def register_all() -> None:
    """Make every built-in environment known to `gymnasium.make`.

    No simulator is imported: Gymnasium is given the place of a function that makes the environment.
    Calling it again changes nothing.
    """
    for name in suites.builtin:
        register_suite(suites.get(name))


def register_suite(suite: Suite) -> None:
    """Make a suite's environments known to `gymnasium.make`; ids that it knows already stay as they are."""
    import gymnasium

    for id in suite.ids():
        if id not in gymnasium.registry:
            _registered.add(id)
            task = suite.task(id)
            gymnasium.register(
                id,
                entry_point=task.entry_point,
                max_episode_steps=task.max_episode_steps,
                kwargs=dict(task.kwargs),
            )


def is_registered(id: str) -> bool:
    """Tell whether a suite, and nobody else, made this id known to Gymnasium."""
    return id in _registered
