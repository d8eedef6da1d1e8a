"""Batched evaluation on episodes that are the same for every planner."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

from dream_agents.annex import keep_freed_memory
from dream_agents.evaluation.environments import (
    CUSTOM_ENVIRONMENT,
    check_ends,
    check_length,
    environment_options,
    evaluation_env_of,
    first_episode_seed,
)
from dream_agents.evaluation.planners import acting_with, changed_options, options_of, planner_name
from dream_agents.evaluation.result import EvaluationResult
from dream_agents.evaluation.settings import EvaluationKeywords, EvaluationSettings
from dream_agents.wrappers import task_info
from dream_agents.wrappers.make import EnvLike

if TYPE_CHECKING:
    import torch
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv
    from typing_extensions import Unpack

    from dream_agents.planners import Planner

#: Called with the share of the work that is done, from 0 to 1.
Progress = Callable[[float], None]

_LATENCY_DECISIONS = 20


def evaluate(
    model: BaseAlgorithm,
    env: EnvLike | VecEnv | None = None,
    planner: str | Planner | None = None,
    *,
    settings: EvaluationSettings | None = None,
    progress: Progress | None = None,
    first_episode: int = 0,
    finished: Callable[[EvaluationResult], None] | None = None,
    **keywords: Unpack[EvaluationKeywords],
) -> EvaluationResult:
    """Run episodes, many environments side by side, planned for in one call: ``evaluate(model, episodes=20)``.

    Episode i starts from a state that depends on ``seed`` and i alone, so that planners and models meet the same
    episodes whatever ``n_envs`` and ``first_episode`` are. A planner that draws random numbers draws them for the
    whole batch, and may still act differently in another one.

    :param model: an agent
    :param env: an environment's id, a function that makes one, a ``gymnasium.Env``, which plays its episodes one by
        one, or a ``VecEnv``; by default the one that the agent was made with. A ``VecEnv`` that
        :func:`make_evaluation_env` did not make is seeded once, and its later episodes are the same for every planner
        only if its environments draw nothing but their initial states.
    :param planner: the planner to act with, by name or made; None for the agent's own. The name of the agent's own
        planner means that one, with the options that it has.
    :param settings: episodes, seed and environments; None for the defaults
    :param progress: called after every step with the share of decisions that is done
    :param first_episode: number of the first episode, for going on where another evaluation has stopped
    :param finished: called with what is finished whenever it has grown; an episode counts once those before it do
    :param keywords: fields of :class:`~dream_agents.evaluation.settings.EvaluationSettings`, e.g. ``episodes=20``;
        they come before ``settings``
    :raises ValueError: if there is nothing to evaluate in, and for planners that the agent can't have
    :raises EndlessEpisodeError: (a ``ValueError``) where episodes neither end nor have a limit
    """
    from stable_baselines3.common.vec_env import VecEnv

    settings = (settings or EvaluationSettings()).but(**keywords)
    if model.device.type == "cpu":
        keep_freed_memory()
    own = not isinstance(env, VecEnv | gym.Env)
    vec_env = evaluation_env_of(model, env, settings)
    about = {
        "changed_options": changed_options(model, planner),
        "env_kwargs": environment_options(model, env, settings.env_kwargs),
        "seed": settings.seed,
        "deterministic": settings.deterministic,
    }
    try:
        with (
            acting_with(model, planner),
            _random_numbers(model, settings, first_episode),
        ):
            began, latency = time.perf_counter(), None
            for run in _run_episodes(model, vec_env, settings, first_episode, progress):
                is_last = len(run.episodes) == settings.episodes
                if finished is None and not is_last:
                    continue
                latency = latency or _latency_ms(model, run, settings.deterministic)
                result = _result(model, vec_env, run, latency, time.perf_counter() - began, about)
                if finished is not None:
                    finished(result)
        return result
    finally:
        if own:
            vec_env.close()


class _Episode(NamedTuple):
    total: float
    length: int
    success: bool | None


class _Run(NamedTuple):
    """Finished episodes and the seconds of each ``predict`` and each step so far, and the newest observations."""

    episodes: list[_Episode]
    seconds_a_call: list[float]
    seconds_a_step: list[float]
    last_obs: np.ndarray | dict[str, np.ndarray]
    n_envs: int


def _run_episodes(
    model: BaseAlgorithm,
    env: VecEnv,
    settings: EvaluationSettings,
    first_episode: int,
    progress: Progress | None,
) -> Iterator[_Run]:
    """Yield whenever more episodes are finished and all before them are, too.

    Environment j plays episodes j, j + n, ...; what it plays beyond the last episode is not counted.
    """
    episodes, n_envs = settings.episodes, env.num_envs
    limit = task_info(env).max_episode_steps
    env.seed(first_episode_seed(settings.seed) + first_episode)
    check_ends(env)
    obs: Any = env.reset()
    state: Any = None
    starts = np.ones(n_envs, dtype=bool)
    numbers, totals, lengths = np.arange(n_envs), np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)
    finished: dict[int, _Episode] = {}
    in_order: list[_Episode] = []
    seconds_a_call: list[float] = []
    seconds_a_step: list[float] = []
    while len(in_order) < episodes:
        began = time.perf_counter()
        actions, state = model.predict(obs, state, starts, settings.deterministic)
        planned = time.perf_counter()
        obs, rewards, starts, infos = env.step(actions)
        seconds_a_call.append(planned - began)
        seconds_a_step.append(time.perf_counter() - planned)
        totals += rewards
        lengths += 1
        check_length(limit, int(lengths.max()))
        for j in np.flatnonzero(starts):
            if numbers[j] < episodes:
                finished[int(numbers[j])] = _read_episode(infos[j], float(totals[j]), int(lengths[j]))
            numbers[j] += n_envs
            totals[j] = lengths[j] = 0
        if progress is not None:
            begun = lengths[numbers < episodes].sum() / limit if limit else 0
            progress(float(len(finished) + len(in_order) + begun) / episodes)
        before = len(in_order)
        while len(in_order) in finished:
            in_order.append(finished.pop(len(in_order)))
        if len(in_order) > before:
            yield _Run(in_order, seconds_a_call, seconds_a_step, obs, n_envs)


def _read_episode(info: dict[str, Any], total: float, length: int) -> _Episode:
    """Prefer Monitor's figures, which the environment gave before any normalization."""
    monitored = info.get("episode", {})
    success = info.get("success")
    return _Episode(
        float(monitored.get("r", total)),
        int(monitored.get("l", length)),
        None if success is None else bool(success),
    )


def _result(
    model: BaseAlgorithm, env: VecEnv, run: _Run, latency_ms: float, seconds: float, about: dict[str, Any]
) -> EvaluationResult:
    import torch

    planner = getattr(model, "planner", None)
    successes = [episode.success for episode in run.episodes if episode.success is not None]
    (spec,) = env.get_attr("spec", indices=[0])
    decisions = env.num_envs * len(run.seconds_a_call)
    return EvaluationResult(
        planner="policy" if planner is None else planner_name(planner),
        planner_options=options_of(planner),
        env=spec.id if spec is not None else CUSTOM_ENVIRONMENT,
        returns=tuple(episode.total for episode in run.episodes),
        lengths=tuple(episode.length for episode in run.episodes),
        successes=tuple(successes) if len(successes) == len(run.episodes) else None,
        n_envs=env.num_envs,
        ms_per_decision=1e3 * float(np.median(run.seconds_a_call)) / env.num_envs,
        latency_ms=latency_ms,
        decisions_per_second=decisions / (sum(run.seconds_a_call) + sum(run.seconds_a_step)),
        seconds=seconds,
        device=str(model.device),
        hardware=hardware_name(model.device),
        threads=torch.get_num_threads(),
        **about,
    )


def _latency_ms(model: BaseAlgorithm, run: _Run, deterministic: bool) -> float:
    """Median time of planning for one environment."""
    obs = run.last_obs
    first = {name: part[:1] for name, part in obs.items()} if isinstance(obs, dict) else obs[:1]
    if run.n_envs == 1:
        return 1e3 * float(np.median(run.seconds_a_call))
    state: Any = None
    seconds = []
    with _kept_random_numbers(model):
        for _ in range(_LATENCY_DECISIONS):
            began = time.perf_counter()
            _, state = model.predict(first, state, np.zeros(1, dtype=bool), deterministic)
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


def _random_numbers(
    model: BaseAlgorithm, settings: EvaluationSettings, first_episode: int
) -> AbstractContextManager[None]:
    """Seed PyTorch's global generators inside the block where actions are drawn from them."""
    return nullcontext() if settings.deterministic else _seeded(model, settings.seed, first_episode)


@contextmanager
def _seeded(model: BaseAlgorithm, seed: int, first_episode: int) -> Iterator[None]:
    import torch

    with _kept_random_numbers(model):
        # Episodes that are added later must not meet the noise of the first ones again.
        own = (
            seed
            if first_episode == 0
            else int(np.random.SeedSequence([seed, first_episode]).generate_state(1)[0])
        )
        torch.manual_seed(own)
        yield


def _kept_random_numbers(model: BaseAlgorithm) -> AbstractContextManager[None]:
    """Leave PyTorch's global generators after the block as they were before it."""
    import torch

    return torch.random.fork_rng([model.device] if model.device.type == "cuda" else [])
