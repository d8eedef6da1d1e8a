"""Learning curves of one's own runs, with published ones in the same picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dream_agents.runs.folder import EPISODES, EVALUATIONS
from dream_agents.wrappers import resolve


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


def read_own_curve(path: str | Path, label: str | None = None, window: int = 10) -> Curve:
    """Read a run's ``evaluations.csv`` (mean and standard deviation over episodes) or ``episodes.csv``.

    Returns of training episodes are averaged over the last ``window`` ones; the spread is theirs.

    :param path: the file, or a run's folder, where evaluations are preferred
    :param label: for the legend; by default the folder's name
    :param window: training episodes that are averaged
    :raises FileNotFoundError: if a folder has neither file
    :raises ValueError: if the file has other columns, or no rows
    """
    path = _own_file(Path(path))
    rows = _read(path)
    label = label or path.parent.name
    frames = _column(path, rows, "frames")
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
    rows = _read(path)
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
    own: Mapping[str, str | Path], out: str | Path, task: str, published: str | Path | None = None
) -> None:
    """Draw one's own learning curves over frames, and published ones with them.

    :param own: files or run folders (see :func:`read_own_curve`) by their labels
    :param out: the picture, in any format that matplotlib writes
    :param task: the environment, for the title and to find the published curve
    :param published: file of published results (see :func:`read_published_curves`)
    :raises ValueError: if there is nothing to draw
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = [read_own_curve(path, label) for label, path in own.items()]
    references = read_published_curves(published, task) if published is not None else []
    if not curves and not references:
        raise ValueError("there is no curve to draw")
    end = max(curve.frames[-1] for curve in curves or references)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    styled = [*((curve, "--") for curve in references), *((curve, "-") for curve in curves)]
    for curve, style in styled:
        (line,) = axes.plot(curve.frames, curve.mean, style, label=curve.label)
        axes.fill_between(curve.frames, curve.low, curve.high, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set(title=task, xlabel="environment frames", ylabel="return", xlim=(0, 1.02 * end))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)


def _own_file(path: Path) -> Path:
    """Return the file itself, or a run's evaluations, or its episodes where it was never evaluated."""
    if not path.is_dir():
        return path
    files = [path / name for name in (EVALUATIONS, EPISODES) if (path / name).is_file()]
    if not files:
        raise FileNotFoundError(f"{path} has no {EVALUATIONS} or {EPISODES}; is it the folder of a run?")
    with files[0].open(encoding="utf-8") as file:
        has_rows = len(file.readlines()) > 1
    return files[0] if has_rows else files[-1]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
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
