"""How far an experiment is, read off its folder from anywhere."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

from dream_agents.experiments.engine import FAILURES
from dream_agents.experiments.jobs import Job
from dream_agents.files import is_being_written
from dream_agents.runs import EPISODES
from dream_agents.runs.tables import whole_lines


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """One job.

    :param name: the job's
    :param state: ``"waiting"``, ``"training"``, ``"evaluating"``, ``"interrupted"`` where it has begun and nobody runs
        the experiment, ``"done"`` or ``"failed"``
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
    errors, is_running = _errors(folder), is_being_written(folder)
    return [_status(job, errors.get(job.name, ""), is_running) for job in jobs]


def _status(job: Job, error: str, is_running: bool) -> RunStatus:
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
        began, doing = of or any(map(job.result, job.planners)), "evaluating"
        decisions, left = of, None
    else:
        began, doing = job.run.is_dir(), "training"
    state = "waiting" if not began else doing if is_running else "interrupted"
    return RunStatus(job.name, state, decisions, of, last, left)


def _last_row(path: Path) -> dict[str, str] | None:
    """The newest row of a run's episodes."""
    lines = whole_lines(path)
    rows = list(csv.DictReader([lines[0], lines[-1]])) if len(lines) > 1 else []
    return rows[0] if rows else None


def _errors(folder: Path) -> dict[str, str]:
    path = folder / FAILURES
    if not path.is_file():
        return {}
    return {failure["job"]: failure["error"] for failure in json.loads(path.read_text(encoding="utf-8"))}
