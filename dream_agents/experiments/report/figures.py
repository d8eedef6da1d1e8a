"""Figures of a report: SVG for the page, PNG for elsewhere."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dream_agents.evaluation.curves import MARKERS, Curve, draw_curves
from dream_agents.experiments.report.aggregates import METRICS, TAUS, Aggregate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

#: stands for the page's text colour, which is dark or light
_INK = "#010203"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "legend.fontsize": 7.5,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    "legend.labelcolor": _INK,
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A finished figure.

    :param name: of its files
    :param title: its caption
    :param svg: without a background, in the page's text colour
    :param png: on white
    """

    name: str
    title: str
    svg: str
    png: bytes


class Drawing:
    """A figure being drawn; axes are made within the report's style.

    :param name: of its files
    :param title: its caption
    :param rows: of axes
    :param columns: of axes
    :param width: inches of a column
    :param height: inches of a row
    """

    def __init__(
        self, name: str, title: str, rows: int = 1, columns: int = 1, width: float = 4.4, height: float = 3.2
    ):
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as New

        self.name, self.title = name, title
        self._matplotlib = matplotlib
        with matplotlib.rc_context(_STYLE):
            self.canvas: Canvas = New(figsize=(width * columns, height * rows), layout="constrained")
            FigureCanvasAgg(self.canvas)
            self.axes: list[Axes] = list(self.canvas.subplots(rows, columns, squeeze=False).flat)

    def finish(self) -> Figure:
        """Render the figure."""
        svg, png = io.StringIO(), io.BytesIO()
        with self._matplotlib.rc_context(_STYLE | {"svg.hashsalt": self.name}):
            for axes in self.axes:
                legend = axes.get_legend()
                for text in legend.get_texts() if legend else ():
                    text.set_color(_INK)
            self.canvas.savefig(png, format="png", dpi=150)
            self.canvas.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        whole = svg.getvalue()
        markup = whole[whole.index("<svg") :].replace(_INK, "currentColor")
        # A width of its own keeps the page from scaling it; ids are unique in the page by the figure's name.
        markup = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", markup, count=1)
        markup = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", markup, count=1)
        markup = re.sub(r'id="([^"]+)"', rf'id="{self.name}-\1"', markup)
        markup = re.sub(r'(url\(#|href="#)', rf"\1{self.name}-", markup)
        return Figure(self.name, self.title, markup, png.getvalue())


def curves_figure(
    name: str, task: str, curves: Sequence[Curve], markers: Sequence[Curve], ylabel: str
) -> Figure:
    """Learning curves of a task, published results as markers."""
    drawing = Drawing(name, f"{task}: {ylabel} over frames")
    (axes,) = drawing.axes
    draw_curves(axes, curves, markers)
    axes.set(title=task, xlabel="environment frames", ylabel=ylabel)
    return drawing.finish()


def aggregates_figure(aggregates: Sequence[Aggregate]) -> Figure:
    """Aggregates with their intervals, a panel a metric (the left of Fig. 2)."""
    methods = list(dict.fromkeys(a.method for a in aggregates))
    drawing = Drawing(
        "aggregates", "Aggregates of normalised scores, 95% intervals", 2, 2, 2.6, 0.9 + 0.22 * len(methods)
    )
    for number, (axes, metric) in enumerate(zip(drawing.axes, METRICS, strict=True)):
        found = {a.method: a for a in aggregates if a.metric == metric}
        for i, method in enumerate(methods):
            a = found[method]
            axes.plot(
                [a.low, a.high], [-i, -i], linewidth=6, alpha=0.35, color=f"C{i}", solid_capstyle="butt"
            )
            axes.plot([a.value], [-i], "|", markersize=11, markeredgewidth=2, color=f"C{i}")
        axes.set_yticks(
            [-i for i in range(len(methods))], methods if number % 2 == 0 else [""] * len(methods)
        )
        axes.set(title=metric, ylim=(0.6 - len(methods), 0.6))
        axes.grid(alpha=0.3, axis="x")
    return drawing.finish()


def profiles_figure(shares: Mapping[str, np.ndarray], intervals: Mapping[str, np.ndarray]) -> Figure:
    """Share of runs above each score (the right of Fig. 2)."""
    drawing = Drawing("profiles", "Performance profiles with 95% intervals")
    (axes,) = drawing.axes
    for method, share in shares.items():
        (line,) = axes.plot(TAUS, share, label=method)
        axes.fill_between(TAUS, *intervals[method], alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set(xlabel="normalised score τ", ylabel="share of runs with a score above τ", ylim=(-0.02, 1.02))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return drawing.finish()


def tradeoff_figure(points: Mapping[str, tuple[float, float]], ylabel: str) -> Figure:
    """What methods reach against what a decision takes.

    :param points: milliseconds and result by method
    :param ylabel: what the result is
    """
    drawing = Drawing("tradeoff", f"{ylabel} against milliseconds a decision")
    (axes,) = drawing.axes
    for i, (method, (ms, value)) in enumerate(points.items()):
        axes.plot([ms], [value], MARKERS[i % len(MARKERS)], color=f"C{i % 10}", label=method)
    axes.set(xscale="log", xlabel="milliseconds a decision", ylabel=ylabel)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    return drawing.finish()


def sweep_figure(
    name: str,
    task: str,
    option: str,
    lines: Mapping[str, Sequence[tuple[float, np.ndarray]]],
    references: Mapping[str, float],
    ylabel: str,
) -> Figure:
    """Results over the values of an option (Fig. 5).

    :param name: of its files
    :param task: the task
    :param option: that is varied
    :param lines: values, and results of the seeds, by agent
    :param references: results drawn as horizontal lines
    :param ylabel: what the results are
    """
    drawing = Drawing(name, f"{task}: {ylabel} over {option}")
    (axes,) = drawing.axes
    for label, points in lines.items():
        x = [value for value, _ in points]
        mean, std = ([float(of(results)) for _, results in points] for of in (np.mean, np.std))
        axes.errorbar(x, mean, yerr=std, marker="o", markersize=4, capsize=2, label=label)
    for i, (label, value) in enumerate(references.items()):
        axes.axhline(value, color=f"C{9 - i}", linestyle=":", label=label)
    axes.set(title=task, xlabel=option, ylabel=ylabel)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return drawing.finish()
