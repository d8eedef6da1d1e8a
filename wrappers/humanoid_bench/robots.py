"""The robots, and how to read what rewards are made of from their simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dream_agents.wrappers.humanoid_bench.state import ORIGIN, State, Vector
from dream_agents.wrappers.humanoid_bench.tables import FOLDER

if TYPE_CHECKING:
    import mujoco

    from dream_agents.wrappers.humanoid_bench.tasks import Task

FLOOR, OTHER = "floor", "other"


@dataclass(frozen=True)
class Robot:
    """A robot: the name of its table, its sizes and how it stands at reset.

    Its model has bodies `pelvis` and `torso_link`, sites `head`, `imu`, `left_foot`, `right_foot` and
    `left_hand`, a sensor `pelvis_subtreelinvel`, and the benchmark's cameras.
    """

    name: str
    qpos_size: int
    """Numbers in qpos, seven of them of the free joint; there is one fewer in qvel."""
    action_size: int
    """Actuators."""
    home: Mapping[str, float] = field(default_factory=dict)
    """Joint angles at reset that are not zero."""
    folder: Path = FOLDER
    """Where its table ``<name>.toml`` is, and the model ``<name>.xml`` made from it."""


_STANCE = {
    f"{side}_{joint}": angle
    for side in ("left", "right")
    for joint, angle in {"hip_pitch": -0.4, "knee": 0.8, "ankle": -0.4}.items()
}

ROBOTS = {
    robot.name: robot
    for robot in (
        Robot("h1", qpos_size=26, action_size=19, home=_STANCE),
        Robot("h1hand", qpos_size=76, action_size=61, home=_STANCE),
    )
}
"""Every robot by its name."""


class Senses:
    """Reads `State` records from the simulation of one robot at one task."""

    def __init__(self, robot: Robot, task: Task, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._data = data
        self._robot_velocities = slice(0, robot.qpos_size - 1)
        self._torso, self._pelvis = model.body("torso_link").id, model.body("pelvis").id
        self._prop = model.body(task.prop).id if task.prop is not None else None
        sites = ("head", "imu", "left_foot", "right_foot", "left_hand")
        self._head, self._imu, self._left_foot, self._right_foot, self._left_hand = (
            model.site(name).id for name in sites
        )
        velocity = model.sensor("pelvis_subtreelinvel")
        self._velocity = slice(velocity.adr[0], velocity.adr[0] + velocity.dim[0])
        self._labels = _label_geoms(model, task.labels) if task.labels else None

    def read(self, goal: Vector = ORIGIN, stage: int = 0) -> State:
        """Return the current moment, with what the episode keeps: its goal [3] and stage."""
        data = self._data
        sites = data.site_xpos
        return State(
            head_height=float(sites[self._head, 2]),
            torso_up=float(data.xmat[self._torso, 8]),
            pelvis_up=float(data.xmat[self._pelvis, 8]),
            velocity=data.sensordata[self._velocity].copy(),
            actuator_forces=data.actuator_force.copy(),
            root_position=data.qpos[:3].copy(),
            pelvis_position=data.xpos[self._pelvis].copy(),
            pelvis_quaternion=data.xquat[self._pelvis].copy(),
            imu_position=sites[self._imu].copy(),
            left_foot_height=float(sites[self._left_foot, 2]),
            right_foot_height=float(sites[self._right_foot, 2]),
            left_hand_position=self.left_hand_position(),
            robot_velocities=data.qvel[self._robot_velocities].copy(),
            contacts=self._contacts(),
            prop_position=data.xpos[self._prop].copy() if self._prop is not None else ORIGIN,
            goal=goal,
            stage=stage,
        )

    def left_hand_position(self) -> Vector:
        """Return the position of the left hand, [3]."""
        position: Vector = self._data.site_xpos[self._left_hand].copy()
        return position

    def _contacts(self) -> frozenset[frozenset[str]]:
        """Return which kinds of things touch; nothing for a task that tells none apart."""
        if self._labels is None:
            return frozenset()
        labels = self._labels
        return frozenset(frozenset((labels[a], labels[b])) for a, b in self._data.contact.geom.tolist())


def _label_geoms(model: mujoco.MjModel, labels: Mapping[str, str]) -> list[str]:
    """Return the label of each geom, by the start of its name."""
    names = [model.geom(index).name for index in range(model.ngeom)]
    known = {FLOOR: FLOOR, **labels}
    return [next((known[start] for start in known if name.startswith(start)), OTHER) for name in names]
