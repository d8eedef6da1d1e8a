"""Batched evaluation on episodes that are the same for every planner."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

from dream_agents.allocator import keep_freed_memory
from dream_agents.evaluation.planners import acting_with, changed_options, planner_name
from dream_agents.evaluation.result import EvaluationResult
from dream_agents.wrappers import make_env, make_vec_env, resolve, task_info
from dream_agents.wrappers.make import EnvLike

if TYPE_CHECKING:
    import torch
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

    from dream_agents.planners import Planner

#: Called with the share of the work that is done, from 0 to 1.
Progress = Callable[[float], None]

_LATENCY_DECISIONS = 20


def evaluate(
    model: BaseAlgorithm,
    env: EnvLike | VecEnv | None = None,
    planner: str | Planner | None = None,
    *,
    episodes: int = 10,
    seed: int = 0,
    n_envs: int | None = None,
    deterministic: bool = True,
    vec_env_cls: str = "dummy",
    env_kwargs: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Run ``episodes`` episodes, many environments side by side, planned for in one call.

    Episode i starts from a state that depends on ``seed`` and i alone, so that planners and models meet the same
    episodes whatever ``n_envs`` is. A planner that draws random numbers may still act differently in another batch.

    :param model: an agent
    :param env: an environment's id, a function that makes one, or a ``VecEnv``; by default the one that the agent
        was made with. A ``VecEnv`` that :func:`make_evaluation_env` did not make is seeded once, and its later
        episodes are the same for every planner only if its environments draw nothing but their initial states.
    :param planner: the planner to act with, by name or made; None for the agent's own. The name of the agent's own
        planner means that one, with the options that it has.
    :param episodes: number of episodes
    :param seed: seed of the episodes
    :param n_envs: environments side by side; by default one an episode, ten at most
    :param deterministic: leave out exploration noise
    :param vec_env_cls: "dummy" (in this process) or "subproc" (a process each)
    :param env_kwargs: keyword arguments of the environment
    :param progress: called after every step with the share of decisions that is done
    :raises ValueError: if there is nothing to evaluate in, and for planners that the agent can't have
    """
    from stable_baselines3.common.vec_env import VecEnv

    if episodes < 1:
        raise ValueError(f"episodes={episodes}: at least one episode is needed")
    if model.device.type == "cpu":
        keep_freed_memory()
    own = not isinstance(env, VecEnv)
    vec_env = evaluation_env_of(model, env, episodes, n_envs, vec_env_cls, env_kwargs)
    changed = changed_options(model, planner)
    try:
        with acting_with(model, planner), _random_numbers(model, seed, deterministic):
            began = time.perf_counter()
            run = _run_episodes(model, vec_env, episodes, seed, deterministic, progress)
            return _result(model, vec_env, run, changed, seed, deterministic, time.perf_counter() - began)
    finally:
        if own:
            vec_env.close()


def evaluation_env_of(
    model: BaseAlgorithm,
    env: EnvLike | VecEnv | None,
    episodes: int,
    n_envs: int | None = None,
    vec_env_cls: str = "dummy",
    env_kwargs: dict[str, Any] | None = None,
) -> VecEnv:
    """Make the environments to evaluate an agent in, as it was trained unless said otherwise; see :func:`evaluate`.

    :raises ValueError: if the agent does not know its environment, or its spaces are not the environment's
    """
    from stable_baselines3.common.vec_env import VecEnv

    if not isinstance(env, VecEnv):
        place, options = task_of(model, env, env_kwargs)
        count = min(episodes, 10) if n_envs is None else min(episodes, n_envs)
        env = make_evaluation_env(place, count, vec_env_cls=vec_env_cls, **options)
    for kind in ("observation_space", "action_space"):
        has, needs = getattr(env, kind), getattr(model, kind)
        if has.shape != needs.shape:
            name = kind.replace("_space", "s")
            raise ValueError(f"the environment's {name} have shape {has.shape}, the model's {needs.shape}")
    return env


def task_of(
    model: BaseAlgorithm, env: EnvLike | None, env_kwargs: dict[str, Any] | None = None
) -> tuple[EnvLike, dict[str, Any]]:
    """Return the environment to act in and how to make it: the one given, or the one that the agent learned in.

    That one is made with the options that the agent learned with, `env_kwargs` aside, also when it is named.

    :raises ValueError: if none is given and the agent does not know its own
    """
    task = getattr(model, "task", None)
    options = dict(env_kwargs or {})
    if task is not None and (env is None or _same_environment(env, task.env)):
        env, options = task.env, {**task.env_kwargs, **options}
    if env is None:
        raise ValueError(f"this {type(model).__name__} was not made with an environment's id; give env")
    return env, {"obs_type": "state" if task is None else task.obs_type, **options}


def _same_environment(env: EnvLike, other: EnvLike | None) -> bool:
    """Tell whether two names stand for one environment."""
    if not (isinstance(env, str) and isinstance(other, str)):
        return False
    return env == other or resolve(env)[1] == resolve(other)[1]


def make_evaluation_env(
    env: EnvLike, n_envs: int, *, obs_type: str = "state", vec_env_cls: str = "dummy", **options: Any
) -> VecEnv:
    """Make environments whose episodes are numbered: after ``seed(s)``, environment j plays s + j, s + j + n, ...

    :param env: an environment's id or a function that makes one
    :param n_envs: environments side by side
    :param obs_type: what is observed
    :param vec_env_cls: "dummy" or "subproc"
    :param options: keyword arguments of the environment
    """
    make = partial(_make_spaced, env, n_envs, obs_type, options)
    return make_vec_env(make, n_envs, obs_type=obs_type, vec_env_cls=vec_env_cls)


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


def _make_spaced(env: EnvLike, stride: int, obs_type: str, options: dict[str, Any]) -> gym.Env[Any, Any]:
    return SpacedSeeds(make_env(env, obs_type=obs_type, **options), stride)


def first_episode_seed(seed: int) -> int:
    """Seed of episode 0; episode i has the i-th after it. Different seeds lead to episodes far apart."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0]) // 2


class _Episode(NamedTuple):
    total: float
    length: int
    success: bool | None


class _Run(NamedTuple):
    episodes: list[_Episode]
    seconds_a_call: list[float]
    last_obs: np.ndarray


def _run_episodes(
    model: BaseAlgorithm,
    env: VecEnv,
    episodes: int,
    seed: int,
    deterministic: bool,
    progress: Progress | None,
) -> _Run:
    """Environment j plays episodes j, j + n, ...; what it plays beyond the last episode is not counted."""
    n_envs = env.num_envs
    limit = task_info(env).max_episode_steps
    env.seed(first_episode_seed(seed))
    obs: Any = env.reset()
    state: Any = None
    starts = np.ones(n_envs, dtype=bool)
    numbers, totals, lengths = np.arange(n_envs), np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)
    finished: dict[int, _Episode] = {}
    seconds_a_call = []
    while len(finished) < episodes:
        began = time.perf_counter()
        actions, state = model.predict(obs, state, starts, deterministic)
        seconds_a_call.append(time.perf_counter() - began)
        obs, rewards, starts, infos = env.step(actions)
        totals += rewards
        lengths += 1
        for j in np.flatnonzero(starts):
            if numbers[j] < episodes:
                finished[int(numbers[j])] = _read_episode(infos[j], float(totals[j]), int(lengths[j]))
            numbers[j] += n_envs
            totals[j] = lengths[j] = 0
        if progress is not None:
            begun = lengths[numbers < episodes].sum() / limit if limit else 0
            progress(float(len(finished) + begun) / episodes)
    return _Run([finished[i] for i in range(episodes)], seconds_a_call, obs)


def _read_episode(info: dict[str, Any], total: float, length: int) -> _Episode:
    """Monitor's figures where there is one: they are those of the environment before any normalization."""
    monitored = info.get("episode", {})
    success = info.get("success")
    return _Episode(
        float(monitored.get("r", total)),
        int(monitored.get("l", length)),
        None if success is None else bool(success),
    )


def _result(
    model: BaseAlgorithm,
    env: VecEnv,
    run: _Run,
    changed: dict[str, Any],
    seed: int,
    deterministic: bool,
    seconds: float,
) -> EvaluationResult:
    import torch

    planner = getattr(model, "planner", None)
    a_call = 1e3 * float(np.median(run.seconds_a_call))
    successes = [episode.success for episode in run.episodes if episode.success is not None]
    (spec,) = env.get_attr("spec", indices=[0])
    return EvaluationResult(
        planner="policy" if planner is None else planner_name(planner),
        planner_options=dataclasses.asdict(planner) if dataclasses.is_dataclass(planner) else {},  # type: ignore[arg-type]
        changed_options=changed,
        env=spec.id if spec is not None else "custom environment",
        seed=seed,
        returns=tuple(episode.total for episode in run.episodes),
        lengths=tuple(episode.length for episode in run.episodes),
        successes=tuple(successes) if len(successes) == len(run.episodes) else None,
        n_envs=env.num_envs,
        ms_per_decision=a_call / env.num_envs,
        latency_ms=a_call if env.num_envs == 1 else _latency_ms(model, run.last_obs[:1], deterministic),
        seconds=seconds,
        deterministic=deterministic,
        device=str(model.device),
        hardware=hardware_name(model.device),
        threads=torch.get_num_threads(),
    )


def _latency_ms(model: BaseAlgorithm, obs: np.ndarray, deterministic: bool) -> float:
    """Median time of planning for one environment."""
    state: Any = None
    seconds = []
    for _ in range(_LATENCY_DECISIONS):
        began = time.perf_counter()
        _, state = model.predict(obs, state, np.zeros(1, dtype=bool), deterministic)
        seconds.append(time.perf_counter() - began)
    return 1e3 * float(np.median(seconds))


def hardware_name(device: torch.device) -> str:
    """Name the GPU or the processor."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _random_numbers(model: BaseAlgorithm, seed: int, deterministic: bool) -> AbstractContextManager[None]:
    """Seed PyTorch's global generators inside the block where actions are drawn from them."""
    return nullcontext() if deterministic else _seeded(model, seed)


@contextmanager
def _seeded(model: BaseAlgorithm, seed: int) -> Iterator[None]:
    import torch

    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
