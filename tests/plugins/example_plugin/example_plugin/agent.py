"""An agent: a choice of backbone and planners."""

from __future__ import annotations

from typing import Any

from dream_agents.agents.base import WorldModelAgent
from dream_agents.learners.base import get_backbone


class Shooter(WorldModelAgent):
    """Linear networks, and the best of many random action sequences."""

    def __init__(
        self,
        env,
        policy="WorldModelPolicy",
        *,
        backbone: str = "linear",
        planner: Any = "shooting",
        **kwargs: Any,
    ):
        defaults = get_backbone(backbone).agent_defaults
        super().__init__(env, policy, backbone=backbone, planner=planner, **{**defaults, **kwargs})
