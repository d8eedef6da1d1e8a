"""Pictures of the analysis, and its rows as CSV."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dream_agents.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dream_agents.analysis.gradients import GradientRow
    from dream_agents.analysis.returns import ReturnRow

_LOOKS = {"true": ("C0", "o"), "learned": ("C1", "s")}


def write_rows(path: str | Path, rows: Sequence[Any]) -> None:
    """Write rows, which are dataclasses of one kind, as CSV; the file is replaced in one go.

    :param path: the file
    :param rows: one or more
    :raises ValueError: if there is none
    """
    if not rows:
        raise ValueError("there is no row to write")
    with replacing(Path(path)) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(rows[0]))
        writer.writerows(dataclasses.astuple(row) for row in rows)


def plot_gradients(rows: Sequence[GradientRow], out: str | Path) -> None:
    """Draw size and variance of planners' gradients over horizons (Fig. 13), a column for each planner.

    Lines are means over models, areas their standard deviation, below the mean no lower than the smallest.

    :param rows: of any models and planners
    :param out: the picture, in any format that matplotlib writes
    :raises ValueError: if there is nothing to draw
    """
    planners = _planners(rows)
    figure = _figure(3.6 * len(planners), 5.4)
    grid = figure.subplots(2, len(planners), sharex=True, sharey="row", squeeze=False)
    for column, planner in enumerate(planners):
        _draw_over_horizons(grid[0, column], rows, planner, lambda row: row.norm)
        _draw_over_horizons(grid[1, column], rows, planner, lambda row: row.variance)
        grid[0, column].set_title(planner)
    grid[0, 0].set_ylabel("norm of the gradient")
    grid[1, 0].set_ylabel("variance of the gradient")
    _finish(figure, "horizon", out)


def plot_esnr(rows: Sequence[GradientRow], out: str | Path) -> None:
    """Draw the expected signal-to-noise ratio (Eq. 17) over horizons (Fig. 14), a panel for each planner.

    Lines and areas are as in :func:`plot_gradients`; the dotted line is what gradients without any signal
    have, 1 / samples.

    :param rows: of any models and planners
    :param out: the picture, in any format that matplotlib writes
    :raises ValueError: if there is nothing to draw
    """
    planners = _planners(rows)
    figure = _figure(3.6 * len(planners), 3.4)
    (panels,) = figure.subplots(1, len(planners), sharex=True, sharey=True, squeeze=False)
    for axes, planner in zip(panels, planners, strict=True):
        _draw_over_horizons(axes, rows, planner, lambda row: row.esnr)
        axes.axhline(1 / rows[0].samples, color="0.5", linestyle=":", label="no signal")
        axes.set_title(planner)
    panels[0].set_ylabel("ESNR")
    _finish(figure, "horizon", out)


def plot_returns(rows: Sequence[ReturnRow], out: str | Path) -> None:
    """Draw predicted and obtained returns over training, and how much less was predicted (Fig. 15).

    Points are means over models and episodes, areas the standard deviation of episodes.

    :param rows: of any models over their training
    :param out: the picture, in any format that matplotlib writes
    :raises ValueError: if there is nothing to draw
    """
    if not rows:
        raise ValueError("there are no returns to draw")
    figure = _figure(8.4, 3.6)
    left, right = figure.subplots(1, 2, sharex=True)
    frames, episodes = _by_frames(rows)
    lines: dict[str, Callable[[ReturnRow], float]] = {
        "predicted": lambda row: row.predicted,
        "obtained to the end": lambda row: row.actual,
        "obtained over the horizon, then the model's value": lambda row: row.over_horizon,
    }
    for number, (label, value) in enumerate(lines.items()):
        means = [[_mean(value, episode) for episode in found] for found in episodes]
        _draw_band(left, frames, means, f"C{number}", "osD"[number], label)
        if number:
            gaps = [
                [_mean(value, episode) - _mean(lines["predicted"], episode) for episode in found]
                for found in episodes
            ]
            _draw_band(right, frames, gaps, f"C{number}", "osD"[number], "_")
    right.axhline(0, color="0.5", linewidth=1)
    left.set_ylabel("return")
    right.set_ylabel("obtained - predicted")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    _finish(figure, "environment frames", out)


def _planners(rows: Sequence[GradientRow]) -> list[str]:
    if not rows:
        raise ValueError("there are no gradients to draw")
    return list(dict.fromkeys(row.planner for row in rows))


def _draw_over_horizons(
    axes: Axes, rows: Sequence[GradientRow], planner: str, value: Callable[[GradientRow], float]
) -> None:
    """Draw one figure of a planner's gradients, a line for each kind of dynamics, on a logarithmic axis."""
    from matplotlib.ticker import MaxNLocator

    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    for dynamics in dict.fromkeys(row.dynamics for row in rows):
        chosen = [row for row in rows if (row.planner, row.dynamics) == (planner, dynamics)]
        horizons = sorted({row.horizon for row in chosen})
        values = [[value(row) for row in chosen if row.horizon == horizon] for horizon in horizons]
        color, marker = _LOOKS.get(dynamics, ("C2", "D"))
        _draw_band(axes, horizons, values, color, marker, f"{dynamics} dynamics")


def _draw_band(
    axes: Axes, x: Sequence[int], values: Sequence[Sequence[float]], color: str, marker: str, label: str
) -> None:
    """Draw means of ``values`` over ``x``, and where there are several their standard deviation."""
    mean, std = np.array([np.mean(v) for v in values]), np.array([np.std(v) for v in values])
    axes.plot(x, mean, color=color, marker=marker, markersize=4, label=label)
    if any(len(found) > 1 for found in values):
        # No lower than what was seen: on a logarithmic axis a deviation above the mean would have no end.
        low = np.maximum(mean - std, [np.min(v) for v in values])
        axes.fill_between(x, low, mean + std, color=color, alpha=0.2, linewidth=0)


def _by_frames(rows: Sequence[ReturnRow]) -> tuple[list[int], list[list[list[ReturnRow]]]]:
    """Frames in their order, and for each the rows of every episode of every model."""
    found: dict[int, dict[tuple[str, str, int], list[ReturnRow]]] = {}
    for row in rows:
        episodes = found.setdefault(row.frames, {})
        episodes.setdefault((row.model, row.planner, row.episode), []).append(row)
    frames = sorted(found)
    return frames, [list(found[count].values()) for count in frames]


def _mean(value: Callable[[ReturnRow], float], rows: Sequence[ReturnRow]) -> float:
    return float(np.mean([value(row) for row in rows]))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _finish(figure: Figure, xlabel: str, out: str | Path) -> None:
    """Put one legend above the panels, and write the picture."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)), frameon=False)
    figure.supxlabel(xlabel, fontsize="medium")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
