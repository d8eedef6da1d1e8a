"""Results of an experiment: one row an episode, with what it belongs to."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from dream_agents.experiments.jobs import Job
from dream_agents.files import replacing

RESULTS = "results.csv"


@dataclasses.dataclass(frozen=True)
class Row:
    """An episode of an evaluation.

    :param experiment: the experiment's name
    :param agent: the agent's name in it
    :param task: id of the environment
    :param seed: of the run
    :param planner: the planner's name in the experiment
    :param frames: that the agent was trained for
    :param episode: its number; the same number is the same initial state for all agents and planners
    :param episode_return: undiscounted return
    :param success: whether it ended in success; None where the task does not say
    :param ms: milliseconds of a decision for one environment, median over the evaluation
    """

    experiment: str
    agent: str
    task: str
    seed: int
    planner: str
    frames: int
    episode: int
    episode_return: float
    success: bool | None
    ms: float


_NAMES = {"episode_return": "return"}


def collect(jobs: Iterable[Job]) -> Iterator[Row]:
    """Rows of what is evaluated so far; runs that go on to more frames have none until they are evaluated again."""
    for job in jobs:
        if job.is_outdated():
            continue
        frames = job.experiment.frames if job.variant.agent is not None else 0
        for planner in job.planners:
            result = job.result(planner)
            if result is None:
                continue
            successes = result["successes"] or [None] * len(result["returns"])
            for episode, (value, success) in enumerate(zip(result["returns"], successes, strict=True)):
                yield Row(
                    job.experiment.name,
                    job.variant.name,
                    job.task,
                    job.seed,
                    planner.name,
                    frames,
                    episode,
                    float(value),
                    success,
                    float(result["latency_ms"]),
                )


def write_results(jobs: Iterable[Job], folder: Path) -> Path:
    """Write the rows as CSV, in one go; return the file."""
    path = folder / RESULTS
    columns = [_NAMES.get(field.name, field.name) for field in dataclasses.fields(Row)]
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(dataclasses.astuple(row) for row in collect(jobs))
    return path
