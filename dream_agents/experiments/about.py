"""What an experiment's folder says of itself: what was asked for, and how it was run each time."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dream_agents.experiments.jobs import Job
from dream_agents.experiments.spec import Experiment, experiment_of
from dream_agents.files import write_json
from dream_agents.versions import package_versions

#: in the experiment's folder
ABOUT = "experiment.json"

#: what makes an agent or a planner of one name another one; what reports call it does not
_IDENTITY = {
    "agents": ("agent", "model", "planner", "model_size", "options"),
    "planners": ("planner", "options"),
}


def read_about(folder: Path) -> dict[str, Any]:
    """What was asked for in an experiment's folder, and how it was run each time.

    :raises FileNotFoundError: if it holds none
    """
    path = folder / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"there is no experiment in {folder}: it has no {ABOUT}")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "invocations" not in content:  # the first version kept the last one only
        experiment = content.pop("experiment")
        content = {"experiment": experiment, "known": _variants(experiment), "invocations": [content]}
    return content


def experiment_in(folder: Path) -> Experiment:
    """The experiment that a folder holds, as it was asked for last.

    :raises FileNotFoundError: if it holds none
    """
    return experiment_of(read_about(folder)["experiment"])


def write_about(experiment: Experiment, folder: Path, invocation: Mapping[str, Any] | None) -> None:
    """Write down what is asked for; nothing where it is written down already.

    :param experiment: what is asked for
    :param folder: the experiment's
    :param invocation: how it is run this time; None where there is nothing to do
    :raises ValueError: if the folder holds another experiment
    """
    asked = json.loads(json.dumps(dataclasses.asdict(experiment)))
    before = read_about(folder) if (folder / ABOUT).is_file() else None
    about: dict[str, Any] = {"experiment": asked, "known": _variants(asked), "invocations": []}
    if before is not None:
        for what, old, new in _differences(before, asked):
            raise ValueError(
                f"{folder} holds the experiment {before['experiment']['name']!r} with another {what}: {old!r}, not "
                f"{new!r}; choose another folder, give the same, or give what is new a name of its own"
            )
        about["known"] = {kind: before["known"][kind] | about["known"][kind] for kind in _IDENTITY}
        about["invocations"] += before["invocations"]
    if invocation is not None:
        about["invocations"].append(dict(invocation))
    if about != before:
        write_json(folder / ABOUT, about)


def refuse_less(jobs: list[Job], folder: Path) -> None:
    """Refuse fewer frames than runs have: their results would pass for results of shorter runs.

    :raises ValueError: for a run of the folder that has made more decisions than it is asked for now
    """
    if not (folder / ABOUT).is_file():
        return
    before, frames = experiment_in(folder).frames, jobs[0].experiment.frames
    if frames >= before:
        return
    for job in jobs:
        made = job.decisions_made()
        if job.settings is not None and made > job.settings.decisions:
            raise ValueError(
                f"{job.run} has made {made} decisions, more than those of {frames} frames; choose "
                f"another folder, or {before} frames as before"
            )


def invocation(workers: int, threads: int) -> dict[str, Any]:
    """How an experiment is run this time: command, versions, machine and time.

    :param workers: processes side by side
    :param threads: of each
    """
    return {
        "command": shlex.join(["dream-agents", *sys.argv[1:]]),
        "versions": package_versions(),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "workers": workers,
        "threads": threads,
        "system": platform.platform(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _variants(experiment: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What agents and planners are, by their names."""
    return {
        kind: {key: {name: given[name] for name in names} for key, given in experiment[kind].items()}
        for kind, names in _IDENTITY.items()
    }


def _differences(before: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What makes two experiments' results different ones: its name, before and now.

    More seeds, tasks, frames, episodes, agents and planners, and another report, go with what is there.
    """
    experiment = before["experiment"]
    if experiment["name"] != asked["name"]:
        yield "name", experiment["name"], asked["name"]
    for kind, now in _variants(asked).items():
        for key, given in now.items():
            old = before["known"][kind].get(key, given)
            for name in _IDENTITY[kind]:
                if old[name] != given[name]:
                    yield f"{kind}.{key}.{name}", old[name], given[name]
    seeds = experiment["evaluation"]["seed"], asked["evaluation"]["seed"]
    if seeds[0] != seeds[1]:
        yield "evaluation.seed", *seeds
