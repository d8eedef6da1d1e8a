"""What planning for many environments in one batch is worth, their steps included."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dream_agents.agents.dream_mpc import DreamMPC
from dream_agents.annex import keep_freed_memory
from dream_agents.evaluation.benchmark import Measurement
from dream_agents.evaluation.environments import make_evaluation_env
from dream_agents.evaluation.processes import usable_processors

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

ENVIRONMENT, N_ENVS = "dmc_walker-walk-v0", 16

#: what is asked, of the backbone that Dream-MPC has by default
_TARGETS = {"bmpc": 3.0, "tdmpc2": None}
_WARM_UP_STEPS, _STEPS = 3, 10


def run_batch_benchmark(
    repeats: int = 15, size: str = "5M", progress: Callable[[str], None] = lambda step: None
) -> list[Measurement]:
    """Measure decisions a second of 16 environments in one batch, and one after another, with random weights.

    The two take turns in each round, with as many decisions each, so that a disturbance meets both.

    :param repeats: rounds that medians are taken over
    :param size: size of the networks
    :param progress: told what is measured next
    """
    keep_freed_memory()
    progress("starting environments")
    one = make_evaluation_env(ENVIRONMENT, 1)
    many = make_evaluation_env(ENVIRONMENT, N_ENVS, vec_env_cls="subproc")
    rows = []
    try:
        for env in (one, many):
            env.seed(0)
        for backbone, target in _TARGETS.items():
            progress(f"bulk evaluation, {backbone}")
            model = DreamMPC(ENVIRONMENT, backbone=backbone, model_size=size, device="cpu", seed=0)
            rows += _rows(_Run(model, one), _Run(model, many), repeats, f"{backbone}, {size}", target)
    finally:
        one.close()
        many.close()
    return rows


class _Run:
    """Episodes that go on from turn to turn, and what a step of all environments took in each turn."""

    def __init__(self, model: BaseAlgorithm, env: VecEnv):
        self._model, self._env = model, env
        self._obs: Any = env.reset()
        self._state: Any = None
        self._starts = np.ones(env.num_envs, dtype=bool)
        self.planning: list[float] = []
        self.stepping: list[float] = []
        self.take(_WARM_UP_STEPS)
        self.planning.clear()
        self.stepping.clear()

    def take(self, steps: int) -> None:
        """Take so many steps."""
        planning = stepping = 0.0
        for _ in range(steps):
            began = time.perf_counter()
            actions, self._state = self._model.predict(self._obs, self._state, self._starts, True)
            planned = time.perf_counter()
            self._obs, _, self._starts, _ = self._env.step(actions)
            planning, stepping = planning + planned - began, stepping + time.perf_counter() - planned
        self.planning.append(planning / steps)
        self.stepping.append(stepping / steps)

    def decisions_per_second(self) -> list[float]:
        """Decisions a second in each turn."""
        pairs = zip(self.planning, self.stepping, strict=True)
        return [self._env.num_envs / (planning + stepping) for planning, stepping in pairs]


def _rows(one: _Run, many: _Run, repeats: int, label: str, target: float | None) -> list[Measurement]:
    for _ in range(repeats):
        one.take(N_ENVS * _STEPS)
        many.take(_STEPS)
    rates = one.decisions_per_second(), many.decisions_per_second()
    ratios = [together / alone for alone, together in zip(*rates, strict=True)]
    rows = []
    batched = f"{N_ENVS} environments in {min(N_ENVS, usable_processors())} processes, one batch"
    for name, run, rate in (("one after another", one, rates[0]), (batched, many, rates[1])):
        rows.append(Measurement(f"{name}, {label}", statistics.median(rate), "decisions/s"))
        rows.append(Measurement("    planning, a step of all", 1e3 * statistics.median(run.planning), "ms"))
        rows.append(
            Measurement("    environments, a step of all", 1e3 * statistics.median(run.stepping), "ms")
        )
    name = f"{N_ENVS} environments in one batch / one after another, {label}"
    return [*rows, Measurement(name, statistics.median(ratios), "x", target)]
