"""Learning curves over the seeds of an agent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dream_agents.evaluation.curves import Curve, has_evaluations, read_own_curve

#: 97.5% quantiles of Student's t for 1 to 10 degrees of freedom
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_POINTS = 200


def read_seeds(paths: Sequence[str | Path], label: str, *, success: bool = False) -> Curve:
    """Mean and 95% interval over the seeds of an agent on a task.

    Evaluations are read where all runs have some, training episodes otherwise: a line never has both. One run alone
    keeps the spread over its own episodes.

    :param paths: runs' folders or files, one a seed
    :param label: what it is, for the legend
    :param success: rates of success instead of returns
    :raises ValueError: if there is none, or rates of success are asked for where evaluations have none
    """
    if not paths:
        raise ValueError(f"{label}: there is no run")
    evaluations = all(has_evaluations(path) for path in paths)
    curves = [read_own_curve(path, label, success=success, evaluations=evaluations) for path in paths]
    return curves[0] if len(curves) == 1 else over_seeds(curves)


def over_seeds(curves: Sequence[Curve]) -> Curve:
    """Mean over curves and its 95% interval (Student's t), from where all have begun to where the first one ends.

    Frames that all curves have are kept; where they have hardly any in common, each is interpolated.

    :param curves: one a seed; two or more
    """
    start, end = max(c.frames[0] for c in curves), min(c.frames[-1] for c in curves)
    if end < start:
        raise ValueError(f"{curves[0].label}: the runs have no frames in common")
    grid = curves[0].frames
    for curve in curves[1:]:
        grid = np.intersect1d(grid, curve.frames)
    if len(grid) < min(len(c.frames) for c in curves) // 2 or not len(grid):
        grid = np.linspace(start, end, _POINTS) if end > start else np.array([start])
    values = np.array([np.interp(grid, c.frames, c.mean) for c in curves])  # [seeds, frames]
    mean, half = values.mean(0), interval(values)
    return Curve(grid, mean, mean - half, mean + half, f"{curves[0].label}, {len(curves)} seeds")


def interval(values: np.ndarray) -> np.ndarray:
    """Half of the 95% interval of the mean over the first axis, by Student's t.

    :param values: ``[seeds, ...]``, two seeds or more
    """
    count = len(values)
    half: np.ndarray = _quantile(count - 1) * values.std(0, ddof=1) / np.sqrt(count)
    return half


def _quantile(freedom: int) -> float:
    """The 97.5% quantile of Student's t; beyond the table by its expansion in 1 / freedom, to three digits."""
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    return 1.96 + 2.372 / freedom + 2.82 / freedom**2
