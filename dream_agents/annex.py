"""The door to :mod:`dream_agents.fast`, which only makes things faster, and may be deleted or switched off.

``DREAM_AGENTS_FAST=0`` in the environment switches it off: planning then runs the plain code of ``models`` and
``planners``, for reading along, for debugging, or to check that both give the same.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dream_agents.models.base import WorldModel
    from dream_agents.planners import Planner
    from dream_agents.planners.decision import Decider


def enabled() -> bool:
    """Whether the annex is there and not switched off."""
    return os.environ.get("DREAM_AGENTS_FAST") != "0" and find_spec("dream_agents.fast") is not None


def make_decider(model: WorldModel) -> Decider:
    """What decides in a world model."""
    if not enabled():
        from dream_agents.planners.decision import Decider

        return Decider(model)
    from dream_agents.fast.decider import FastDecider

    return FastDecider(model)


def accelerated(model: WorldModel, planner: Planner) -> tuple[WorldModel, Planner]:
    """Faster twins of a world model and a planner, to be used at once, or these themselves."""
    if not enabled():
        return model, planner
    from dream_agents.fast.accelerate import fast_model, fast_planner

    model = fast_model(model)
    return model, fast_planner(model, planner)


def make_updates(learner: Any) -> Any:
    """What has a learner's ``update`` and ``pretrain``, on a CUDA device by graphs; metrics hold until the next update.

    :param learner: a :class:`~dream_agents.learners.base.Learner`
    """
    if not enabled():
        return learner
    from dream_agents.fast.updates import FastUpdates

    return FastUpdates(learner)


def can_compile() -> bool:
    """Whether decisions can be compiled: the annex is there, and a C++ compiler."""
    if not enabled():
        return False
    from dream_agents.fast.compiled import missing_compiler

    return missing_compiler() is None


def keep_freed_memory() -> None:
    """See :func:`dream_agents.fast.allocator.keep_freed_memory`."""
    if enabled():
        from dream_agents.fast.allocator import keep_freed_memory

        keep_freed_memory()
