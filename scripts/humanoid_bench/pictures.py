"""Draw the gallery of docs/humanoid_bench.md: one picture of a robot at each task.

    python scripts/humanoid_bench/pictures.py [TASK ...]

writes `docs/images/humanoid_bench/<task>.png`. The robots are posed, not simulated: a pose gives joint angles and where
the pelvis is, from where the robot is let down until it touches something. No display is needed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import mujoco
import numpy as np

from dream_agents.wrappers.humanoid_bench.building import initial_qpos
from dream_agents.wrappers.humanoid_bench.environment import HumanoidBenchEnv
from dream_agents.wrappers.humanoid_bench.tasks import TASKS

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "humanoid_bench"
HEIGHT, WIDTH = 300, 400
OVERSAMPLING = 2
LOWERING = 0.002
"""Metres by which a robot is let down at a time."""


@dataclass(frozen=True)
class Pose:
    """A robot in a telling state; angles in radians, positions in metres."""

    robot: str
    joints: Mapping[str, float] = field(default_factory=dict)
    """Angles that differ from those at reset. Without a side, of both: ``"elbow"``; sideways angles are mirrored."""
    position: tuple[float, float, float] = (0.0, 0.0, 1.2)
    """Of the pelvis."""
    yaw: float = 0.0
    pitch: float = 0.0
    stage: int = 0
    hand_to_goal: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """From the left hand to the goal."""
    in_the_air: bool = False
    """Whether the robot stays at its position."""


WALKING = {
    "left_hip_pitch": -0.5, "left_knee": 0.4, "left_ankle": 0.05,
    "right_hip_pitch": 0.15, "right_knee": 0.45, "right_ankle": -0.35,
    "left_shoulder_pitch": 0.35, "right_shoulder_pitch": -0.35, "elbow": 0.1,
}  # fmt: skip
RUNNING = {
    "left_hip_pitch": -1.2, "left_knee": 1.2, "left_ankle": -0.2,
    "right_hip_pitch": 0.35, "right_knee": 0.35, "right_ankle": -0.5,
    "left_shoulder_pitch": 0.9, "right_shoulder_pitch": -0.7, "elbow": -0.1,
}  # fmt: skip
LEAPING = {
    "left_hip_pitch": -1.4, "left_knee": 0.3, "left_ankle": -0.1,
    "right_hip_pitch": 0.2, "right_knee": 1.7, "right_ankle": -0.5,
    "left_shoulder_pitch": 0.7, "right_shoulder_pitch": -0.9, "elbow": 0.2,
}  # fmt: skip
CRAWLING = {
    "left_hip_pitch": -1.5, "left_knee": 1.5, "right_hip_pitch": -0.95, "right_knee": 1.3, "ankle": 0.3,
    "left_shoulder_pitch": -1.2, "right_shoulder_pitch": -1.7, "elbow": 1.4,
}  # fmt: skip
SITTING = {"hip_pitch": -1.45, "knee": 1.45, "ankle": 0.0, "shoulder_pitch": 0.2, "elbow": 0.3}
CLIMBING = {
    "left_hip_pitch": -1.1, "left_knee": 1.25, "left_ankle": -0.2,
    "right_hip_pitch": -0.05, "right_knee": 0.35, "right_ankle": -0.3,
    "left_shoulder_pitch": 0.35, "right_shoulder_pitch": -0.35, "elbow": 0.1,
}  # fmt: skip
UPHILL = {
    "left_hip_pitch": -0.8, "left_knee": 0.65, "left_ankle": -0.2,
    "right_hip_pitch": 0.0, "right_knee": 0.5, "right_ankle": -0.8,
    "left_shoulder_pitch": 0.35, "right_shoulder_pitch": -0.35, "elbow": 0.1,
}  # fmt: skip
BALANCING = {"shoulder_roll": 1.1, "elbow": 1.2}

POSES = {
    "stand": Pose("h1hand", {"hip_pitch": -0.1, "knee": 0.2, "ankle": -0.1, "elbow": 1.2}),
    "walk": Pose("h1", WALKING),
    "run": Pose("h1hand", RUNNING, pitch=0.15),
    "hurdle": Pose("h1", LEAPING, (6.7, 0, 1.2), pitch=0.2, in_the_air=True),
    "crawl": Pose("h1hand", CRAWLING, (2.2, 0, 1), pitch=1.43),
    "maze": Pose("h1", WALKING, (1.9, 0, 1.2), stage=1),
    "sit_simple": Pose("h1hand", SITTING, (-0.2, 0, 1)),
    "sit_hard": Pose("h1", {}, (0.35, 0.1, 1.2), yaw=-1.0),
    "balance_simple": Pose("h1", BALANCING, (-0.05, 0, 1.6)),
    "balance_hard": Pose("h1hand", BALANCING, (-0.05, 0, 1.6)),
    "stair": Pose("h1hand", CLIMBING, (8.15, 0, 2)),
    "slide": Pose("h1", UPHILL, (11.5, 0, 2.5)),
    "pole": Pose("h1hand", WALKING, (2.25, 0.1, 1.2)),
    "reach": Pose("h1", {"left_shoulder_pitch": -1.9, "left_elbow": 1.0}, hand_to_goal=(0.15, 0.05, 0.1)),
}
"""A picture of each task."""


def draw(task: str, pose: Pose) -> np.ndarray[Any, Any]:
    """Return the picture of a pose, [HEIGHT, WIDTH, 3] bytes."""
    env = HumanoidBenchEnv(
        pose.robot,
        task,
        render_mode="rgb_array",
        height=HEIGHT * OVERSAMPLING,
        width=WIDTH * OVERSAMPLING,
    )
    qpos = _let_down(env, pose)
    env.set_state(qpos, np.zeros(env.model.nv), stage=pose.stage)
    env.goal = env.state().left_hand_position + pose.hand_to_goal
    image = env.render().reshape(HEIGHT, OVERSAMPLING, WIDTH, OVERSAMPLING, 3).mean((1, 3))
    env.close()
    return image.round().astype(np.uint8)


def _let_down(env: HumanoidBenchEnv, pose: Pose) -> np.ndarray[Any, Any]:
    """Return the pose's qpos, [nq], lowered until the robot touches what stands around."""
    qpos = initial_qpos(env.robot, env.task, env.model)
    for name, angle in pose.joints.items():
        for side in ("", "left_", "right_"):
            joint = f"{side}{name}"
            if mujoco.mj_name2id(env.model, mujoco.mjtObj.mjOBJ_JOINT, joint) >= 0:
                mirrored = side == "right_" and ("roll" in name or "yaw" in name)
                qpos[env.model.joint(joint).qposadr] = -angle if mirrored else angle
    yaw, pitch = pose.yaw / 2, pose.pitch / 2
    qpos[3:7] = (
        math.cos(yaw) * math.cos(pitch),
        -math.sin(yaw) * math.sin(pitch),
        math.cos(yaw) * math.sin(pitch),
        math.sin(yaw) * math.cos(pitch),
    )
    qpos[:3] = pose.position
    while not (pose.in_the_air or _touches(env, qpos)):
        qpos[2] -= LOWERING
    return qpos


def _touches(env: HumanoidBenchEnv, qpos: np.ndarray[Any, Any]) -> bool:
    """Tell whether the robot touches anything but itself."""
    env.set_state(qpos, np.zeros(env.model.nv))
    robot = env.model.body("pelvis").id
    roots = env.model.body_rootid[env.model.geom_bodyid[env.data.contact.geom]]  # [contacts, 2]
    return bool(((roots == robot).sum(1) == 1).any())


def main() -> None:
    """Write the pictures of the tasks given, or of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"by default all: {', '.join(TASKS)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for task in parser.parse_args().tasks or TASKS:
        imageio.imwrite(FOLDER / f"{task}.png", draw(task, POSES[task]))


if __name__ == "__main__":
    main()
