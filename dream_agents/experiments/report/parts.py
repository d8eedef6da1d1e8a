"""The parts of a report, each from what the experiment's folder holds so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dream_agents.evaluation.curves import Curve, has_evaluations, has_rows, read_published_curves
from dream_agents.evaluation.seeds import read_seeds
from dream_agents.experiments.jobs import Job, plain
from dream_agents.experiments.report.aggregates import (
    PAIR_REPS,
    REPS,
    aggregates,
    probabilities_of_improvement,
    profiles,
)
from dream_agents.experiments.report.content import Content, Method, short
from dream_agents.experiments.report.figures import (
    Figure,
    aggregates_figure,
    curves_figure,
    profiles_figure,
    sweep_figure,
    tradeoff_figure,
)
from dream_agents.experiments.report.page import Film, Section
from dream_agents.experiments.report.scores import metric_of, normalised
from dream_agents.experiments.report.tables import Table, aggregate_table, results_tables
from dream_agents.runs import EPISODES

_NAMES = {"return": "return", "success": "rate of success", "ms": "milliseconds"}


def table_section(content: Content, _: Sequence[Path]) -> Section:
    """Final results, and published ones."""
    return Section("Results", results_tables(content))


def curves_section(content: Content, files: Sequence[Path]) -> Section:
    """Learning curves of each task over seeds, published results as markers."""
    items: list[Figure | str] = []
    beyond: set[str] = set()
    left_out: list[str] = []
    for task in content.experiment.tasks:
        curves, success, missing = _curves(content, task)
        left_out += missing
        if not curves:
            continue
        end = max(curve.frames[-1] for curve in curves)
        markers = [marker for marker in _markers(content, task) if success == (metric_of(task) == "success")]
        beyond |= {f"{m.label} ({m.frames[0]:,.0f} frames)" for m in markers if m.frames[0] > 1.02 * end}
        markers = [marker for marker in markers if marker.frames[0] <= 1.02 * end]
        if not success:
            markers += [curve for file in files for curve in _published_file(file, task)]
        name = plain(f"curves-{short(task)}")
        items.append(
            curves_figure(name, short(task), curves, markers, _NAMES["success" if success else "return"])
        )
    left_out = [f"Left out: {'; '.join(left_out)}."] if left_out else []
    if not items:
        return Section("Learning curves", left_out or ["No run has ended an episode yet."])
    note = (
        "Lines are means over seeds and areas 95% intervals (Student's t); with one seed, areas are the standard "
        'deviation over episodes. Lines named "while learning" are means of ten training episodes, others are '
        "evaluations. Markers are published results."
    )
    if beyond:
        note += f" Beyond these curves, and not drawn: {'; '.join(sorted(beyond))}."
    return Section("Learning curves", [note, *left_out, *items])


def _curves(content: Content, task: str) -> tuple[list[Curve], bool, list[str]]:
    """Curves of the agents that have begun, whether they are rates of success, and what there is no curve of."""
    runs: dict[str, list[Path]] = {}
    for job in content.jobs:
        if job.task == task and job.variant.agent is not None and _has_curve(job):
            runs.setdefault(job.variant.title, []).append(job.run)
    success = metric_of(task) == "success" and bool(runs)
    success = success and all(has_evaluations(run) for paths in runs.values() for run in paths)
    curves, missing = [], []
    for label, paths in runs.items():
        try:
            curves.append(read_seeds(paths, label, success=success))
        except ValueError as error:  # a seed that has only begun has no frames in common with the others
            missing.append(f"{short(task)}, {error}")
    return curves, success, missing


def _has_curve(job: Job) -> bool:
    return has_evaluations(job.run) or has_rows(job.run / EPISODES)


def _markers(content: Content, task: str) -> Iterator[Curve]:
    for published in content.published:
        if published.frames is not None and task in published.results:
            mean, std = (np.array([value]) for value in published.results[task])
            label = f"{published.method}, published"
            yield Curve(np.array([published.frames]), mean, mean - std, mean + std, label)


def _published_file(file: Path, task: str) -> list[Curve]:
    """Curves of a file on a task; none where it has nothing on it."""
    try:
        return read_published_curves(file, task)
    except ValueError as error:
        if "has nothing on" in str(error):
            return []
        raise


def aggregates_section(content: Content, _: Sequence[Path]) -> Section:
    """rliable's aggregates, profiles and probabilities of improvement."""
    title = "Aggregates over tasks"
    scores, tasks, left_out = content.scores(content.methods)
    notes = [f"Left out: {left_out}."] if left_out else []
    if not tasks or not scores:
        return Section(
            title,
            [*notes, "There is no task that all methods are evaluated on, and whose results have a scale."],
        )
    runs = next(iter(scores.values())).shape[0]
    notes.insert(
        0,
        f"Normalised scores (Eq. 7) of {len(tasks)} tasks, {runs} seed{'s' * (runs > 1)} each; 95% intervals by "
        f"stratified bootstrap ({REPS} resamplings, rliable)."
        + (
            " With one seed there is nothing to resample, so the intervals have no width."
            if runs == 1
            else ""
        ),
    )
    numbers = aggregates(scores)
    items: list[Any] = [*notes, aggregates_figure(numbers), profiles_figure(*profiles(scores))]
    items.append(aggregate_table(numbers, "aggregates", "Aggregates", "95% intervals in brackets."))
    improvements = probabilities_of_improvement(scores)
    if improvements:
        note = (
            "How likely a run of the row's method is better than one of the column's, on a task drawn at random; 95% "
            f"intervals of {PAIR_REPS} resamplings."
        )
        items.append(aggregate_table(improvements, "improvement", "Probability of improvement", note))
    published = _published_means(content, tasks)
    return Section(title, [*items, *([published] if published else [])])


def _published_means(content: Content, tasks: Sequence[str]) -> Table | None:
    """Mean of the published results' normalised scores; other aggregates need single runs, which nobody published."""
    rows = []
    for published in content.published:
        if all(task in published.results for task in tasks):
            mean = np.mean([normalised(task, published.results[task][0]) for task in tasks])
            rows.append([published.method, f"{mean:.3f}"])
    note = "Of the same tasks. Other aggregates need results of single seeds, which are not published."
    title = "Published mean normalised scores"
    return Table("published-scores", title, ["method", "mean"], rows, note) if rows else None


def tradeoff_section(content: Content, _: Sequence[Path]) -> Section:
    """Results against milliseconds a decision."""
    title = "Results against time"
    points = {}
    tasks = [
        task
        for task in content.experiment.tasks
        if all(len(content.results(method, task, "ms")) for method in content.methods)
    ]
    if not tasks:
        return Section(title, ["There is no task that all methods are evaluated on yet."])
    scaled = not any(np.isnan(normalised(task, 0.0)) for task in tasks)
    if not scaled:
        tasks = tasks[:1]
    for method in content.methods:
        ms = np.mean([content.results(method, task, "ms").mean() for task in tasks])
        points[method.label] = (
            float(ms),
            float(np.mean([_result(content, method, t, scaled) for t in tasks])),
        )
    ylabel = "mean normalised score" if scaled else f"{_NAMES[metric_of(tasks[0])]} on {short(tasks[0])}"
    note = f"Means over seeds of {', '.join(map(short, tasks))}. Time is the median of an evaluation, on this machine."
    return Section(title, [note, tradeoff_figure(points, ylabel)])


def _result(content: Content, method: Method, task: str, scaled: bool) -> float:
    value = float(content.results(method, task, metric_of(task)).mean())
    return normalised(task, value) if scaled else value


def sweep_section(content: Content, _: Sequence[Path]) -> Section:
    """Results over the values of options that are lists in the experiment's file (Fig. 5)."""
    experiment = content.experiment
    items: list[Figure | str] = []
    reference = content.option("sweep", "reference")
    for task in experiment.tasks:
        kind = metric_of(task)
        for (swept, option), members in _swept(content).items():
            lines = {
                label: [(x, content.results(method, task, kind)) for x, method in points]
                for label, points in members.items()
            }
            lines = {k: [(x, r) for x, r in v if len(r)] for k, v in lines.items()}
            lines = {k: v for k, v in lines.items() if v}
            if not lines:
                continue
            references = {}
            for agent in experiment.agents.values():
                values = content.results(Method("", agent.name, reference or ""), task, kind)
                if len(values):
                    references[f"{agent.title}, {experiment.planners[reference].title}"] = float(
                        values.mean()
                    )
            name = plain(f"sweep-{short(task)}-{swept}-{option}")
            items.append(sweep_figure(name, short(task), option, lines, references, _NAMES[kind]))
    return Section("Sweeps", items or ["Nothing of the sweep is evaluated yet."])


def _swept(content: Content) -> dict[tuple[str, str], dict[str, list[tuple[float, Method]]]]:
    """Methods of each sweep by its name and option, then by the line's label; names end in ``,option=value``."""
    found: dict[tuple[str, str], dict[str, list[tuple[float, Method]]]] = {}
    for method in content.methods:
        for name, other in ((method.planner, method.agent), (method.agent, method.planner)):
            base, *settings = name.split(",")
            for setting in settings:
                option, _, value = setting.partition("=")
                rest = [s for s in settings if s != setting]
                try:
                    x = float(value)
                except ValueError:
                    continue  # words have no place on an axis; the table has them
                label = ", ".join([other, *rest])
                found.setdefault((base, option), {}).setdefault(label, []).append((x, method))
    return {
        key: {label: sorted(p, key=lambda point: point[0]) for label, p in v.items()}
        for key, v in found.items()
    }


def analysis_section(content: Content, _: Sequence[Path]) -> Section:
    """Section D of the paper: gradients through models, or predicted against obtained returns."""
    from dream_agents.experiments.report.analysis import analysis_pictures

    kind = content.option("analysis", "kind", "gradients")
    return Section("Analysis", analysis_pictures(content, kind))


def films_section(content: Content, _: Sequence[Path]) -> Section:
    """A film of each agent that is ready, on the first task."""
    from dream_agents.experiments.report.films import films

    items: list[Film | str] = films(content)
    return Section("Films", items)


#: what makes each part
SECTIONS: Mapping[str, Callable[[Content, Sequence[Path]], Section]] = {
    "table": table_section,
    "curves": curves_section,
    "aggregates": aggregates_section,
    "tradeoff": tradeoff_section,
    "sweep": sweep_section,
    "analysis": analysis_section,
    "films": films_section,
}
