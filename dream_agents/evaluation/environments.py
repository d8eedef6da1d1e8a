"""Environments to evaluate in: episodes with numbers, in this process or in several."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from dream_agents.evaluation.settings import EvaluationSettings
from dream_agents.wrappers import make_env, make_vec_env, resolve, task_info
from dream_agents.wrappers.make import EnvLike
from dream_agents.wrappers.pixels import FRAME_STACK

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

#: what an environment is called that has no id
CUSTOM_ENVIRONMENT = "custom environment"

#: decisions after which an episode without a limit is remarked upon, and given up
_LONG_EPISODE, LONGEST_EPISODE = 1000, 10_000
_HOW_TO_LIMIT = (
    'give one: env_kwargs={"max_episode_steps": 1000} (--set env_kwargs.max_episode_steps=1000) for an id of '
    "Gymnasium, gymnasium.wrappers.TimeLimit(env, 1000) around an environment of yours"
)

#: options of ``make_env`` that the agent decides
_FORM = ("obs_type", "normalized", "frame_stack")
_TRIED_STEPS = 10
#: what a message to a process and its answer take, and what starting one takes; measured on two virtual cores
_SECONDS_A_MESSAGE, _SECONDS_TO_START = 3e-4, 4.0


class EndlessEpisodeError(ValueError):
    """Episodes that neither end nor have a limit can't be evaluated."""


def check_ends(env: VecEnv | gym.Env[Any, Any]) -> None:
    """Check that episodes come to an end.

    :raises EndlessEpisodeError: where the environment says that they don't, and has no limit
    """
    info = task_info(env)
    if info.max_episode_steps is None and not info.episodic:
        raise EndlessEpisodeError(f"episodes of this task never end, and have no limit; {_HOW_TO_LIMIT}")


def check_length(limit: int | None, decisions: int) -> None:
    """Warn of an episode that goes on without a limit, and give it up after ``LONGEST_EPISODE`` decisions.

    :param limit: decisions after which episodes are truncated; None for no limit
    :param decisions: how long the episode is so far
    :raises EndlessEpisodeError: where it is too long
    """
    if limit is not None:
        return
    if decisions > LONGEST_EPISODE:
        raise EndlessEpisodeError(
            f"an episode has not ended after {LONGEST_EPISODE} decisions, and has no limit; {_HOW_TO_LIMIT}"
        )
    if decisions == _LONG_EPISODE:
        warnings.warn(
            f"an episode has not ended after {decisions} decisions, and has no limit: it is given up after "
            f"{LONGEST_EPISODE}; {_HOW_TO_LIMIT}",
            stacklevel=2,
        )


def evaluation_env_of(
    model: BaseAlgorithm, env: EnvLike | VecEnv | None, settings: EvaluationSettings
) -> VecEnv:
    """Make the environments to evaluate an agent in, as it was trained unless said otherwise.

    :param model: an agent
    :param env: as for :func:`evaluate`; a ``VecEnv`` is taken as it is, and a ready environment plays one by one
    :param settings: how many episodes, how many side by side, in which processes, with which options
    :raises ValueError: if the agent does not know its environment, or its spaces are not the environment's
    :raises ChildProcessError: if an environment can't be made in a process
    """
    from stable_baselines3.common.vec_env import VecEnv

    if not isinstance(env, VecEnv):
        if isinstance(env, gym.Env):
            settings = _one_by_one(settings)
        place, options = task_of(model, env, settings.env_kwargs)
        env = make_evaluation_env(place, settings.side_by_side, vec_env_cls=settings.vec_env_cls, **options)
        env = _normalized_as_learned(model, env)
    _check_spaces(model, env)
    return env


def _normalized_as_learned(model: BaseAlgorithm, env: VecEnv) -> VecEnv:
    """Show the agent observations as its ``VecNormalize`` does, with its statistics; rewards stay as they are."""
    from stable_baselines3.common.vec_env import VecNormalize

    from dream_agents.agents.task import observation_normalizer

    learned = observation_normalizer(model)
    if learned is None:
        return env
    options = {name: getattr(learned, name) for name in ("clip_obs", "epsilon", "norm_obs_keys")}
    wrapped = VecNormalize(env, training=False, norm_reward=False, **options)
    wrapped.obs_rms = copy.deepcopy(learned.obs_rms)
    return wrapped


def _one_by_one(settings: EvaluationSettings) -> EvaluationSettings:
    """Return the settings for an environment that is made already, of which there is one, in this process.

    :raises ValueError: if they ask for more
    """
    if (settings.n_envs or 1) > 1 or settings.vec_env_cls == "subproc":
        raise ValueError(
            f"n_envs={settings.n_envs}, vec_env_cls={settings.vec_env_cls!r}: a ready environment can't be copied; "
            "give its id or a function that makes one"
        )
    return settings.but(n_envs=1)


def _check_spaces(model: BaseAlgorithm, env: VecEnv | gym.Env[Any, Any]) -> None:
    for kind in ("observation_space", "action_space"):
        has, needs = getattr(env, kind), getattr(model, kind)
        if gym.spaces.flatdim(has) != gym.spaces.flatdim(needs):
            name = kind.replace("_space", "s")
            raise ValueError(f"the environment's {name} have shape {has.shape}, the model's {needs.shape}")


def task_of(
    model: BaseAlgorithm, env: EnvLike | None, env_kwargs: Mapping[str, Any] | None = None
) -> tuple[EnvLike, dict[str, Any]]:
    """Return the environment to act in and how to make it: the one given, or the one that the agent learned in.

    That one is made with the options that the agent learned with, also when it is named; ``env_kwargs`` change them.

    :param model: an agent
    :param env: an environment's id or a function that makes one; None for the agent's own
    :param env_kwargs: keyword arguments of the environment
    :raises ValueError: if none is given and the agent does not know its own
    """
    task = getattr(model, "task", None)
    options = dict(env_kwargs or {})
    if task is not None and (env is None or _same_environment(env, task.env)):
        env, options = task.env, {**task.env_kwargs, **options}
    if env is None:
        raise ValueError(f"this {type(model).__name__} was not made with an environment's id; give env")
    return env, ({} if task is None else task.form) | options


def environment_options(
    model: BaseAlgorithm, env: EnvLike | VecEnv | None, env_kwargs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the keyword arguments that :func:`task_of` makes the environment with, without what is observed.

    Of environments that are made already, nothing is known but what is given here.
    """
    from stable_baselines3.common.vec_env import VecEnv

    if isinstance(env, VecEnv):
        return dict(env_kwargs or {})
    options = task_of(model, env, env_kwargs)[1]
    return {name: value for name, value in options.items() if name not in _FORM}


def environment_name(model: BaseAlgorithm, env: EnvLike | None) -> str:
    """Return the id of the environment that is evaluated in, as results have it."""
    place, _ = task_of(model, env)
    return resolve(place)[1] if isinstance(place, str) else CUSTOM_ENVIRONMENT


def _same_environment(env: EnvLike, other: EnvLike | None) -> bool:
    """Tell whether two names stand for one environment."""
    if not (isinstance(env, str) and isinstance(other, str)):
        return False
    return env == other or resolve(env)[1] == resolve(other)[1]


def make_evaluation_env(
    env: EnvLike,
    n_envs: int,
    *,
    obs_type: str = "state",
    normalized: bool = True,
    frame_stack: int = FRAME_STACK,
    vec_env_cls: str = "dummy",
    **options: Any,
) -> VecEnv:
    """Make environments whose episodes are numbered: after ``seed(s)``, environment j plays s + j, s + j + n, ...

    :param env: an environment's id or a function that makes one
    :param n_envs: environments side by side
    :param obs_type: what is observed
    :param frame_stack: frames in an observation of pixels
    :param normalized: as for ``make_env``; False where an agent acts in the environment's own units
    :param vec_env_cls: "dummy" for all in this process, "subproc" for a process a processor, each with its share
    :param options: keyword arguments of the environment
    :raises ChildProcessError: if an environment can't be made in a process, naming it and the cause
    """
    form: dict[str, Any] = {"obs_type": obs_type, "normalized": normalized, "frame_stack": frame_stack}
    make = partial(_make_spaced, env, n_envs, form | options)
    if vec_env_cls != "subproc":
        return make_vec_env(make, n_envs, vec_env_cls=vec_env_cls, **form)
    from dream_agents.evaluation.processes import EnvProcesses

    try:
        return make_vec_env(make, n_envs, vec_env_cls=EnvProcesses, **form)
    except ChildProcessError as error:
        raise ChildProcessError(
            f"{_name(env)} can't be made in a process of its own ({error}); what registers it has to be imported "
            'there, too: write "module:id", or keep it in this process with --no-subproc or vec_env_cls="dummy"'
        ) from error


def _name(env: EnvLike) -> str:
    return f'"{env}"' if isinstance(env, str) else f"the environment of {env!r}"


def try_environment(
    model: BaseAlgorithm, env: EnvLike | None = None, env_kwargs: Mapping[str, Any] | None = None
) -> float:
    """Make the environment of an evaluation, take a few steps, and return the seconds that one takes.

    Options that can't be used often show in the first step only, and then anywhere.

    :param model: an agent
    :param env: as for :func:`evaluate`
    :param env_kwargs: as for :func:`evaluate`
    :raises ValueError: if its spaces are not the agent's; the environment itself may raise anything
    """
    place, options = task_of(model, env, env_kwargs)
    one = make_env(place, **options)
    try:
        _check_spaces(model, one)
        one.action_space.seed(0)
        one.reset(seed=0)
        seconds = []
        for _ in range(_TRIED_STEPS):
            began = time.perf_counter()
            _, _, terminated, truncated, _ = one.step(one.action_space.sample())
            seconds.append(time.perf_counter() - began)
            if terminated or truncated:
                break
        return float(np.median(seconds))
    finally:
        one.close()


def processes_pay(step_seconds: float, n_envs: int, decisions: int, processors: int) -> bool:
    """Tell whether environments in processes save more time than the processes take.

    :param step_seconds: what a step of one environment takes
    :param n_envs: environments side by side
    :param decisions: decisions of all environments together
    :param processors: processors that may be used
    """
    processes = min(n_envs, processors)
    saved = step_seconds * (n_envs - np.ceil(n_envs / processes)) - _SECONDS_A_MESSAGE * processes
    return bool(processes > 1 and saved * decisions / n_envs > _SECONDS_TO_START)


class SpacedSeeds(gym.Wrapper[Any, Any, Any, Any]):
    """After ``reset(seed=s)``, later resets start from the seeds s + stride, s + 2 * stride, ...

    :param env: the environment
    :param stride: distance between the seeds of two episodes
    """

    def __init__(self, env: gym.Env[Any, Any], stride: int):
        super().__init__(env)
        self.stride = stride
        self._seed: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the next episode, or, with a seed, the first one of that seed."""
        if seed is None and self._seed is not None:
            seed = self._seed + self.stride
        self._seed = seed
        return self.env.reset(seed=seed, options=options)


def _make_spaced(env: EnvLike, stride: int, options: dict[str, Any]) -> gym.Env[Any, Any]:
    return SpacedSeeds(make_env(env, **options), stride)


def first_episode_seed(seed: int) -> int:
    """Seed of episode 0; episode i has the i-th after it. Different seeds lead to episodes far apart."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0]) // 2
