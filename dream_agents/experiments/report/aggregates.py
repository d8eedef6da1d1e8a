"""Aggregates over tasks and seeds with intervals, by rliable (Agarwal et al. 2021), as in Fig. 2 of the paper."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

METRICS = ("IQM", "median", "mean", "optimality gap")
#: resamplings of the bootstrap
REPS = 2000
#: of pairs of methods, each of which is a test for every task
PAIR_REPS = 200
#: scores at which profiles are drawn
TAUS = np.linspace(0.0, 1.0, 51)


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """A number with its 95% interval.

    :param method: whose
    :param metric: one of :data:`METRICS`, or ``"P(better than OTHER)"``
    :param value: of all runs
    :param low: lower end of the interval
    :param high: upper end
    """

    method: str
    metric: str
    value: float
    low: float
    high: float


def aggregates(scores: Mapping[str, np.ndarray], reps: int = REPS, seed: int = 0) -> list[Aggregate]:
    """Interquartile mean, median, mean and optimality gap of each method, with stratified bootstrap intervals.

    :param scores: normalised scores ``[runs, tasks]`` by method
    :param reps: resamplings
    :param seed: of these
    :raises ImportError: if rliable is not installed
    """
    library, metrics = _rliable()

    def all_four(matrix: np.ndarray) -> np.ndarray:
        functions = (
            metrics.aggregate_iqm,
            metrics.aggregate_median,
            metrics.aggregate_mean,
            metrics.aggregate_optimality_gap,
        )
        return np.array([function(matrix) for function in functions])

    with _seeded(seed):
        values, intervals = library.get_interval_estimates(dict(scores), all_four, reps=reps)
    return [
        Aggregate(method, metric, *map(float, (values[method][i], *intervals[method][:, i])))
        for method in scores
        for i, metric in enumerate(METRICS)
    ]


def probabilities_of_improvement(
    scores: Mapping[str, np.ndarray], reps: int = PAIR_REPS, seed: int = 0
) -> list[Aggregate]:
    """How likely a run of one method is better than one of another on a task drawn at random, for each pair.

    :param scores: normalised scores ``[runs, tasks]`` by method
    :param reps: resamplings
    :param seed: of these
    :raises ImportError: if rliable is not installed
    """
    library, metrics = _rliable()
    pairs = {(a, b): (scores[a], scores[b]) for a, b in itertools.permutations(scores, 2)}
    if not pairs:
        return []
    with _seeded(seed):
        values, intervals = library.get_interval_estimates(
            pairs, metrics.probability_of_improvement, reps=reps
        )
    return [
        Aggregate(
            a, f"P(better than {b})", float(np.ravel(values[a, b])[0]), *map(float, np.ravel(intervals[a, b]))
        )
        for a, b in pairs
    ]


def profiles(
    scores: Mapping[str, np.ndarray], reps: int = REPS, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Share of runs above each score of :data:`TAUS`, and its 95% interval ``[2, taus]``, by method.

    :param scores: normalised scores ``[runs, tasks]`` by method
    :param reps: resamplings
    :param seed: of these
    :raises ImportError: if rliable is not installed
    """
    library, _ = _rliable()
    made: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    with _seeded(seed):
        made = library.create_performance_profile(dict(scores), TAUS, reps=reps)
    return made


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator and restore it: rliable draws from it, whatever ``random_state`` it is given."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _rliable() -> tuple[Any, Any]:
    try:
        from rliable import library, metrics
    except ImportError as error:
        raise ImportError(f"aggregates need rliable ({error}); pip install 'dream-agents[report]'") from error
    return library, metrics
