"""What an agent asks of its environments, and what it reads off them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral, Real
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.noise import ActionNoise, NormalActionNoise
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from dream_agents.agents.observations import is_image_space
from dream_agents.models.packing import ObsShape
from dream_agents.registry import UnknownNameError
from dream_agents.wrappers import OBS_TYPES, make_env, make_vec_env, resolve
from dream_agents.wrappers.actions import check_action_space
from dream_agents.wrappers.keyed import (
    channels_come_first,
    check_pictures,
    has_pictures,
    is_picture,
    leaves,
    name_of,
    obs_type_of,
)
from dream_agents.wrappers.make import EnvLike
from dream_agents.wrappers.pixels import check_image
from dream_agents.wrappers.seeding import EpisodeSeeding
from dream_agents.wrappers.watched import watch

_ObsType = TypeVar("_ObsType", bound="str | None")
_OBSERVED = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def discount_from_episode_length(decisions: int | None) -> float:
    """TD-MPC2's heuristic: clip((T/5 - 1) / (T/5), 0.95, 0.995) for T decisions an episode; 0.99 without a limit."""
    if decisions is None:
        return 0.99
    fraction = decisions / 5
    return float(np.clip((fraction - 1) / fraction, 0.95, 0.995))


@dataclass(frozen=True)
class TrainingTask:
    """How the environments that an agent learns in are made.

    They have their own action and observation spaces, observations flattened where Stable-Baselines3 can't store them.

    :param env: their id; None if an object was given, which can't be made again
    :param obs_type: what is observed; None until the environment has told, as for ``make_env``
    :param env_kwargs: keyword arguments of the environment
    :param n_envs: environments side by side
    :param vec_env_cls: "dummy", "subproc" or a class
    :param seeds_episodes: after a seed, every episode has a seed of its own, so that a resumed run goes on with the
        same episodes; if False, episodes go on in the random stream that a seed begins, as in Stable-Baselines3
    :param not_finite: what NaN or infinity does, "stop" or "end"; see :class:`Watch`
    :param frame_stack: frames in an observation of pixels
    :param normalized: as for ``make_env``: agents of version 0.1, and agents of a ``make_vec_env``, learned in
        environments with actions in [-1, 1] and observations as vectors
    """

    env: str | None
    obs_type: str | None = "state"
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    n_envs: int = 1
    vec_env_cls: str | type[VecEnv] = "dummy"
    seeds_episodes: bool = True
    normalized: bool = False
    not_finite: str = "stop"
    frame_stack: int = 3

    def make(self, env: EnvLike | VecEnv, monitor: bool = True) -> VecEnv:
        """Make the environments of an id, of a function, or around a ``gymnasium.Env``; check and watch them.

        A VecEnv and its wrappers stay as they are.
        """
        if not isinstance(env, VecEnv):
            env = self._make_vec_env(env, monitor)
        check_spaces(env)
        return watch(env, self.not_finite)

    def told_by(self, env: VecEnv) -> TrainingTask:
        """Return the task with the ``obs_type`` that its environment tells, where none was given."""
        if self.obs_type is not None:
            return self
        space = env.observation_space
        if is_image_space(space):
            told = "pixels"
        elif unwrap_vec_normalize(env) is None:
            told = obs_type_of(space)
        else:  # whose images are no images any more, which check_normalization explains
            told = "pixels+state" if has_pictures(space) else "state"
        return dataclasses.replace(self, obs_type=told)

    @property
    def form(self) -> dict[str, Any]:
        """What ``make_env`` has to know of what is observed and of actions."""
        renders = self.obs_type in ("pixels", "pixels+state")
        pixels = {"frame_stack": self.frame_stack} if renders else {}
        return {"obs_type": self.obs_type, "normalized": self.normalized} | pixels

    def _make_vec_env(self, env: EnvLike, monitor: bool) -> VecEnv:
        form = self.form
        options = form | (self.env_kwargs if isinstance(env, str) else {})
        made = env
        if self.seeds_episodes:
            make = partial(_make_seeded_env, env, options)
            made, options = make() if isinstance(env, gym.Env) else make, form
        return make_vec_env(made, self.n_envs, vec_env_cls=self.vec_env_cls, monitor=monitor, **options)

    @classmethod
    def of_version(cls, task: TrainingTask) -> TrainingTask:
        """Return a saved task as this version has it: tasks of version 0.1 don't say that they are normalized."""
        is_old = "normalized" not in vars(task)
        return dataclasses.replace(task, normalized=True) if is_old else task

    def changed_to(self, env: EnvLike | VecEnv, **given: Any) -> TrainingTask:
        """Replace the environment and what is given of it; ``env_kwargs`` stay for the same id only."""
        if not isinstance(env, str):
            kept = {"not_finite": given["not_finite"]} if "not_finite" in given else {}
            return dataclasses.replace(self, env=None, env_kwargs={}, n_envs=1, vec_env_cls="dummy", **kept)
        env_kwargs = self.env_kwargs if _same_id(self.env, env) else {}
        return dataclasses.replace(self, env=env, **{"env_kwargs": env_kwargs} | given)


def _make_seeded_env(env: EnvLike, options: dict[str, Any]) -> gym.Env[Any, Any]:
    return EpisodeSeeding(make_env(env, **options))


def _same_id(first: str | None, second: str) -> bool:
    try:
        return first is not None and resolve(first)[1] == resolve(second)[1]
    except UnknownNameError:
        return False


def check_spaces(env: VecEnv) -> None:
    """Raise a ValueError that says what to do unless agents can act in an environment, and learn from what it observes.

    :param env: any VecEnv
    """
    check_action_space(env.action_space, "the environment")
    space = env.observation_space
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    if not all(isinstance(part, _OBSERVED) for part in parts):
        raise ValueError(
            f"observation space {space} is none that agents learn from in a VecEnv; pass the environment's id or the "
            "gymnasium.Env itself, which are flattened, or wrap it in gymnasium.wrappers.FlattenObservation"
        )
    orders = {name: channels_come_first(part) for name, part in _images(space)}
    if len(set(orders.values())) > 1:
        first, last = ([name for name in orders if orders[name] == wanted] for wanted in (True, False))
        raise ValueError(
            f"channels come first in the images {', '.join(first)} and last in {', '.join(last)}, which "
            "Stable-Baselines3 can't tell apart; pass the gymnasium.Env itself instead of a VecEnv"
        )


def _images(space: spaces.Space[Any]) -> Iterator[tuple[str, spaces.Box]]:
    """Images of bytes in a dictionary, by name."""
    for path, part in leaves(space):
        if path and is_image_space(part) and is_picture(part):
            assert isinstance(part, spaces.Box)
            yield name_of(path), part


def observation_normalizer(agent: Any) -> VecNormalize | None:
    """The ``VecNormalize`` that brings an agent's observations to another scale; None where none does."""
    env: VecNormalize | None = getattr(agent, "_vec_normalize_env", None)
    return env if env is not None and env.norm_obs else None


def check_normalization(env: VecEnv, shape: ObsShape) -> None:
    """Raise a ValueError unless what ``VecNormalize`` observes is what is stored, so that replay can normalize it.

    :param env: any VecEnv
    :param shape: of what is stored
    """
    normalization = unwrap_vec_normalize(env)
    if normalization is None:
        return
    space, inner = env.observation_space, normalization.observation_space
    pairs = zip(leaves(inner), leaves(space), strict=True)
    turned = [(old, new) for (_, old), (_, new) in pairs if is_image_space(old) and old.shape != new.shape]
    if turned:
        inner, _ = turned[0]
        raise ValueError(
            f"VecNormalize observes images of dtype {inner.dtype} from 0 to 255 and shape {inner.shape}, whose "
            "channels come last, and keeps them so for replay; give it VecTransposeImage(envs) of Stable-Baselines3"
        )
    if not normalization.norm_obs:
        return
    if is_image_space(space):
        raise ValueError(
            f"VecNormalize turns the images {space} into floating-point numbers around 0, but agents learn from images "
            "of dtype uint8 from 0 to 255; pass VecNormalize(norm_obs=False)"
        )
    if any(len(part.shape or ()) == 3 for _, part in leaves(space)):
        raise ValueError(
            f"VecNormalize turns the observations {space} into floating-point numbers around 0, but agents learn from "
            "images of bytes, and replay stores them together with numbers; pass VecNormalize(norm_obs=False)"
        )
    if space.shape != shape:
        raise ValueError(
            f"VecNormalize normalizes observations {space}, which are stored as vectors of {spaces.flatdim(space)} "
            "numbers; make the environments with make_vec_env, which gives vectors, and wrap these in VecNormalize"
        )


def check_obs_type(obs_type: str, space: spaces.Space) -> None:
    """Raise a ValueError unless ``obs_type`` is known and ``space`` has images if and only if it says so.

    Images have dtype uint8 and go from 0 to 255. Those in a dictionary may also be vectors ("state").
    """
    if obs_type not in OBS_TYPES:
        raise ValueError(f"obs_type={obs_type!r} is not supported; choose one of {OBS_TYPES}")
    if has_pictures(space):
        if obs_type == "pixels":
            raise ValueError(
                f'obs_type="pixels" does not fit an environment that observes a dictionary ({space}); pass '
                'obs_type="pixels+state", which encodes each of its images and the numbers'
            )
        if obs_type == "pixels+state":
            check_pictures(space)
        return
    images = is_image_space(space)
    if obs_type != ("pixels" if images else "state"):
        seen, fitting = ("images", "pixels") if images else ("no images", "state")
        raise ValueError(
            f'obs_type="{obs_type}" does not fit an environment that observes {seen} ({space}); '
            f'pass obs_type="{fitting}", here and to make_vec_env where it makes the environment'
        )
    if images:
        check_image(space)


def make_action_noise(noise: ActionNoise | float | None, space: spaces.Space[Any]) -> ActionNoise | None:
    """Make Gaussian noise of a standard deviation; noise that is made already is passed through.

    :param noise: a number for independent noise on every action, in units of [-1, 1]
    :param space: the action space
    :raises ValueError: for a number below 0
    """
    if not isinstance(noise, int | float | np.number):
        return noise
    if isinstance(noise, bool) or not 0 <= noise < np.inf:
        raise ValueError(
            f"action_noise={noise!r} must be a standard deviation of at least 0, an ActionNoise of Stable-Baselines3 "
            "or None"
        )
    shape = space.shape
    assert shape is not None
    return NormalActionNoise(np.zeros(shape), np.full(shape, float(noise)))


def implied_obs_type(policy: object, env: object, obs_type: _ObsType) -> str | _ObsType:
    """Return "pixels" for "CnnPolicy" in an environment that observes images already, or else ``obs_type``.

    :param policy: Stable-Baselines3's policy class or its name
    :param env: what the agent was given
    :param obs_type: what the user says, or the default
    """
    space = getattr(env, "observation_space", None)
    return "pixels" if policy == "CnnPolicy" and space is not None and is_image_space(space) else obs_type


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
    n_steps: int = 1,
    batch_size: int | None = None,
    learning_rate: float | Schedule | None = None,
    train_freq: int | tuple[int, str] | None = None,
    learning_starts: int | None = None,
    tau: float | None = None,
    gamma: float | None = None,
    buffer_size: int | None = None,
    seed: int | None = None,
) -> None:
    """Raise a ValueError that names the option and its range unless each number that is given makes sense."""
    every = train_freq[0] if isinstance(train_freq, tuple | list) and train_freq else train_freq
    rate = None if callable(learning_rate) else learning_rate
    numbers = {"n_steps": n_steps, "batch_size": batch_size, "learning_rate": rate, "train_freq": every}
    numbers |= {"learning_starts": learning_starts, "tau": tau, "gamma": gamma}
    whole = {"batch_size": batch_size, "buffer_size": buffer_size, "seed": seed}
    numbers |= whole
    for name, value in numbers.items():
        if value is not None and (not isinstance(value, Real) or isinstance(value, bool)):
            form = '; write a number, or e.g. (1, "episode")' if name == "train_freq" else "; write a number"
            raise ValueError(f"{name}={value!r} is a {type(value).__name__}{form}")
        if name in whole and value is not None and not isinstance(value, Integral):
            raise ValueError(f"{name}={value!r} must be a whole number; write {name}={int(value)}")
    if n_steps != 1:
        raise ValueError(f"n_steps={n_steps}: the targets of world models have one step; leave n_steps at 1")
    positive = {
        "batch_size": batch_size,
        "buffer_size": buffer_size,
        "learning_rate": rate,
        "train_freq": every,
    }
    for name, value in positive.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name}={value} must be above 0")
    for name, value in {"tau": tau, "gamma": gamma}.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name}={value} must be from 0 to 1")
    for name, value in {"learning_starts": learning_starts, "seed": seed}.items():
        if value is not None and value < 0:
            raise ValueError(f"{name}={value} must be at least 0")
