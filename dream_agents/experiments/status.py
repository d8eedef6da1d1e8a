"""How far an experiment is, read off its folder from anywhere."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

from dream_agents.experiments.engine import FAILURES
from dream_agents.experiments.jobs import Job
from dream_agents.runs import EPISODES


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """One job.

    :param name: the job's
    :param state: ``"waiting"``, ``"training"``, ``"evaluating"``, ``"done"`` or ``"failed"``
    :param decisions: made so far
    :param of: decisions in all; 0 for a trained model
    :param last_return: of the newest training episode
    :param seconds_left: of training, at the pace so far; None where that is unknown
    :param error: of a job that failed
    """

    name: str
    state: str
    decisions: int
    of: int
    last_return: float | None
    seconds_left: float | None
    error: str = ""


def status_of(jobs: list[Job], folder: Path) -> list[RunStatus]:
    """The state of each job, as its folders tell."""
    errors = _errors(folder)
    return [_status(job, errors.get(job.name, "")) for job in jobs]


def _status(job: Job, error: str) -> RunStatus:
    settings = job.settings
    of = 0 if settings is None else settings.decisions
    row = _last_row(job.run / EPISODES)
    decisions = int(row["decisions"]) if row else 0
    last = float(row["return"]) if row else None
    left = None
    if row and decisions and of > decisions:
        left = float(row["seconds"]) / decisions * (of - decisions)
    if job.is_done():
        return RunStatus(job.name, "done", of, of, last, 0.0)
    if error:
        return RunStatus(job.name, "failed", decisions, of, last, None, error)
    if job.is_trained():
        started = any(job.result(planner) is not None for planner in job.planners)
        return RunStatus(job.name, "evaluating" if of or started else "waiting", of, of, last, None)
    return RunStatus(job.name, "training" if job.run.is_dir() else "waiting", decisions, of, last, left)


def _last_row(path: Path) -> dict[str, str] | None:
    """The newest whole row of a run's episodes; runs write as this reads."""
    if not path.is_file():
        return None
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]
    rows = list(csv.DictReader([lines[0], lines[-1]])) if len(lines) > 1 else []
    return rows[0] if rows else None


def _errors(folder: Path) -> dict[str, str]:
    path = folder / FAILURES
    if not path.is_file():
        return {}
    return {failure["job"]: failure["error"] for failure in json.loads(path.read_text(encoding="utf-8"))}
