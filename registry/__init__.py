"""Names of agents, backbones, planners and environment suites.

    >>> from dream_agents import registry
    >>> registry.planners.names()
    ['adaptive', 'cem', 'dream', 'grad', 'mppi', 'policy', 'policy+grad']

Each registry has `register(name)` (a decorator), `get(name)` and `names()`. Other packages add names
through the entry-point groups `dream_agents.agents`, `dream_agents.backbones`, `dream_agents.planners` and
`dream_agents.suites`. Importing this module imports none of the things named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dream_agents.registry.core import PluginError, Registry, UnknownNameError

if TYPE_CHECKING:
    from dream_agents.wrappers.base import Suite

agents: Registry[Any] = Registry(
    "agent",
    "dream_agents.agents",
    {
        "tdmpc2": "dream_agents.agents.tdmpc2:TDMPC2",
        "bmpc": "dream_agents.agents.bmpc:BMPC",
        "dreamer": "dream_agents.agents.dreamer:DreamerV3",
        "dream_mpc": "dream_agents.agents.dream_mpc:DreamMPC",
        "sac": "dream_agents.agents.sac:SAC",
        "sac_ae": "dream_agents.agents.sac_ae:SACAE",
    },
)
"""Agent classes."""

backbones: Registry[Any] = Registry(
    "backbone",
    "dream_agents.backbones",
    {
        "tdmpc2": "dream_agents.learners.tdmpc2:TDMPC2Backbone",
        "bmpc": "dream_agents.learners.bmpc:BMPCBackbone",
        "dreamer": "dream_agents.learners.dreamer_backbones:DreamerBackbone",
        "dreamer_gaussian": "dream_agents.learners.dreamer_backbones:GaussianDreamerBackbone",
        "planet": "dream_agents.learners.dreamer_backbones:PlaNetBackbone",
    },
)
"""Backbone classes: a world model with its learner."""

planners: Registry[Any] = Registry(
    "planner",
    "dream_agents.planners",
    {
        "policy": "dream_agents.planners.policy:PolicyPlanner",
        "mppi": "dream_agents.planners.mppi:MPPIPlanner",
        "cem": "dream_agents.planners.cem:CEMPlanner",
        "grad": "dream_agents.planners.grad:GradPlanner",
        "policy+grad": "dream_agents.planners.grad:PolicyGradPlanner",
        "dream": "dream_agents.planners.dream:DreamPlanner",
        "adaptive": "dream_agents.planners.adaptive:AdaptivePlanner",
    },
)
"""Planner classes."""

suites: Registry[Suite] = Registry(
    "suite",
    "dream_agents.suites",
    {
        "dmc": "dream_agents.wrappers.dmcontrol:SUITE",
        "metaworld": "dream_agents.wrappers.metaworld:SUITE",
        "humanoid_bench": "dream_agents.wrappers.humanoid_bench.suite:SUITE",
        "gymnasium": "dream_agents.wrappers.gymnasium_ids:SUITE",
    },
)
"""Environment suites (objects, see `dream_agents.wrappers.base.Suite`)."""

__all__ = ["PluginError", "Registry", "UnknownNameError", "agents", "backbones", "planners", "suites"]
