"""Dream-MPC: gradient-based model predictive control with latent imagination."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.base import WorldModelAgent
from dream_agents.learners.base import get_backbone
from dream_agents.planners import Planner
from dream_agents.wrappers.make import EnvLike


class DreamMPC(WorldModelAgent):
    """A learned world model, and a few policy roll-outs improved by gradient ascent for every decision.

    Dream-MPC acts in ``predict``. While learning, the backbone's ``default_training_planner`` acts: adaptive Dream-MPC
    on TD-MPC2's and BMPC's, where the paper has Dream-MPC and MPPI (``training_planner="dream"`` or ``"mppi"``).
    Defaults of the other keywords are the backbone's ``agent_defaults`` where it has any, as Dreamer's (Alg. 2 of the
    paper). They are documented at :class:`WorldModelAgent`.

        >>> model = DreamMPC("dmc_cup-catch-v0", model_size="1M").learn(50_000, progress_bar=True)

    :param env: an environment id, a ``gymnasium.Env``, a function that makes one, or a ``VecEnv``
    :param policy: Stable-Baselines3's policy class or its name
    :param backbone: world model and learner, a name in ``registry.backbones``
    :param planner: acts in ``predict``, a name in ``registry.planners`` or a planner
    :param training_planner: acts while learning; None for the backbone's where ``planner`` is "dream" or a policy
        imitates plans, and for ``planner`` otherwise
    """

    loads_any_backbone = True

    def __init__(
        self,
        env: EnvLike | VecEnv | None,
        policy: str | type[BasePolicy] = "WorldModelPolicy",
        *,
        backbone: str = "bmpc",
        planner: str | Planner = "dream",
        training_planner: str | Planner | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            env,
            policy,
            backbone=backbone,
            planner=planner,
            training_planner=training_planner,
            **{**get_backbone(backbone).agent_defaults, **kwargs},
        )

    @staticmethod
    def default_training_planner(backbone: str, planner: str | Planner) -> str | None:
        """The backbone's, where ``planner`` is "dream" or a policy imitates plans; None for ``planner`` itself."""
        wanted = get_backbone(backbone)
        return wanted.default_training_planner if planner == "dream" or wanted.imitates_planner else None
