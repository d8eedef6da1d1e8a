"""TD-MPC2 (Hansen et al. 2024)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.base import WorldModelAgent
from dream_agents.learners.base import get_backbone
from dream_agents.wrappers.make import EnvLike


class TDMPC2(WorldModelAgent):
    """TD-MPC2: an implicit world model, and MPPI while learning and acting.

    Every keyword is documented at :class:`WorldModelAgent`, whose defaults are TD-MPC2's.

        >>> model = TDMPC2("dmc_walker-walk-v0", model_size="1M").learn(50_000, progress_bar=True)

    :param env: an environment id, a ``gymnasium.Env``, a function that makes one, or a ``VecEnv``
    :param policy: Stable-Baselines3's policy class or its name
    :param backbone: world model and learner, a name in ``registry.backbones``
    """

    def __init__(
        self,
        env: EnvLike | VecEnv | None,
        policy: str | type[BasePolicy] = "WorldModelPolicy",
        *,
        backbone: str = "tdmpc2",
        **kwargs: Any,
    ):
        super().__init__(
            env, policy, backbone=backbone, **{**get_backbone(backbone).agent_defaults, **kwargs}
        )
