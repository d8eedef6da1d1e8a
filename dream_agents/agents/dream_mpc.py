"""Dream-MPC: gradient-based model predictive control with latent imagination."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from dream_agents.agents.base import WorldModelAgent
from dream_agents.planners import Planner


class DreamMPC(WorldModelAgent):
    """A learned world model, and a few policy roll-outs improved by gradient ascent for every decision.

    With BMPC's backbone, MPPI acts while learning and Dream-MPC in ``predict``; with any other, Dream-MPC acts always.
    With Dreamer's, the other options of agent and planner are the backbone's ``agent_defaults`` and ``dream_options``
    (Alg. 2 and 3 of the paper). Every other keyword is documented at :class:`WorldModelAgent`.

        >>> model = DreamMPC("dmc_cup-catch-v0", model_size="1M").learn(50_000, progress_bar=True)

    :param env: an environment id, a ``gymnasium.Env`` or a ``VecEnv``
    :param policy: Stable-Baselines3's policy class or its name
    :param backbone: world model and learner, a name in ``registry.backbones``
    :param planner: acts in ``predict``, a name in ``registry.planners`` or a planner
    :param training_planner: acts while learning; None for MPPI with BMPC's backbone, and for ``planner`` with any other
    """

    def __init__(
        self,
        env: GymEnv | str | None,
        policy: str | type[BasePolicy] = "WorldModelPolicy",
        *,
        backbone: str = "bmpc",
        planner: str | Planner = "dream",
        training_planner: str | Planner | None = None,
        **kwargs: Any,
    ):
        from dream_agents.registry import backbones

        if training_planner is None:
            training_planner = self.default_training_planner(backbone)
        backbone_class = backbones.get(backbone)
        kwargs = getattr(backbone_class, "agent_defaults", {}) | kwargs
        if planner == "dream":
            options = getattr(backbone_class, "dream_options", {})
            kwargs["planner_kwargs"] = {**options, **(kwargs.get("planner_kwargs") or {})}
        super().__init__(
            env, policy, backbone=backbone, planner=planner, training_planner=training_planner, **kwargs
        )

    @staticmethod
    def default_training_planner(backbone: str) -> str | None:
        """Name of the planner that acts while learning unless another is given; None for that of ``predict``."""
        return "mppi" if backbone == "bmpc" else None
