"""What a task is: where things stand, what is rewarded, when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from dream_agents.wrappers.humanoid_bench.state import ORIGIN, State, Vector

if TYPE_CHECKING:
    import mujoco

Terms = dict[str, float]
"""The terms of a reward by name, as they come back in `info`."""


class Marker(NamedTuple):
    """A ball that is drawn into images, but is not there."""

    position: Sequence[float]
    """Of its centre, [3]."""
    rgba: Sequence[float]
    """Its colour."""
    radius: float = 0.05


class Task:
    """A task for any of the robots: a subclass says what differs from standing on an empty floor.

    Tasks keep nothing between calls: what lasts, an episode's goal and the checkpoints reached, stands in the
    `State`.
    """

    name: ClassVar[str]
    """As in the environment's id: ``"sit_hard"``."""
    target: ClassVar[float]
    """Return at which the benchmark counts an episode as a success."""
    camera: ClassVar[str] = "cam_default"
    """The camera that shows the task best."""
    base_position: ClassVar[tuple[float, float, float]] = (0.0, 0.0, 0.98)
    """Where the robot's pelvis is at reset, before the noise."""
    props: ClassVar[tuple[float, ...]] = ()
    """qpos of the task's free bodies at reset, before the noise: position and quaternion of each."""
    prop: ClassVar[str | None] = None
    """Body whose position `State.prop_position` is."""
    labels: ClassVar[Mapping[str, str]] = {}
    """Which geoms `State.contacts` tells apart: start of their names → label."""
    observes_goal: ClassVar[bool] = False
    """Whether the robot's left hand and the goal follow its qpos and qvel in the observation, in place of the
    free bodies'."""
    lowest_pelvis: ClassVar[float] = -math.inf
    """Height of the pelvis, in metres, below which an episode ends."""
    episodic: ClassVar[bool] = True
    """Whether `terminated` can ever be true."""

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the task's terrain and props to a world with a floor and a robot (builtin geometry)."""

    def place(self, rng: np.random.Generator, qpos: Vector) -> None:
        """Change `qpos` [nq] at reset, after the noise."""

    def goal(self, rng: np.random.Generator) -> Vector:
        """Draw an episode's goal, [3]."""
        return ORIGIN

    def reward(self, state: State) -> tuple[float, Terms]:
        """Return the reward of one decision and its terms; none may be called "success", which `info` has."""
        raise NotImplementedError

    def terminated(self, state: State) -> bool:
        """Tell whether the episode ends here: when the robot falls."""
        return state.root_height < self.lowest_pelvis

    def next_stage(self, state: State) -> int:
        """Return the number of checkpoints reached, this decision included."""
        return state.stage

    def markers(self, goal: Vector, stage: int) -> list[Marker]:
        """Return what to draw into images, always as many."""
        return []
