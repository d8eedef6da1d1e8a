"""What an agent asks of its environments, and what it reads off them."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.wrappers import make_env, make_vec_env
from dream_agents.wrappers.seeding import EpisodeSeeding


def discount_from_episode_length(decisions: int | None) -> float:
    """TD-MPC2's heuristic: clip((T/5 - 1) / (T/5), 0.95, 0.995) for T decisions an episode; 0.99 without a limit."""
    if decisions is None:
        return 0.99
    fraction = decisions / 5
    return float(np.clip((fraction - 1) / fraction, 0.95, 0.995))


def make_training_vec_env(
    env: str | gym.Env[Any, Any],
    obs_type: str = "state",
    env_kwargs: dict[str, Any] | None = None,
    n_envs: int = 1,
    vec_env_cls: str = "dummy",
    monitor: bool = True,
) -> VecEnv:
    """Make the environments that an agent learns in; after a seed, every episode has a seed of its own."""
    make = partial(_make_training_env, env, obs_type, env_kwargs or {})
    return make_vec_env(
        make if isinstance(env, str) else make(), n_envs, vec_env_cls=vec_env_cls, monitor=monitor
    )


def _make_training_env(
    env: str | gym.Env[Any, Any], obs_type: str, options: dict[str, Any]
) -> gym.Env[Any, Any]:
    return EpisodeSeeding(make_env(env, obs_type=obs_type, **options))


def check_spaces(env: VecEnv) -> None:
    """Raise a ValueError that says what to do unless actions and observations are Boxes."""
    if not isinstance(env.action_space, spaces.Box):
        raise ValueError(
            f"action space {env.action_space} is not a Box: world-model agents plan continuous actions; "
            "for discrete actions use e.g. stable_baselines3.DQN or PPO"
        )
    if not isinstance(env.observation_space, spaces.Box):
        raise ValueError(
            f"observation space {env.observation_space} is not a Box; pass the environment's id or the "
            "gymnasium.Env itself, which are flattened, or wrap it in gymnasium.wrappers.FlattenObservation"
        )


def make_config(config_class: type, options: dict[str, Any]) -> Any:
    """Build a learner's configuration; unknown names raise and list the known ones."""
    known = [field.name for field in dataclasses.fields(config_class)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"{config_class.__name__} has no {', '.join(unknown)}; its options are {', '.join(known)}"
        )
    return config_class(**options)
