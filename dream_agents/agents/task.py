"""What an agent asks of its environments, and what it reads off them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.registry import UnknownNameError
from dream_agents.wrappers import OBS_TYPES, make_env, make_vec_env, resolve
from dream_agents.wrappers.make import EnvLike
from dream_agents.wrappers.seeding import EpisodeSeeding
from dream_agents.wrappers.watched import watch


def discount_from_episode_length(decisions: int | None) -> float:
    """TD-MPC2's heuristic: clip((T/5 - 1) / (T/5), 0.95, 0.995) for T decisions an episode; 0.99 without a limit."""
    if decisions is None:
        return 0.99
    fraction = decisions / 5
    return float(np.clip((fraction - 1) / fraction, 0.95, 0.995))


@dataclass(frozen=True)
class TrainingTask:
    """How the environments that an agent learns in are made.

    :param env: their id; None if an object was given, which can't be made again
    :param obs_type: what is observed
    :param env_kwargs: keyword arguments of the environment
    :param n_envs: environments side by side
    :param vec_env_cls: "dummy", "subproc" or a class
    :param seeds_episodes: after a seed, every episode has a seed of its own, so that a resumed run goes on with the
        same episodes; if False, episodes go on in the random stream that a seed begins, as in Stable-Baselines3
    :param not_finite: what NaN or infinity does, "stop" or "end"; see :class:`Watch`
    """

    env: str | None
    obs_type: str = "state"
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    n_envs: int = 1
    vec_env_cls: str | type[VecEnv] = "dummy"
    seeds_episodes: bool = True
    not_finite: str = "stop"

    def make(self, env: GymEnv | str, monitor: bool = True) -> VecEnv:
        """Make the environments of an id or around a ``gymnasium.Env``, check their spaces, and watch them.

        A VecEnv and its wrappers stay as they are.
        """
        if not isinstance(env, VecEnv):
            env = self._make_vec_env(env, monitor)
        check_spaces(env)
        return watch(env, self.not_finite)

    def _make_vec_env(self, env: str | gym.Env[Any, Any], monitor: bool) -> VecEnv:
        made: EnvLike = env
        options = self.env_kwargs if isinstance(env, str) else {}
        if self.seeds_episodes:
            make = partial(_make_seeded_env, env, self.obs_type, self.env_kwargs)
            made, options = make if isinstance(env, str) else make(), {}
        return make_vec_env(
            made,
            self.n_envs,
            obs_type=self.obs_type,
            vec_env_cls=self.vec_env_cls,
            monitor=monitor,
            **options,
        )

    def changed_to(self, env: GymEnv | str, **given: Any) -> TrainingTask:
        """Replace the environment and what is given of it; ``env_kwargs`` stay for the same id only."""
        if not isinstance(env, str):
            not_finite = given.get("not_finite", self.not_finite)
            return TrainingTask(
                None, self.obs_type, seeds_episodes=self.seeds_episodes, not_finite=not_finite
            )
        env_kwargs = self.env_kwargs if _same_id(self.env, env) else {}
        return dataclasses.replace(self, env=env, **{"env_kwargs": env_kwargs} | given)


def _make_seeded_env(
    env: str | gym.Env[Any, Any], obs_type: str, options: dict[str, Any]
) -> gym.Env[Any, Any]:
    return EpisodeSeeding(make_env(env, obs_type=obs_type, **options))


def _same_id(first: str | None, second: str) -> bool:
    try:
        return first is not None and resolve(first)[1] == resolve(second)[1]
    except UnknownNameError:
        return False


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


def check_obs_type(obs_type: str, space: spaces.Space) -> None:
    """Raise a ValueError unless ``obs_type`` is known and ``space`` has images if and only if it says so."""
    if obs_type not in OBS_TYPES:
        raise ValueError(f"obs_type={obs_type!r} is not supported; choose one of {OBS_TYPES}")
    images = len(space.shape or ()) == 3
    if images != (obs_type == "pixels"):
        seen, fitting = ("images", "pixels") if images else ("no images", "state")
        raise ValueError(
            f'obs_type="{obs_type}" does not fit an environment that observes {seen} ({space}); '
            f'pass obs_type="{fitting}", here and to make_vec_env where it makes the environment'
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


def check_numbers(
    *,
    n_steps: int,
    batch_size: int,
    learning_rate: float | Schedule,
    train_freq: int | tuple[int, str],
    learning_starts: int | None,
    tau: float,
    gamma: float | None,
) -> None:
    """Raise a ValueError that names the option and its range unless each number makes sense."""
    every = train_freq[0] if isinstance(train_freq, tuple | list) and train_freq else train_freq
    rate = None if callable(learning_rate) else learning_rate
    numbers = {"n_steps": n_steps, "batch_size": batch_size, "learning_rate": rate, "train_freq": every}
    numbers |= {"learning_starts": learning_starts, "tau": tau, "gamma": gamma}
    for name, value in numbers.items():
        if value is not None and (not isinstance(value, Real) or isinstance(value, bool)):
            form = '; write a number, or e.g. (1, "episode")' if name == "train_freq" else "; write a number"
            raise ValueError(f"{name}={value!r} is a {type(value).__name__}{form}")
    if n_steps != 1:
        raise ValueError(f"n_steps={n_steps}: the targets of world models have one step; leave n_steps at 1")
    for name, value in {"batch_size": batch_size, "learning_rate": rate, "train_freq": every}.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name}={value} must be above 0")
    for name, value in {"tau": tau, "gamma": gamma}.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name}={value} must be from 0 to 1")
    if learning_starts is not None and learning_starts < 0:
        raise ValueError(f"learning_starts={learning_starts} must be at least 0")
