"""DreamerV3 (Hafner et al. 2025), in sizes that learn on a CPU."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.base import WorldModelAgent
from dream_agents.planners import Planner
from dream_agents.wrappers.make import EnvLike


class DreamerV3(WorldModelAgent):
    """DreamerV3: a recurrent world model that reconstructs observations; actor and critic learn in its imagination.

    The actor acts while learning and in ``predict``. Every other keyword is documented at :class:`WorldModelAgent`.

        >>> model = DreamerV3("dmc_cup-catch-v0").learn(50_000, progress_bar=True)

    :param env: an environment id, a ``gymnasium.Env``, a function that makes one, or a ``VecEnv``
    :param policy: Stable-Baselines3's policy class or its name
    :param backbone: "dreamer", or "dreamer_gaussian" for Dreamer as the paper of Dream-MPC used it; its defaults of
        other keywords, ``GaussianDreamerBackbone.agent_defaults``, are :class:`DreamMPC`'s
    :param planner: acts in ``predict`` and while learning, a name in ``registry.planners`` or a planner
    :param model_size: a size of the backbone: "1M", "5M" or "12M"
    :param learning_rate: of the world model, or a schedule; ``learner_kwargs["actor_lr_scale"]`` relates actor and
        value to it
    :param learning_starts: random decisions before learning
    :param batch_size: sequences an update
    :param tau: rate at which the slow value follows
    :param gamma: discount factor
    :param train_freq: decisions of each environment between rounds of updates
    :param gradient_steps: updates a round; 1 every 2 decisions is a training ratio of 512 replayed steps a decision
    """

    def __init__(
        self,
        env: EnvLike | VecEnv | None,
        policy: str | type[BasePolicy] = "WorldModelPolicy",
        *,
        backbone: str = "dreamer",
        planner: str | Planner = "policy",
        model_size: Any = "1M",
        learning_rate: float | str | Schedule = 3e-4,
        learning_starts: int | None = 1000,
        batch_size: int = 16,
        tau: float = 0.02,
        gamma: float | None = 0.997,
        train_freq: int | tuple[int, str] = 2,
        gradient_steps: int = 1,
        **kwargs: Any,
    ):
        super().__init__(
            env,
            policy,
            backbone=backbone,
            planner=planner,
            model_size=model_size,
            learning_rate=learning_rate,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            **kwargs,
        )
