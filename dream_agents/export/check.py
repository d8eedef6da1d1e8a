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

#: largest difference of a component of an action, in units of half its range, that is rounding
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Decision:
    """What ``predict`` decided on observations of real episodes.

    :param observation: a batch of ``n_envs``, as the environment gives it
    :param memory: what ``predict`` was given, by the file's names of its inputs
    :param starts: bool ``[n_envs]``, where episodes begin
    :param noise: what ``predict`` drew, by the file's names of its inputs
    :param action: what it returned, ``[n_envs, *action_shape]``
    """

    observation: Any
    memory: dict[str, np.ndarray]
    starts: np.ndarray
    noise: dict[str, np.ndarray]
    action: np.ndarray


@dataclass(frozen=True)
class Differences:
    """Largest difference of each decision, in units of half an action's range, and the worst place."""

    of_decisions: np.ndarray
    where: str

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
    progress: Callable[[int], None] = lambda done: None,
) -> Differences:
    """Run a file on what ``predict`` was given.

    :param path: the file
    :param decisions: of ``predict``
    :param inputs: the file's
    :param observation: what its description says of observations
    :param half_range: half the distance of the action's bounds, ``[*action_shape]``
    """
    runtime = load(path, threads=1)
    n_envs = len(decisions[0].starts)
    reader = ObservationReader([array for array in inputs if array.role == "observation"], observation, n_envs)
    feed: dict[str, np.ndarray] = {array.name: np.zeros(array.shape, array.dtype) for array in inputs}
    found, worst, where = [], -1.0, ""
    for number, decision in enumerate(decisions):
        reader.read(decision.observation, feed)
        feed |= decision.memory | decision.noise
        if "episode_start" in feed:
            feed["episode_start"] = decision.starts
        action = runtime.run(feed)[0]
        difference = np.abs(action.astype(np.float64) - decision.action) / np.where(half_range > 0, half_range, 1)
        difference = np.where(np.isfinite(difference), difference, np.inf)
        found.append(float(difference.max()))
        if found[-1] > worst:
            worst, place = found[-1], np.unravel_index(int(difference.argmax()), difference.shape)
            where = (
                f"decision {number}, environment {place[0]}, action{[int(i) for i in place[1:]]}: predict gave "
                f"{decision.action[place]:.7g}, the file {action[place]:.7g}"
            )
    return Differences(np.array(found), where)


def check(path: Path, differences: Differences, tolerance: float) -> None:
    """Fail where a file does not decide as ``predict``.

    :raises ExportError: saying where it differs most
    """
    if differences.largest <= tolerance:
        return
    wrong = int((differences.of_decisions > tolerance).sum())
    raise ExportError(
        f"{path.name} does not decide as predict: {wrong} of {len(differences.of_decisions)} decisions differ by more "
        f"than {tolerance:g} of half the action's range, by up to {differences.largest:.3g} ({differences.where}). "
        "It was not kept"
    )
