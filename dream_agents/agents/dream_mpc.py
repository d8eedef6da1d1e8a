"""Dream-MPC: gradient-based model predictive control with latent imagination."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from dream_agents.agents.base import WorldModelAgent
from dream_agents.planners import Planner


class DreamMPC(WorldModelAgent):
    """A learned world model, and a few policy roll-outs improved by gradient ascent for every decision.

    With the TD-MPC2 backbone, Dream-MPC acts while learning and in ``predict``. Every other keyword is documented
    at :class:`WorldModelAgent`.

        >>> model = DreamMPC("dmc_cup-catch-v0", model_size="1M").learn(50_000, progress_bar=True)

    :param env: an environment id, a ``gymnasium.Env`` or a ``VecEnv``
    :param policy: Stable-Baselines3's policy class or its name
    :param backbone: world model and learner, a name in ``registry.backbones``
    :param planner: acts in ``predict`` and while learning, a name in ``registry.planners`` or a planner
    """

    def __init__(
        self,
        env: GymEnv | str | None,
        policy: str | type[BasePolicy] = "WorldModelPolicy",
        *,
        backbone: str = "tdmpc2",
        planner: str | Planner = "dream",
        **kwargs: Any,
    ):
        super().__init__(env, policy, backbone=backbone, planner=planner, **kwargs)
