"""Sit down on a chair."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dream_agents.wrappers.humanoid_bench import rewards
from dream_agents.wrappers.humanoid_bench.props import WOOD, add_body, add_box
from dream_agents.wrappers.humanoid_bench.rewards import tolerance
from dream_agents.wrappers.humanoid_bench.state import State, Vector
from dream_agents.wrappers.humanoid_bench.tasks.base import Task, Terms

if TYPE_CHECKING:
    import mujoco


class SitSimple(Task):
    """Sit down on a chair that stands fast behind the robot."""

    name = "sit_simple"
    target = 750.0
    lowest_pelvis = 0.5
    prop = "chair"

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the chair."""
        _add_chair(spec, free=False)

    def reward(self, state: State) -> tuple[float, Terms]:
        """Reward sitting on the chair, straight and still, with little force."""
        x, y, height = state.root_position
        sitting = tolerance(height, 0.68, 0.72, margin=0.2)
        on_chair = tolerance(x - state.prop_position[0], -0.19, 0.19, margin=0.2) * tolerance(
            y - state.prop_position[1], margin=0.1
        )
        upright = rewards.upright(state, 0.95, margin=0.9)
        posture = tolerance(state.head_height - state.imu_position[2], 0.35, 0.45, margin=0.3)
        sit = (0.5 * sitting + 0.5 * on_chair) * upright * posture
        control, still = rewards.small_control(state), rewards.still(state)
        terms = {
            "small_control": control,
            "sit_reward": sit,
            "dont_move": still,
            "sitting": sitting,
            "upright": upright,
            "sitting_posture": posture,
        }
        return control * sit * still, terms


class SitHard(SitSimple):
    """Sit down on a chair that can be pushed over, from anywhere before it."""

    name = "sit_hard"
    props = (-0.25, 0, 0, 1, 0, 0, 0)

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the chair."""
        _add_chair(spec, free=True)

    def place(self, rng: np.random.Generator, qpos: Vector) -> None:
        """Draw where the robot stands and which way it looks."""
        qpos[0] = rng.uniform(0.2, 0.4)
        qpos[1] = rng.uniform(-0.15, 0.15)
        yaw = rng.uniform(-1.8, 1.8)
        qpos[3:7] = math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)


def _add_chair(spec: mujoco.MjSpec, free: bool) -> None:
    """Add a chair that is two boxes to whatever touches it, but looks and weighs like its eight parts."""
    chair = add_body(spec, "chair", (-0.25, 0, 0), free=free)
    legs = [((x, y, 0.225), (0.02, 0.02, 0.225)) for x in (0.19, -0.19) for y in (0.19, -0.19)]
    seat = ((0, 0, 0.45), (0.21, 0.21, 0.025))
    posts = [((-0.23, y, 0.6375), (0.02, 0.02, 0.2125)) for y in (0.19, -0.19)]
    back = ((-0.23, 0, 0.77), (0.02, 0.21, 0.08))
    for position, size in (*legs, seat, *posts, back):
        add_box(chair, position, size, WOOD, solid=False)
    add_box(chair, (-0.23, 0, 0.65), (0.02, 0.21, 0.2), visible=False, density=0)
    add_box(chair, (0, 0, 0.2375), (0.21, 0.21, 0.2375), visible=False, density=0)
