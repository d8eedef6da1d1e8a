"""From a decision to a checked file and its description."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dream_agents.deploy.description import Array, arrays
from dream_agents.export.check import Decision, Differences, check, compare
from dream_agents.export.description import check_folder, describe, make_id, write_description
from dream_agents.export.errors import ExportError
from dream_agents.export.formats import SUFFIXES, check_format, write_onnx, write_pt2
from dream_agents.export.program import Actor, Program, trace
from dream_agents.models.packing import ObsShape


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    :param path: the file
    :param description: ``controller.json``, in its folder
    :param largest_difference: of a component of an action from ``predict``, in units of half its range
    :param observations: on which it was compared
    :param above_tolerance: decisions that differ by more than the tolerance, all of them where ``predict`` itself moves
        by half of that when observation and weights change by a hundred-thousandth, and outputs by a millionth
    """

    path: Path
    description: Path
    largest_difference: float
    observations: int
    above_tolerance: int


@dataclass(frozen=True)
class Job:
    """What is to be exported.

    :param actor: what decides
    :param observation_space: what an environment observes
    :param obs_shape: of what networks see
    :param action_space: the environment's
    :param n_envs: environments a decision
    :param about: what else ``controller.json`` says
    """

    actor: Actor
    observation_space: gym.Space[Any]
    obs_shape: ObsShape
    action_space: spaces.Box
    n_envs: int
    about: Mapping[str, Any] = field(default_factory=dict)

    def trace(self) -> Program:
        """The decision as a graph.

        :raises ExportError: if it can't be one
        """
        return trace(self.actor, self.observation_space, self.obs_shape, self.action_space, self.n_envs)


def target(path: str | Path, format: str) -> Path:
    """The file to write: ``path``, with the format's ending if it has none.

    :raises ValueError: for another format's ending, and an unknown format
    """
    check_format(format)
    path, suffix = Path(path), SUFFIXES[format]
    if path.suffix == suffix:
        return path
    if path.suffix in SUFFIXES.values():
        raise ValueError(f'{path} ends in {path.suffix}, and format="{format}" writes {suffix}')
    return path.with_name(path.name + suffix)


def write(
    job: Job,
    path: Path,
    format: str,
    decide: Callable[[Program], Sequence[Decision]],
    tolerance: float,
) -> Exported:
    """Write, compare with ``predict``, and describe.

    :param job: what is to be exported
    :param path: the file, with the format's ending
    :param format: "onnx" or "pt2"
    :param decide: gives what ``predict`` decides on observations of real episodes
    :param tolerance: largest difference of a component of an action, in units of half its range
    :raises ExportError: if the decision can't be exported, or the file differs from ``predict``; it is not kept then
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    check_folder(path)
    program = job.trace()
    content = describe(program, job.n_envs, job.action_space, job.observation_space) | dict(job.about)
    content["id"] = make_id(program, content)
    decisions = decide(program)
    candidate = path.with_name(f".{path.stem}.unchecked{path.suffix}")
    (write_onnx if format == "onnx" else write_pt2)(program, candidate, content["id"])
    try:
        found = _compare(candidate, decisions, content, job.action_space, tolerance)
        check(path, found, tolerance)
        os.replace(candidate, path)
    finally:
        candidate.unlink(missing_ok=True)
    count = sum(len(decision.starts) for decision in decisions)
    checked = {
        "observations": count,
        "largest_difference": found.largest,
        "tolerance": tolerance,
        "above_tolerance": len(found.rounding),
        "rounding_there": max(found.rounding.values(), default=0.0),
        "units": "half the range of an action's component",
    }
    described = write_description(path, content | {"checked_against_predict": checked}, format)
    return Exported(path, described, found.largest, count, len(found.rounding))


def _compare(
    path: Path,
    decisions: Sequence[Decision],
    content: Mapping[str, Any],
    action_space: spaces.Box,
    tolerance: float,
) -> Differences:
    inputs: list[Array] = arrays(content["inputs"])
    half_range = (action_space.high.astype(np.float64) - action_space.low) / 2
    return compare(path, decisions, inputs, content["observation"], half_range, tolerance)


__all__ = ["ExportError", "Exported", "Job", "target", "write"]
