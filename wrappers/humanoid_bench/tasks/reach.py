"""Reach for points in space."""

from __future__ import annotations

import numpy as np

from dream_agents.wrappers.humanoid_bench.state import State, Vector
from dream_agents.wrappers.humanoid_bench.tasks.base import Marker, Task, Terms


class Reach(Task):
    """Bring the left hand to a point that is drawn in every episode."""

    name = "reach"
    target = 12000.0
    observes_goal = True
    episodic = False

    def goal(self, rng: np.random.Generator) -> Vector:
        """Draw the point, [3]: within 2 m of the origin along x and y, and 0.2 to 2 m high."""
        return rng.uniform((-2, -2, 0.2), (2, 2, 2))

    def reward(self, state: State) -> tuple[float, Terms]:
        """Reward an upright pelvis and a hand near the goal, and slow joints."""
        distance = float(np.linalg.norm(state.left_hand_position - state.goal))
        healthy = 5 * state.pelvis_up
        motion = float(np.square(state.robot_velocities).sum())
        close = 5.0 if distance < 1 else 0.0
        success = 10.0 if distance < 0.05 else 0.0
        terms = {
            "hand_dist": distance,
            "healthy_reward": healthy,
            "motion_penalty": motion,
            "reward_close": close,
            "reward_success": success,
        }
        return healthy - 1e-4 * motion + close + success, terms

    def markers(self, goal: Vector, stage: int) -> list[Marker]:
        """Return the goal, a red ball."""
        return [Marker(tuple(goal), (0.8, 0.28, 0.28, 1.0))]
