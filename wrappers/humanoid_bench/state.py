"""What a task's reward is made of: a record of numbers, so that rewards can be tested without physics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Vector = np.ndarray[Any, np.dtype[np.float64]]

ORIGIN: Vector = np.zeros(3)
ORIGIN.setflags(write=False)


@dataclass(frozen=True)
class State:
    """One moment of an episode. World frame; metres, seconds, radians, newton metres.

    As in the original benchmark, `root_position`, `root_height` and `robot_velocities` are those after the
    decision, and everything else, which the simulator derives from them, is that of its last sub-step's start.
    """

    head_height: float
    """Height of the head site."""
    torso_up: float
    """How upright the torso is: z component of its z axis, from -1 to 1."""
    pelvis_up: float
    """The same of the pelvis."""
    velocity: Vector
    """Velocity of the whole body's centre of mass, [3]."""
    actuator_forces: Vector
    """Force of each actuator, [A]."""
    root_position: Vector
    """Position of the free joint, [3]: the pelvis."""
    pelvis_position: Vector
    """Position of the pelvis, [3]."""
    pelvis_quaternion: Vector
    """Orientation of the pelvis, [4], w first."""
    imu_position: Vector
    """Position of the inertial sensor in the torso, [3]."""
    left_foot_height: float
    right_foot_height: float
    left_hand_position: Vector
    """Position of the left hand, [3]."""
    robot_velocities: Vector
    """The robot's part of qvel."""
    contacts: frozenset[frozenset[str]] = frozenset()
    """Which kinds of things touch: pairs of labels that the task gives to geoms, ``"floor"`` and ``"other"``.
    Two of the same kind make a set of one."""
    prop_position: Vector = field(default_factory=lambda: ORIGIN)
    """Position of the task's prop, [3]: the chair."""
    goal: Vector = field(default_factory=lambda: ORIGIN)
    """What the task set at reset, [3]: where the hand should go."""
    stage: int = 0
    """Checkpoints that were reached before this decision."""

    @property
    def root_height(self) -> float:
        """Height of the free joint: the pelvis."""
        return float(self.root_position[2])

    def touching(self, kind: str, other: str | None = None) -> bool:
        """Tell whether something labelled `kind` touches something labelled `other`, or anything at all."""
        if other is not None:
            return frozenset((kind, other)) in self.contacts
        return any(kind in pair for pair in self.contacts)

    def touched_by(self, kind: str) -> set[str]:
        """Return the labels of what something labelled `kind` touches."""
        return {label for pair in self.contacts if kind in pair for label in (pair - {kind} or pair)}
