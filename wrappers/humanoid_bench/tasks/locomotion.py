"""Stand, walk, run, jump hurdles, and crawl through a tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dream_agents.wrappers.humanoid_bench import rewards
from dream_agents.wrappers.humanoid_bench.props import BLACK, add_box
from dream_agents.wrappers.humanoid_bench.rewards import tolerance
from dream_agents.wrappers.humanoid_bench.state import State
from dream_agents.wrappers.humanoid_bench.tasks.base import Task, Terms

if TYPE_CHECKING:
    import mujoco


class Stand(Task):
    """Stand upright and still."""

    name = "stand"
    target = 800.0
    lowest_pelvis = 0.2
    head_height: ClassVar[float] = rewards.STAND_HEIGHT
    """Height of the head that is fully rewarded, in metres."""

    def reward(self, state: State) -> tuple[float, Terms]:
        """Reward standing still, with little force."""
        standing, upright = rewards.standing(state, self.head_height), rewards.upright(state)
        control, still = rewards.small_control(state), rewards.still(state)
        terms = {
            "small_control": control,
            "stand_reward": standing * upright,
            "dont_move": still,
            "standing": standing,
            "upright": upright,
        }
        return control * standing * upright * still, terms


class Walk(Task):
    """Walk along x."""

    name = "walk"
    target = 700.0
    lowest_pelvis = 0.2
    speed: ClassVar[float] = 1.0
    """Metres a second that are fully rewarded."""
    upright_from: ClassVar[float] = 0.9
    """How upright the torso should be."""

    def standing(self, state: State) -> float:
        """Reward a head that is high enough."""
        return rewards.standing(state)

    def reward(self, state: State) -> tuple[float, Terms]:
        """Reward moving upright, with little force."""
        standing, upright = self.standing(state), rewards.upright(state, self.upright_from)
        control, move = rewards.small_control(state), rewards.move(state, self.speed)
        terms = {
            "stand_reward": standing * upright,
            "small_control": control,
            "move": move,
            "standing": standing,
            "upright": upright,
        }
        return control * standing * upright * move, terms


class Run(Walk):
    """Run along x."""

    name = "run"
    speed = 5.0


class Hurdle(Run):
    """Run along x over hurdles, between barriers."""

    name = "hurdle"
    camera = "cam_hurdle"
    upright_from = 0.8
    labels: ClassVar[dict[str, str]] = {
        "left_barrier_collision": "barrier",
        "right_barrier_collision": "barrier",
        "behind_barrier_collision": "barrier",
    }

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add ten rows of hurdles, each a single obstacle that looks like nine, and the barriers."""
        world, grey = spec.worldbody, (0.1, 0.1, 0.1, 0.1)
        add_box(world, (35, -4.725, 1), (35.5, 0.275, 1), grey, name="left_barrier_collision")
        add_box(world, (35, 4.725, 1), (35.5, 0.275, 1), grey, name="right_barrier_collision")
        add_box(world, (-0.525, 0, 1), (0.05, 5, 1), grey, name="behind_barrier_collision")
        for x in range(7, 71, 7):
            add_box(world, (x, 0, 0.1875), (0.03, 5, 0.1875), visible=False)
            for y in range(-4, 5):
                add_box(world, (x, y, 0.34), (0.01, 0.45, 0.03), BLACK, solid=False)
                for side in (y - 0.47, y + 0.47):
                    add_box(world, (x - 0.1, side, 0.01), (0.15, 0.01, 0.01), BLACK, solid=False)
                    add_box(world, (x, side, 0.2), (0.01, 0.01, 0.2), BLACK, solid=False)

    def reward(self, state: State) -> tuple[float, Terms]:
        """Reward running upright, with little force; a tenth while a barrier is touched."""
        reward, terms = super().reward(state)
        discount = 0.1 if state.touching("barrier") else 1.0
        return reward * discount, terms | {"wall_collision_discount": discount}


class Crawl(Task):
    """Crawl along x, through a tunnel."""

    name = "crawl"
    target = 700.0
    episodic = False

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add a tunnel 16 m long, 2.3 m wide and 1.15 m high."""
        world, glass = spec.worldbody, (0.5, 0.5, 0.5, 0.3)
        for y in (-1.35, 1.35):
            add_box(world, (10.2, y, 0.775), (8, 0.2, 0.775), glass)
        add_box(world, (10.2, 0, 1.35), (8, 1.15, 0.2), glass)

    def reward(self, state: State) -> tuple[float, Terms]:
        """Reward moving forwards with torso and head low and the pelvis level, if within the tunnel."""
        control, move = rewards.small_control(state), rewards.move(state, 1.0)
        crawling = tolerance(state.imu_position[2], 0.6, 1.0, margin=1)
        crawling_head = tolerance(state.head_height, 0.6, 1.0, margin=1)
        tilt = float(np.linalg.norm(state.pelvis_quaternion - _CRAWLING))
        in_tunnel = tolerance(state.imu_position[1], -1, 1)
        reward = (
            0.1 * control
            + 0.25 * min(crawling, crawling_head)
            + 0.4 * move
            + 0.25 * tolerance(tilt, margin=1)
        )
        terms = {
            "crawling": crawling,
            "crawling_head": crawling_head,
            "small_control": control,
            "move": move,
            "in_tunnel": in_tunnel,
        }
        return reward * in_tunnel, terms


_CRAWLING = np.array([0.75, 0, 0.65, 0])
"""Orientation of a pelvis that crawls (not quite a unit quaternion, in the original too)."""
