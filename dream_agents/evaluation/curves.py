"""Learning curves of one's own runs, with published ones in the same picture."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dream_agents.runs.folder import EPISODES, EVALUATIONS
from dream_agents.runs.tables import whole_lines
from dream_agents.wrappers import resolve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: matplotlib's markers, one a method
MARKERS = "osD^vPX"


@dataclass(frozen=True)
class Curve:
    """Return over frames of the simulator.

    :param frames: ascending
    :param mean: return at each
    :param low: lower end of the spread
    :param high: upper end of the spread
    :param label: what it is, for the legend
    """

    frames: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    label: str


def read_own_curve(
    path: str | Path,
    label: str | None = None,
    window: int = 10,
    *,
    success: bool = False,
    evaluations: bool = True,
) -> Curve:
    """Read a run's ``evaluations.csv`` (mean and standard deviation over episodes) or ``episodes.csv``.

    Returns of training episodes are averaged over the last ``window`` ones; the spread is theirs.

    :param path: the file, or a run's folder, where evaluations are preferred
    :param label: for the legend; by default the folder's name
    :param window: training episodes that are averaged
    :param success: the rate of success of evaluations instead of the return
    :param evaluations: False reads training episodes of a folder even where there are evaluations
    :raises FileNotFoundError: if a folder has neither file
    :raises ValueError: if the file has other columns, or no rows, or rates of success are asked for and it has none
    """
    path = _own_file(Path(path), evaluations)
    rows = _rows(path, whole_lines(path))
    label = label or path.parent.name
    frames = _column(path, rows, "frames")
    if success:
        if not rows[0].get("success_rate"):
            raise ValueError(
                f"{path} has no rates of success: evaluations of tasks that say whether an episode was successful have"
            )
        rate = _column(path, rows, "success_rate")
        return Curve(frames, rate, rate, rate, label)
    if "mean" in rows[0]:
        mean, std = _column(path, rows, "mean"), _column(path, rows, "std")
        return Curve(frames, mean, mean - std, mean + std, label)
    returns = _column(path, rows, "return")
    recent = [returns[max(0, i + 1 - window) : i + 1] for i in range(len(returns))]
    mean, std = np.array([part.mean() for part in recent]), np.array([part.std() for part in recent])
    return Curve(frames, mean, mean - std, mean + std, f"{label} (while learning)")


def read_published_curves(path: str | Path, task: str) -> list[Curve]:
    """Read one task's curves, one a method, from a file of published results.

    Two formats are understood: ``task,env_step,seed,return,success`` with a row a seed, whose spread is from the
    worst seed to the best; and ``method,task,env_step,mean_return,ci95_low,ci95_high``. ``env_step`` counts frames.

    :param path: the file
    :param task: an environment's id or any of its names
    :raises ValueError: if the file has other columns, or nothing on this task
    """
    path = Path(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = _rows(path, file)
    if "task" not in rows[0]:
        raise ValueError(f"{path} has no column task; its columns are {', '.join(rows[0])}")
    chosen: dict[str, list[dict[str, str]]] = {}
    spellings = _spellings(task)
    for row in rows:
        if row["task"] in spellings:
            chosen.setdefault(row.get("method") or path.stem, []).append(row)
    if not chosen:
        tasks = sorted({row["task"] for row in rows})
        raise ValueError(f"{path} has nothing on {task}; its tasks are {', '.join(tasks)}")
    return [_published_curve(path, method, method_rows) for method, method_rows in chosen.items()]


def _published_curve(path: Path, method: str, rows: list[dict[str, str]]) -> Curve:
    frames = _column(path, rows, "env_step")
    if "mean_return" in rows[0]:
        mean, low, high = (_column(path, rows, name) for name in ("mean_return", "ci95_low", "ci95_high"))
        return Curve(frames, mean, low, high, f"{method}, published (95% interval)")
    returns = _column(path, rows, "return")
    steps = np.unique(frames)
    groups = [returns[frames == step] for step in steps]
    mean, low, high = (np.array([of(group) for group in groups]) for of in (np.mean, np.min, np.max))
    seeds = len({row["seed"] for row in rows})
    return Curve(steps, mean, low, high, f"{method}, published ({seeds} seeds, worst to best)")


def plot_learning_curve(
    own: Mapping[str, str | Path | Sequence[str | Path]],
    out: str | Path,
    task: str,
    published: str | Path | None = None,
    *,
    success: bool = False,
) -> None:
    """Draw one's own learning curves over frames, and published ones as markers.

    :param own: files or run folders (see :func:`read_own_curve`) by their labels; several are an agent's seeds
    :param out: the picture, in any format that matplotlib writes
    :param task: the environment, for the title and to find the published curve
    :param published: file of published results (see :func:`read_published_curves`)
    :param success: rates of success instead of returns
    :raises ValueError: if there is nothing to draw, or rates of success are to be drawn with published returns
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from dream_agents.evaluation.seeds import read_seeds

    if success and published is not None:
        raise ValueError("published files hold returns; draw rates of success without them")
    curves = [
        read_seeds([paths] if isinstance(paths, str | Path) else paths, label, success=success)
        for label, paths in own.items()
    ]
    references = read_published_curves(published, task) if published is not None else []
    if not curves and not references:
        raise ValueError("there is no curve to draw")
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_curves(axes, curves, references)
    axes.set(title=task, xlabel="environment frames", ylabel="rate of success" if success else "return")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)


def draw_curves(axes: Axes, curves: Sequence[Curve], references: Sequence[Curve] = ()) -> None:
    """Draw curves as lines with their spread, and references as markers: between these nobody measured.

    :param axes: matplotlib's
    :param curves: lines
    :param references: markers, drawn as far as the curves go
    """
    end = max(curve.frames[-1] for curve in curves or references)
    for i, curve in enumerate(references):
        shown = curve.frames <= 1.02 * end
        spread = np.abs(np.stack([curve.mean - curve.low, curve.high - curve.mean]))[:, shown]
        axes.errorbar(
            curve.frames[shown],
            curve.mean[shown],
            yerr=spread,
            fmt=MARKERS[i % len(MARKERS)],
            markersize=4,
            alpha=0.7,
            elinewidth=0.8,
            linestyle="none",
            label=curve.label,
        )
    for curve in curves:
        (line,) = axes.plot(
            curve.frames, curve.mean, label=curve.label, marker="." if len(curve.frames) == 1 else ""
        )
        axes.fill_between(curve.frames, curve.low, curve.high, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set_xlim(0, 1.02 * max(end, 1))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)


def has_evaluations(path: str | Path) -> bool:
    """Whether a run's folder, or a file, has evaluations made on the way.

    :param path: a run's folder, or one of its files
    """
    path = Path(path)
    if path.is_dir():
        path = path / EVALUATIONS
    return path.name == EVALUATIONS and has_rows(path)


def has_rows(path: Path) -> bool:
    """Whether a file is there and has more than the names of its columns.

    :param path: a table of a run
    """
    return len(whole_lines(path)) > 1


def _own_file(path: Path, evaluations: bool) -> Path:
    """Return the file itself, or a run's evaluations, or its episodes where it was never evaluated."""
    if not path.is_dir():
        return path
    names = (EVALUATIONS, EPISODES) if evaluations else (EPISODES,)
    files = [path / name for name in names if (path / name).is_file()]
    if not files:
        raise FileNotFoundError(f"{path} has no {EVALUATIONS} or {EPISODES}; is it the folder of a run?")
    return files[0] if has_rows(files[0]) else files[-1]


def _rows(path: Path, lines: Iterable[str]) -> list[dict[str, str]]:
    rows = list(csv.DictReader(lines))
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows


def _column(path: Path, rows: list[dict[str, str]], name: str) -> np.ndarray:
    if name not in rows[0]:
        raise ValueError(f"{path} has no column {name}; its columns are {', '.join(rows[0])}")
    return np.array([float(row[name]) for row in rows])


def _spellings(task: str) -> set[str]:
    """Every name of an environment, or just the one given where no suite knows it."""
    try:
        suite, id = resolve(task)
    except ValueError:
        return {task}
    return {task, id, *suite.task(id).aliases}
