"""BMPC (Wang et al. 2025)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.base import WorldModelAgent
from dream_agents.learners.base import get_backbone
from dream_agents.wrappers.make import EnvLike


class BMPC(WorldModelAgent):
    """Bootstrapped MPC: TD-MPC2's world model with a policy that imitates the planner, which it guides in turn.

    MPPI acts while learning and in ``predict``. Every other keyword is documented at :class:`WorldModelAgent`.

        >>> model = BMPC("dmc_cup-catch-v0", model_size="1M").learn(50_000, progress_bar=True)

    :param env: an environment id, a ``gymnasium.Env``, a function that makes one, or a ``VecEnv``
    :param policy: Stable-Baselines3's policy class or its name
    :param backbone: world model and learner, a name in ``registry.backbones``
    """

    def __init__(
        self,
        env: EnvLike | VecEnv | None,
        policy: str | type[BasePolicy] = "WorldModelPolicy",
        *,
        backbone: str = "bmpc",
        **kwargs: Any,
    ):
        super().__init__(
            env, policy, backbone=backbone, **{**get_backbone(backbone).agent_defaults, **kwargs}
        )
