"""Whether an exported file decides as ``predict`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dream_agents.deploy.description import Array
from dream_agents.deploy.observations import ObservationReader
from dream_agents.deploy.runtimes import load
from dream_agents.export.errors import ExportError

#: largest difference of a component of an action, in units of half its range
TOLERANCE = 1e-4
#: How much of a larger difference ``predict`` itself has to make when observation and weights change by a
#: hundred-thousandth: float32 has seven digits, and a decision is hundreds of operations.
SHARE = 0.5
_NUDGE, _TRIALS = 2.0**-17, 256
#: by which what a network gives changes, eight units of float32's last place
_SMALL_NUDGE = 2.0**-20
#: what is small or 0 moves by this: heads that begin at 0 give plans that are equal but for rounding
_LEAST_NUDGE = 2.0**-24


@dataclass(frozen=True)
class Nudge:
    """What changes arrays a little.

    :param weights: of networks
    :param outputs: of networks, each element by a draw of its own, as rounding does
    """

    weights: Callable[[np.ndarray], np.ndarray]
    outputs: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Decision:
    """What ``predict`` decided on observations of real episodes.

    :param observation: a batch of ``n_envs``, as the environment gives it
    :param memory: what ``predict`` was given, by the file's names of its inputs
    :param starts: bool ``[n_envs]``, where episodes begin
    :param noise: what ``predict`` drew, by the file's names of its inputs
    :param action: what it returned, ``[n_envs, *action_shape]``
    :param again: what it returns for another observation in place of this one, with the same memory and noise, by
        networks that are nudged (None: by its own)
    """

    observation: Any
    memory: dict[str, np.ndarray]
    starts: np.ndarray
    noise: dict[str, np.ndarray]
    action: np.ndarray
    again: Callable[[Any, Nudge | None], np.ndarray]


@dataclass(frozen=True)
class Differences:
    """How far a file's actions are from those of ``predict``, in units of half an action's range.

    :param of_decisions: the largest difference of each
    :param places: where it is, in words
    :param rounding: for decisions that differ by more than the tolerance: how far ``predict`` itself moves, at least,
        when observation and weights change by a hundred-thousandth
    """

    of_decisions: np.ndarray
    places: list[str]
    rounding: dict[int, float]

    @property
    def largest(self) -> float:
        """Of all decisions."""
        return float(self.of_decisions.max())


def compare(
    path: Path,
    decisions: Sequence[Decision],
    inputs: Sequence[Array],
    observation: dict[str, Any],
    half_range: np.ndarray,
    tolerance: float,
) -> Differences:
    """Run a file on what ``predict`` was given.

    :param path: the file
    :param decisions: of ``predict``
    :param inputs: the file's
    :param observation: what its description says of observations
    :param half_range: half the distance of the action's bounds, ``[*action_shape]``
    :param tolerance: above which ``predict`` is asked how far rounding moves it
    """
    runtime = load(path, threads=1)
    n_envs = len(decisions[0].starts)
    reader = ObservationReader(
        [array for array in inputs if array.role == "observation"], observation, n_envs
    )
    feed: dict[str, np.ndarray] = {array.name: np.zeros(array.shape, array.dtype) for array in inputs}
    found: list[float] = []
    places: list[str] = []
    rounding: dict[int, float] = {}
    for number, decision in enumerate(decisions):
        reader.read(decision.observation, feed)
        feed |= decision.memory | decision.noise
        if "episode_start" in feed:
            feed["episode_start"] = decision.starts
        action = runtime.run(feed)[0]
        difference = _difference(action, decision.action, half_range)
        found.append(float(difference.max()))
        place = np.unravel_index(int(difference.argmax()), difference.shape)
        places.append(
            f"decision {number}, environment {place[0]}, action{[int(i) for i in place[1:]]}: predict gave "
            f"{decision.action[place]:.7g}, the file {action[place]:.7g}"
        )
        if found[-1] > tolerance:
            rounding[number] = _rounding(decision, half_range, SHARE * found[-1])
    return Differences(np.array(found), places, rounding)


def _difference(action: np.ndarray, other: np.ndarray, half_range: np.ndarray) -> np.ndarray:
    difference = np.abs(action.astype(np.float64) - other) / np.where(half_range > 0, half_range, 1)
    return np.where(np.isfinite(difference), difference, np.inf)


def _rounding(decision: Decision, half_range: np.ndarray, enough: float) -> float:
    """How far ``predict`` moves when the observation's numbers change by a hundred-thousandth, up or down.

    In every other trial the weights' do, too, and what networks give changes by a millionth: observations and weights
    move the values of all plans alike, as rounding does not. Trials end when ``predict`` has moved far enough: plans
    whose values are a millionth apart change places seldom.
    """
    rng = np.random.default_rng(0)
    nudge = Nudge(lambda array: _nudged(array, rng), lambda array: _nudged(array, rng, _SMALL_NUDGE))
    moved = 0.0
    for trial in range(_TRIALS):
        action = decision.again(_nudged(decision.observation, rng), nudge if trial % 2 else None)
        moved = max(moved, float(_difference(action, decision.action, half_range).max()))
        if moved >= enough:
            break
    return moved


def _nudged(observation: Any, rng: np.random.Generator, share: float = _NUDGE) -> Any:
    if isinstance(observation, dict):
        return {name: _nudged(part, rng, share) for name, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_nudged(part, rng, share) for part in observation)
    array = np.asarray(observation)
    if array.dtype.kind != "f":
        return array
    sign = rng.choice((-1, 1), array.shape)
    return (array + sign * (np.abs(array) * share + _LEAST_NUDGE)).astype(array.dtype)


def check(path: Path, differences: Differences, tolerance: float) -> None:
    """Fail where a file does not decide as ``predict``.

    A difference above the tolerance is rounding only where ``predict`` itself moves by half of it when observation and
    weights change by a hundred-thousandth and outputs by a millionth: planners follow gradients, and choose between
    plans that may be as good as equal.

    :raises ExportError: saying where it differs most
    """
    found = differences.of_decisions
    wrong = [i for i, moved in differences.rounding.items() if moved < SHARE * found[i]]
    if not wrong:
        return
    worst = max(wrong, key=lambda i: found[i])
    raise ExportError(
        f"{path.name} does not decide as predict: {len(wrong)} of {len(found)} decisions differ by more than "
        f"{tolerance:g} of half the action's range, and by more than rounding explains, by up to {found[worst]:.3g} "
        f"({differences.places[worst]}). It was not kept"
    )
