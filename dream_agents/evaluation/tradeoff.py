"""What a planner returns against what it takes: a picture of evaluation results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dream_agents.evaluation.result import EvaluationResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_MARKERS = "osD^vP*X<>"


def plot_tradeoff(results: Sequence[EvaluationResult], out: str | Path) -> None:
    """Draw mean returns over milliseconds a decision, a panel for each model and a marker for each planner.

    Bars are 95% bootstrap intervals of the means. Milliseconds are for one environment.

    :param results: of any models and planners
    :param out: the picture, in any format that matplotlib writes
    :raises ValueError: if there is nothing to draw
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not results:
        raise ValueError("there is no result to draw")
    panels: dict[str, list[EvaluationResult]] = {}
    for result in results:
        panels.setdefault(result.model or result.env, []).append(result)
    labels = list(dict.fromkeys(result.planner_label for result in results))
    looks = {label: (f"C{i % 10}", _MARKERS[i % len(_MARKERS)]) for i, label in enumerate(labels)}
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.6 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes, (title, found) in zip(grid.flat, panels.items(), strict=False):
        _draw_panel(axes, title, found, looks)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        handles |= {handle.get_label(): handle for handle in axes.containers}
    figure.legend(
        handles.values(), handles, loc="outside upper center", ncols=min(3, len(handles)), frameon=False
    )
    figure.supxlabel("milliseconds a decision")
    figure.supylabel("mean return")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)


def _draw_panel(
    axes: Axes, title: str, results: Sequence[EvaluationResult], looks: dict[str, tuple[str, str]]
) -> None:
    for result in results:
        color, marker = looks[result.planner_label]
        low, high = result.interval or (result.mean, result.mean)
        axes.errorbar(
            result.latency_ms,
            result.mean,
            [[result.mean - low], [high - result.mean]],
            fmt=marker,
            color=color,
            capsize=2,
            label=result.planner_label,
        )
    axes.set_title(title, fontsize=9)
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
