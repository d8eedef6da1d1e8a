"""What rewards are made of: dm_control's `tolerance`, and the terms that several tasks share."""

from __future__ import annotations

import math
from typing import Literal, overload

import numpy as np

from dream_agents.wrappers.humanoid_bench.state import State, Vector

Sigmoid = Literal["gaussian", "linear", "quadratic"]

STAND_HEIGHT = 1.65
"""Height of the head of a robot that stands, in metres."""


@overload
def tolerance(
    x: float,
    lower: float = ...,
    upper: float = ...,
    margin: float = ...,
    sigmoid: Sigmoid = ...,
    value_at_margin: float | None = ...,
) -> float: ...


@overload
def tolerance(
    x: Vector,
    lower: float = ...,
    upper: float = ...,
    margin: float = ...,
    sigmoid: Sigmoid = ...,
    value_at_margin: float | None = ...,
) -> Vector: ...


def tolerance(
    x: float | Vector,
    lower: float = 0.0,
    upper: float = 0.0,
    margin: float = 0.0,
    sigmoid: Sigmoid = "gaussian",
    value_at_margin: float | None = None,
) -> float | Vector:
    """Return 1 where `x` lies in [lower, upper], and less the farther from it.

    The function of the same name in dm_control, which Python 3.13 can't always have, with fewer shapes.

    :param x: a number, or an array whose elements are judged one by one
    :param lower: of the bounds
    :param upper: of the bounds, `math.inf` for none
    :param margin: distance from the bounds at which the value is `value_at_margin`; 0: outside it is 0
    :param sigmoid: how it decreases: ``"gaussian"``, ``"linear"`` or ``"quadratic"``
    :param value_at_margin: by default 0.1 for the Gaussian, which never reaches 0, and 0 for the others
    :raises ValueError: if the bounds, the margin or the sigmoid are none
    """
    if lower > upper or margin < 0:
        raise ValueError(
            f"bounds {lower, upper} and margin {margin}: expected lower <= upper and margin >= 0"
        )
    distance: float | Vector
    if isinstance(x, np.ndarray):
        distance = np.maximum(np.maximum(lower - x, x - upper), 0)
    else:
        distance = max(lower - float(x), float(x) - upper, 0.0)
    if margin == 0:
        return (distance == 0) * 1.0
    distance = distance / margin
    if sigmoid == "gaussian":
        at_margin = 0.1 if value_at_margin is None else value_at_margin
        return at_margin ** (distance * distance)
    if sigmoid not in ("linear", "quadratic"):
        raise ValueError(f'sigmoid={sigmoid!r} is none; choose "gaussian", "linear" or "quadratic"')
    drop = (1 - (value_at_margin or 0.0)) * (distance if sigmoid == "linear" else distance * distance)
    return np.maximum(1 - drop, 0) if isinstance(drop, np.ndarray) else max(1 - drop, 0.0)


def standing(state: State, height: float = STAND_HEIGHT) -> float:
    """Reward a head at `height` metres or above."""
    return tolerance(state.head_height, height, math.inf, margin=STAND_HEIGHT / 4)


def upright(state: State, lower: float = 0.9, margin: float = 1.9) -> float:
    """Reward a torso as upright as `lower`: the cosine of the angle to the vertical."""
    return tolerance(state.torso_up, lower, math.inf, margin, "linear")


def small_control(state: State) -> float:
    """Reward small actuator forces; at least 0.8."""
    return (4 + float(tolerance(state.actuator_forces, margin=10, sigmoid="quadratic").mean())) / 5


def move(state: State, speed: float) -> float:
    """Reward moving along x at `speed` metres a second or faster; at least 1/6."""
    return (5 * tolerance(state.velocity[0], speed, math.inf, speed, "linear") + 1) / 6


def still(state: State) -> float:
    """Reward moving neither along x nor along y."""
    return float(tolerance(state.velocity[:2], margin=2).mean())
