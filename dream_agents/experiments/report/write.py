"""Writes the report of an experiment's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dream_agents.experiments.about import read_about
from dream_agents.experiments.engine import FAILURES
from dream_agents.experiments.report.content import Content
from dream_agents.experiments.report.figures import Figure
from dream_agents.experiments.report.page import Picture, Section, render
from dream_agents.experiments.report.parts import SECTIONS
from dream_agents.experiments.report.tables import Table
from dream_agents.experiments.results import write_results
from dream_agents.experiments.spec import experiment_of
from dream_agents.files import replacing

#: the report's folder in the experiment's, and its page
REPORT, PAGE = "report", "report.html"


def write_report(folder: str | Path, published: Sequence[str | Path] = (), films: bool = True) -> Path:
    """Write the page, and its figures as PNG and tables as CSV and Markdown; return the page.

    It may be called while the experiment runs: the report shows what there is.

    :param folder: the experiment's
    :param published: files of published curves to draw as markers, see
        :func:`~dream_agents.evaluation.read_published_curves`
    :param films: False leaves out films, which take the longest
    :raises FileNotFoundError: if the folder holds no experiment
    :raises ImportError: if the extra ``report`` is missing, and the report has aggregates
    """
    folder = Path(folder)
    about = read_about(folder)
    content = Content(experiment_of(about["experiment"]), folder)
    write_results(content.jobs, folder)
    files = [Path(file) for file in published]
    parts = [part for part in content.parts if films or part != "films"]
    sections = [SECTIONS[part](content, files) for part in parts]
    sections.append(_made_by(content, about["invocations"]))
    out = folder / REPORT
    _write_files(out, sections)
    experiment = content.experiment
    with replacing(out / PAGE) as file:
        file.write(render(experiment.title, _summary(content), sections))
    return out / PAGE


def _write_files(out: Path, sections: Sequence[Section]) -> None:
    """Write every figure and table to a file of its own."""
    for name in ("figures", "tables"):
        (out / name).mkdir(parents=True, exist_ok=True)
        for old in (out / name).iterdir():
            old.unlink()  # a figure that the report no longer has would pass for one of it
    for item in (item for section in sections for item in section.items):
        if isinstance(item, Figure | Picture):
            (out / "figures" / f"{item.name}.png").write_bytes(item.png)
        elif isinstance(item, Table):
            (out / "tables" / f"{item.name}.csv").write_text(item.csv(), encoding="utf-8")
            (out / "tables" / f"{item.name}.md").write_text(item.markdown(), encoding="utf-8")


def _summary(content: Content) -> str:
    experiment = content.experiment
    done = sum(job.is_done() for job in content.jobs)
    return (
        f"{experiment.about.strip()} {done} of {len(content.jobs)} runs are finished and evaluated.".strip()
    )


def _made_by(content: Content, invocations: Sequence[dict[str, Any]]) -> Section:
    """What was run, how, with what, and what failed."""
    experiment = content.experiment
    rows = [
        ["frames", f"{experiment.frames:,}"],
        ["seeds", ", ".join(map(str, experiment.seeds))],
        ["episodes of an evaluation", f"{experiment.evaluation.episodes}, seed {experiment.evaluation.seed}"],
        *_told([{**one, **one["machine"], **one["versions"]} for one in invocations]),
    ]
    items: list[Any] = [f"Changed from the experiment's file: {change}." for change in experiment.changes]
    items.append(Table("made-with", "Made with", ["what", "value"], rows))
    path = content.folder / FAILURES
    failures = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    if failures:
        lines = [[failure["job"], failure["error"], failure["log"]] for failure in failures]
        items.append(Table("failures", "Failed", ["run", "error", "log"], lines))
    return Section("How it was made", items)


def _told(invocations: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    """Rows of what an experiment was run with, each value once, in the order of the invocations."""
    for name in dict.fromkeys(name for one in invocations for name in one):
        values = [one[name] for one in invocations if name in one]
        if not isinstance(values[0], dict):
            yield [name, "; then ".join(dict.fromkeys(map(str, values)))]
