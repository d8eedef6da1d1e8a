"""What a report shows: the experiment's results by method, task and seed, and published ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dream_agents.experiments.jobs import Job, jobs_of
from dream_agents.experiments.report.scores import metric_of, normalised, result_of
from dream_agents.experiments.results import Row, collect
from dream_agents.experiments.spec import Experiment, repeated

#: parts of a report in their order, and whether a report has them unless its file says otherwise
PARTS = {
    "table": True,
    "curves": True,
    "aggregates": True,
    "tradeoff": True,
    "sweep": False,
    "analysis": False,
    "films": True,
}
#: options of the parts, and what they may be where that is known
_OPTIONS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "table": {"metric": ("return", "success", "ms")},
    "curves": {},
    "aggregates": {},
    "tradeoff": {},
    "sweep": {"reference": None},
    "analysis": {"kind": ("gradients", "returns")},
    "films": {"decisions": None},
}


@dataclasses.dataclass(frozen=True)
class Method:
    """A column of the paper's tables: an agent with the planner that acts.

    :param label: its name
    :param agent: the agent's name in the experiment
    :param planner: the planner's name in the experiment
    """

    label: str
    agent: str
    planner: str


@dataclasses.dataclass(frozen=True)
class Published:
    """Published results of a method.

    :param method: its name
    :param source: where they stand
    :param frames: that it was trained for; None if that is not said
    :param results: mean and standard deviation over seeds by task
    """

    method: str
    source: str
    frames: int | None
    results: Mapping[str, tuple[float, float]]


class Content:
    """Results of an experiment's folder, finished or not.

    :param experiment: what was asked for
    :param folder: the experiment's
    :raises ValueError: for a part or a column of the report that makes no sense
    """

    def __init__(self, experiment: Experiment, folder: Path):
        self.experiment, self.folder = experiment, folder
        self.jobs: list[Job] = jobs_of(experiment, folder)
        self.methods, self.published, self.parts = check_report(experiment)
        self._rows: dict[tuple[str, str, str], dict[int, list[Row]]] = {}
        for row in collect(self.jobs):
            seeds = self._rows.setdefault((row.agent, row.planner, row.task), {})
            seeds.setdefault(row.seed, []).append(row)

    def results(self, method: Method, task: str, metric: str) -> np.ndarray:
        """Mean over episodes for each seed that is evaluated, in the order of seeds: ``[seeds]``."""
        seeds = self._rows.get((method.agent, method.planner, task), {})
        return np.array([result_of(seeds[seed], metric) for seed in sorted(seeds)])

    def seeds(self, method: Method) -> int:
        """How many seeds a method is to have on a task."""
        return sum(
            job.variant.name == method.agent and job.task == self.experiment.tasks[0] for job in self.jobs
        )

    def fewest_episodes(self) -> int:
        """Episodes of the evaluation that has fewest of them, of those that have begun; 0 where none has."""
        return min((len(rows) for seeds in self._rows.values() for rows in seeds.values()), default=0)

    def scores(self, methods: Sequence[Method]) -> tuple[dict[str, np.ndarray], list[str], str]:
        """Normalised scores ``[runs, tasks]`` of each method by its label, the tasks, and what is left out, in words.

        A matrix has no gaps: of each task as many seeds count as the task and method with the fewest has, and tasks
        that a method has no result on are left out.
        """
        missing = [
            task
            for task in self.experiment.tasks
            if any(not len(self.results(method, task, metric_of(task))) for method in methods)
        ]
        unscaled = [task for task in self.experiment.tasks if np.isnan(normalised(task, 0.0))]
        tasks = [task for task in self.experiment.tasks if task not in {*missing, *unscaled}]
        lines = {(m.label, t): self.results(m, t, metric_of(t)) for m in methods for t in tasks}
        runs = min(map(len, lines.values()), default=0)
        left_out = []
        if unscaled:
            left_out.append(f"without a scale from 0 to 1: {', '.join(unscaled)}")
        if set(missing) - set(unscaled):
            left_out.append(f"not evaluated yet: {', '.join(t for t in missing if t not in unscaled)}")
        if any(len(line) > runs for line in lines.values()):
            left_out.append(f"seeds after the first {runs}, which not all methods have on all tasks")
        scores = {
            m.label: np.array([[normalised(t, value) for value in lines[m.label, t][:runs]] for t in tasks]).T
            for m in methods
        }
        return scores, tasks, "; ".join(left_out)

    def published_result(self, label: str, task: str) -> tuple[float, float] | None:
        """A method's published mean and standard deviation on a task."""
        return next(
            (p.results[task] for p in self.published if p.method == label and task in p.results), None
        )

    def option(self, part: str, name: str, default: Any = None) -> Any:
        """An option of a part of the report."""
        given = self.experiment.report.get(part)
        return given.get(name, default) if isinstance(given, dict) else default


def check_report(experiment: Experiment) -> tuple[list[Method], list[Published], list[str]]:
    """Columns of the report, published rows, and parts of the report in their order.

    :param experiment: what was asked for
    :raises ValueError: for a column, a published row, a part or an option of one that makes no sense
    """
    methods, parts = _methods(experiment), _parts(experiment.report)
    twice = repeated([method.label for method in methods])
    if twice is not None:
        raise ValueError(
            f"two columns of the report are called {twice!r}: give each a label of its own in the experiment's "
            "file, and run it again; what is done stays"
        )
    sweep = experiment.report.get("sweep")
    reference = sweep.get("reference") if isinstance(sweep, dict) else None
    if reference is not None and reference not in experiment.planners:
        raise ValueError(
            f"report.sweep.reference = {reference!r}: the planners are {', '.join(experiment.planners)}"
        )
    return methods, [_published(row) for row in experiment.published], parts


def is_current(path: Path, *sources: Path) -> bool:
    """Whether a file was made after all that it was made from.

    :param path: the file
    :param sources: files; those that are not there don't count
    """
    return path.is_file() and all(
        source.stat().st_mtime <= path.stat().st_mtime for source in sources if source.is_file()
    )


def short(task: str) -> str:
    """A task's id without its suite and version: ``"walker-walk"``."""
    name = task.rpartition("-v")[0] or task
    prefix, _, rest = name.partition("_")
    return rest if prefix in ("dmc", "metaworld", "humanoid") and rest else name


def _methods(experiment: Experiment) -> list[Method]:
    columns = experiment.report.get("columns")
    if columns is None:
        several = len(experiment.planners) > 1
        return [
            Method(f"{agent.title}, {planner.title}" if several else agent.title, agent.name, planner.name)
            for agent in experiment.agents.values()
            for planner in experiment.planners.values()
            if agent.planners is None or planner.name in agent.planners
        ]
    methods = []
    for column in columns:
        if not isinstance(column, dict) or set(column) != {"label", "agent", "planner"}:
            raise ValueError(
                f'report.columns has {column!r}: {{ label = "...", agent = "...", planner = "..." }} is expected'
            )
        for kind, known in (("agent", experiment.agents), ("planner", experiment.planners)):
            if column[kind] not in known:
                raise ValueError(
                    f"report.columns: {column['label']!r} names the {kind} {column[kind]!r}; there are "
                    f"{', '.join(known)}"
                )
        methods.append(Method(**column))
    return methods


def _published(row: Mapping[str, Any]) -> Published:
    try:
        results = {task: (float(mean), float(std)) for task, (mean, std) in row["results"].items()}
        return Published(row["method"], row.get("source", "published"), row.get("frames"), results)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"published has {dict(row)!r}: `method` and a table `results` of task = [mean, std] are expected"
        ) from error


def _parts(report: Mapping[str, Any]) -> list[str]:
    """The parts that the report has, in their order."""
    for name, value in report.items():
        if name == "columns":
            continue
        if name not in PARTS:
            raise ValueError(f"report has {name!r}, which is none of: columns, {', '.join(PARTS)}")
        if isinstance(value, dict):
            unknown = set(value) - set(_OPTIONS[name])
            if unknown:
                known = ", ".join(sorted(_OPTIONS[name])) or "none"
                raise ValueError(f"report.{name} has {', '.join(sorted(unknown))}; its options are: {known}")
            for option, choices in _OPTIONS[name].items():
                if choices and value.get(option, choices[0]) not in choices:
                    raise ValueError(
                        f"report.{name}.{option} = {value[option]!r}: choose from {', '.join(choices)}"
                    )
        elif not isinstance(value, bool):
            raise ValueError(f"report.{name} = {value!r}: true, false or a table is expected")
    return [name for name, default in PARTS.items() if report.get(name, default) is not False]
