"""Which world models and planners have a faster twin."""

from __future__ import annotations

from functools import cache
from typing import Any

from dream_agents.fast.adaptive import FastAdaptive
from dream_agents.fast.dream import FastDream
from dream_agents.fast.tdmpc import FastTDMPC
from dream_agents.models.base import WorldModel
from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.tdmpc import ImplicitWorldModel, TDMPCWorldModel
from dream_agents.planners import Planner
from dream_agents.planners.adaptive import AdaptivePlanner
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.grad import PolicyGradPlanner

#: Exact classes: one of somebody else that is derived from these may differ where the twin doesn't look.
_MODELS = (TDMPCWorldModel, BMPCWorldModel)
_PLANNERS: dict[type, Any] = {
    DreamPlanner: FastDream,
    PolicyGradPlanner: FastDream,
    AdaptivePlanner: FastAdaptive,
}


def has_own_methods(owner: WorldModel | Planner) -> bool:
    """Whether a model or a planner has a method of its own in place of one of its class: ``model.reward = mine``."""
    return not _methods(type(owner)).isdisjoint(vars(owner))


@cache
def _methods(kind: type) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name)))


def has_fast_model(model: WorldModel) -> bool:
    """Whether :class:`FastTDMPC` knows the model's networks, and no method of it is somebody's own."""
    return type(model) in _MODELS and not has_own_methods(model)


def fast_model(model: WorldModel, pack: bool = False) -> WorldModel:
    """The model's faster twin, or the model itself.

    :param pack: copy the weights, which then have to stay as they are
    """
    return (
        FastTDMPC(model, pack) if isinstance(model, ImplicitWorldModel) and has_fast_model(model) else model
    )


def fast_planner(model: WorldModel, planner: Planner) -> Planner:
    """The planner's faster twin on the model, or the planner itself.

    :param model: what :func:`fast_model` gave
    """
    twin = _PLANNERS.get(type(planner))
    if twin is None or not isinstance(model, FastTDMPC) or has_own_methods(planner):
        return planner
    return twin(planner) if twin.takes(planner) else planner


def uses_autograd(planner: Planner) -> bool:
    """Whether planning records operations for a gradient."""
    return getattr(planner, "uses_autograd", True)
