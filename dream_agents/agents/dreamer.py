"""DreamerV3 (Hafner et al. 2025), in sizes that learn on a CPU."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.base import WorldModelAgent
from dream_agents.learners.base import get_backbone
from dream_agents.planners import Planner
from dream_agents.wrappers.make import EnvLike


class DreamerV3(WorldModelAgent):
    """DreamerV3: a recurrent world model that reconstructs observations; actor and critic learn in its imagination.

    The actor acts while learning and in ``predict``. Defaults of the other keywords are the backbone's
    ``agent_defaults``, e.g. an update of 16 sequences every 2 decisions. They are documented at
    :class:`WorldModelAgent`; ``learning_rate`` is the world model's, and ``learner_kwargs["actor_lr_scale"]`` relates
    actor and value to it.

        >>> model = DreamerV3("dmc_cup-catch-v0").learn(50_000, progress_bar=True)

    :param env: an environment id, a ``gymnasium.Env``, a function that makes one, or a ``VecEnv``
    :param policy: Stable-Baselines3's policy class or its name
    :param backbone: "dreamer", or "dreamer_gaussian" for Dreamer as the paper of Dream-MPC used it
    :param planner: acts in ``predict`` and while learning, a name in ``registry.planners`` or a planner
    """

    def __init__(
        self,
        env: EnvLike | VecEnv | None,
        policy: str | type[BasePolicy] = "WorldModelPolicy",
        *,
        backbone: str = "dreamer",
        planner: str | Planner = "policy",
        **kwargs: Any,
    ):
        super().__init__(
            env,
            policy,
            backbone=backbone,
            planner=planner,
            **{**get_backbone(backbone).agent_defaults, **kwargs},
        )
