"""Scores that can be averaged over tasks (Eq. 7 of the paper)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from dream_agents.experiments.results import Row
from dream_agents.wrappers import describe

#: largest return of a task of the DeepMind Control suite
_DMCONTROL = 1000.0


def metric_of(task: str) -> str:
    """``"success"`` for Meta-World's tasks, whose result is a rate of success, ``"return"`` for others.

    :param task: an environment's id
    """
    return "success" if describe(task).suite == "metaworld" else "return"


def normalised(task: str, result: float) -> float:
    """A result between 0 and 1, as Eq. 7 and the text around it say; NaN for tasks that have no such scale.

    Returns of DMControl are divided by 1000, Meta-World's rates of success stay as they are, and HumanoidBench's
    returns are put between a random policy's and the target.

    :param task: an environment's id
    :param result: return, or rate of success for Meta-World
    """
    task_info = describe(task)
    if task_info.suite == "metaworld":
        return result
    if task_info.suite == "dmc":
        return result / _DMCONTROL
    low, high = task_info.random_return, task_info.target_return
    return float("nan") if low is None or high is None else (result - low) / (high - low)


def result_of(rows: Iterable[Row], metric: str) -> float:
    """Mean over episodes of a run's evaluation.

    :param rows: its episodes; at least one
    :param metric: ``"return"``, ``"success"`` or ``"ms"``
    :raises ValueError: for successes of a task that has none
    """
    rows = list(rows)
    if metric == "ms":
        return statistics.fmean(row.ms for row in rows)
    if metric == "return":
        return statistics.fmean(row.episode_return for row in rows)
    successes = [row.success for row in rows if row.success is not None]
    if len(successes) < len(rows):
        raise ValueError(f"{rows[0].task} does not say whether episodes were successful")
    return statistics.fmean(map(float, successes))
