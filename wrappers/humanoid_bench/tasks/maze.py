"""Find the way through a maze, from checkpoint to checkpoint."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from dream_agents.wrappers.humanoid_bench import rewards
from dream_agents.wrappers.humanoid_bench.props import add_box
from dream_agents.wrappers.humanoid_bench.rewards import tolerance
from dream_agents.wrappers.humanoid_bench.state import State, Vector
from dream_agents.wrappers.humanoid_bench.tasks.base import Marker, Task, Terms

if TYPE_CHECKING:
    import mujoco

CHECKPOINTS = ((0.0, 0.0), (3.0, 0.0), (3.0, 6.0), (6.0, 6.0), (6.0, 6.0))
"""Where to go at each stage, in metres; the last stage is the end."""
DIRECTIONS = ((1, 0), (1, 0), (0, 1), (1, 0), (0, 1))
"""Which way to move at each stage."""
_LAST_STAGE = 4
_RADIUS = 0.4
_SPEED = 2.0
_PLAN = (
    "#######",
    "#     #",
    "### # #",
    "#     #",
    "# # ###",
    "#     #",
    "#######",
)
"""Blocks of 1.5 m seen from above: x to the right, y upwards."""
_GREEN, _RED, _BLACK = (0.0, 1.0, 0.0, 1.0), (1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0)


class Maze(Task):
    """Go through a maze without touching the walls."""

    name = "maze"
    target = 1200.0
    lowest_pelvis = 0.2
    camera = "cam_maze"
    labels: ClassVar[dict[str, str]] = {"block_collision_": "wall"}

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the walls: blocks 1.2 m high."""
        for row, blocks in enumerate(_PLAN):
            for column, block in enumerate(blocks):
                if block == "#":
                    centre = (1.5 * column - 1.5, 7.5 - 1.5 * row, 0.6)
                    name = f"block_collision_{row}{column}"
                    add_box(spec.worldbody, centre, (0.75, 0.75, 0.6), (0.4, 0.4, 0.4, 0.3), name=name)

    def reward(self, state: State) -> tuple[float, Terms]:
        """Reward standing, moving the right way and nearing the checkpoint; a tenth while a wall is touched.

        Reaching a checkpoint is worth 100 times its number.
        """
        stage = self.next_stage(state)
        standing, upright = rewards.standing(state), rewards.upright(state)
        control = rewards.small_control(state)
        move = (5 * _moves(state.velocity, stage) + 1) / 6
        proximity = tolerance(_distance(state.imu_position, stage), margin=1)
        discount = 0.1 if state.touching("wall") else 1.0
        bonus = 100.0 * stage if stage > state.stage else 0.0
        terms = {
            "stand_reward": standing * upright,
            "small_control": control,
            "move": move,
            "wall_collision_discount": discount,
            "stage_convert_reward": bonus,
            "checkpoint_proximity_reward": proximity,
            "success_subtasks": float(stage),
        }
        reward = 0.2 * standing * upright * control + 0.4 * move + 0.4 * proximity
        return reward * discount + bonus, terms

    def next_stage(self, state: State) -> int:
        """Return the number of checkpoints reached, this decision included."""
        reached = _distance(state.pelvis_position, state.stage) < _RADIUS
        return min(state.stage + 1, _LAST_STAGE) if reached else state.stage

    def markers(self, goal: Vector, stage: int) -> list[Marker]:
        """Return the checkpoints: green if reached, the next red, the others black."""
        return [
            Marker(
                (x, y, 1.0), _GREEN if number < stage else _RED if number == stage else _BLACK, radius=0.06
            )
            for number, (x, y) in enumerate(CHECKPOINTS[:_LAST_STAGE])
        ]


def _distance(position: Vector, stage: int) -> float:
    """Return how far `position` [3] is from the stage's checkpoint, in the plane."""
    x, y = CHECKPOINTS[stage]
    return math.hypot(position[0] - x, position[1] - y)


def _moves(velocity: Vector, stage: int) -> float:
    """Return how well `velocity` [3] fits the stage's direction; 1 at the end."""
    if stage == _LAST_STAGE:
        return 1.0
    fit_x, fit_y = (
        tolerance(value - _SPEED * direction, margin=1, sigmoid="linear")
        for value, direction in zip(velocity, DIRECTIONS[stage], strict=False)
    )
    return fit_x * fit_y
