"""Tables in the paper's form, as CSV, Markdown and HTML."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dream_agents.experiments.report.aggregates import Aggregate
from dream_agents.experiments.report.content import Content, short
from dream_agents.experiments.report.scores import metric_of


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    :param name: of its files
    :param title: its heading
    :param columns: headings
    :param rows: texts, as many in each as there are columns
    :param note: what the numbers are
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def csv(self) -> str:
        """The table as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.columns, *self.rows])
        return text.getvalue()

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        body = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        return f"{body}\n\n{self.note}\n" if self.note else body + "\n"

    def html(self) -> str:
        """The table in HTML; wide ones scroll."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows
        )
        note = f"<p class=note>{html.escape(self.note)}</p>" if self.note else ""
        return (
            f'<div class=scroll><table id="{self.name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
            f"</table></div>{note}"
        )


class _Result(NamedTuple):
    """Mean and standard deviation of a cell, none for one value, and what is said after them."""

    mean: float
    std: float | None
    note: str = ""


def results_tables(content: Content) -> list[Table]:
    """Mean and standard deviation over seeds for each task and method, and the published ones, if there are any."""
    metric = content.option("table", "metric")
    methods = {method.label: method for method in content.methods}

    def ours(label: str, task: str) -> _Result | None:
        values = content.results(methods[label], task, metric or metric_of(task))
        if not len(values):
            return None
        seeds = content.seeds(methods[label])
        note = f" ({len(values)} of {seeds} seeds)" if len(values) < seeds else ""
        return _Result(float(values.mean()), float(values.std()) if len(values) > 1 else None, note)

    rows = _rows(content, list(methods), ours, metric)
    tables = [Table("results", "Results", ["task", *methods], rows, _note(content, metric))]
    published = _published_table(content, metric)
    return [*tables, published] if published else tables


def _published_table(content: Content, metric: str | None) -> Table | None:
    labels = [method.label for method in content.methods]
    labels = [label for label in labels if any(p.method == label for p in content.published)]
    labels += [p.method for p in content.published if p.method not in labels]
    if not labels:
        return None

    def published(label: str, task: str) -> _Result | None:
        found = content.published_result(label, task)
        return None if found is None else _Result(*found)

    rows = _rows(content, labels, published, metric, empty=False)
    sources = "; ".join(dict.fromkeys(p.source for p in content.published))
    return Table("published", "Published results", ["task", *labels], rows, f"From {sources}.")


def _rows(
    content: Content,
    labels: Sequence[str],
    result: Callable[[str, str], _Result | None],
    metric: str | None,
    empty: bool = True,
) -> list[list[str]]:
    """A row a task, and one of means over tasks where all have the same metric.

    :param labels: of the columns
    :param result: mean and standard deviation of a column on a task; None where there is none
    :param empty: whether tasks without any result have a row
    """
    rows: list[list[str]] = []
    means: dict[str, list[float]] = {label: [] for label in labels}
    for task in content.experiment.tasks:
        found = {label: result(label, task) for label in labels}
        if not empty and not any(found.values()):
            continue
        kind = metric or metric_of(task)
        rows.append([short(task), *("" if one is None else _cell(one, kind) for one in found.values())])
        for label, one in found.items():
            if one is not None:
                means[label].append(one.mean)
    kinds = {metric or metric_of(task) for task in content.experiment.tasks}
    if len(rows) > 1 and len(kinds) == 1:
        rows.append(_mean_row(labels, means, len(rows), kinds.pop()))
    return rows


def _mean_row(labels: Sequence[str], means: dict[str, list[float]], count: int, kind: str) -> list[str]:
    """Mean and standard deviation over tasks, of methods that have all."""
    row = ["mean over tasks"]
    for label in labels:
        values = np.array(means[label])
        row.append(_cell(_Result(values.mean(), values.std()), kind) if len(values) == count else "")
    return row


def aggregate_table(aggregates: Sequence[Aggregate], name: str, title: str, note: str) -> Table:
    """Numbers with intervals, a row a method."""
    metrics = list(dict.fromkeys(a.metric for a in aggregates))
    methods = list(dict.fromkeys(a.method for a in aggregates))
    found = {(a.method, a.metric): a for a in aggregates}
    rows = []
    for method in methods:
        numbers = [found.get((method, metric)) for metric in metrics]
        rows.append(
            [method, *("" if a is None else f"{a.value:.3f} ({a.low:.3f} to {a.high:.3f})" for a in numbers)]
        )
    return Table(name, title, ["method", *metrics], rows, note)


def _cell(result: _Result, metric: str) -> str:
    digits = 0 if metric == "return" else 2
    spread = "" if result.std is None else f" ± {result.std:.{digits}f}"
    return f"{result.mean:.{digits}f}{spread}{' ms' if metric == 'ms' else ''}{result.note}"


def _note(content: Content, metric: str | None) -> str:
    evaluation = content.experiment.evaluation
    if metric == "ms":
        return (
            "Milliseconds of a decision, the median of an evaluation; mean and standard deviation over seeds. "
            "Measured on the machine below, while the other workers ran where there were several."
        )
    kinds = {metric_of(task) for task in content.experiment.tasks}
    said = {"return": "returns", "success": "rates of success"}
    note = (
        f"Mean {' and '.join(said[kind] for kind in sorted(kinds))} of {evaluation.episodes} episodes; mean and "
        "standard deviation over seeds, in the last row over tasks. Empty: not evaluated yet."
    )
    fewest = content.fewest_episodes()
    if 0 < fewest < evaluation.episodes:
        note += f" Evaluations that have not ended count with what they have, {fewest} episodes or more."
    return note
