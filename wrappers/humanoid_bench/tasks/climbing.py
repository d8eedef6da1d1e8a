"""Walk up and down stairs and slopes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dream_agents.wrappers.humanoid_bench.props import add_box, add_mesh
from dream_agents.wrappers.humanoid_bench.rewards import tolerance
from dream_agents.wrappers.humanoid_bench.state import State
from dream_agents.wrappers.humanoid_bench.tasks.locomotion import Walk

if TYPE_CHECKING:
    import mujoco


class Stair(Walk):
    """Walk along x, up and down stairs."""

    name = "stair"
    upright_from = 0.5

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add four flights of five steps up and four down, and invisible walls around."""
        world = spec.worldbody
        for x in (3.2, 9.2, 15.2, 21.2):
            for step in range(5):
                size = (2.7 - 0.6 * step, 5, 0.09)
                add_box(world, (x, 0, 0.09 + 0.18 * step), size, (0.8, 0.8, 0.83, 1))
        for y in (-5.05, 5.05):
            add_box(world, (13.5, y, 2), (15.5, 0.1, 2), visible=False)
        add_box(world, (-2.1, 0, 2), (0.1, 7.25, 2), visible=False)

    def standing(self, state: State) -> float:
        """Reward a head that is high above both feet."""
        feet = (state.left_foot_height, state.right_foot_height)
        left, right = (tolerance(state.head_height - foot, 1.2, math.inf, margin=0.45) for foot in feet)
        return left * right

    def terminated(self, state: State) -> bool:
        """End when the torso lies."""
        return state.torso_up < 0.1


class Slide(Stair):
    """Walk along x, up and down slopes."""

    name = "slide"

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add nine prisms, 10 m long and 1.75 m high, and invisible walls around."""
        edges = ((0.3, 0), (5.3, 1.75), (10.3, 0))
        corners = [value for x, z in edges for y in (5, -5) for value in (x, y, z)]
        spec.add_mesh(name="slide", uservert=corners)
        world = spec.worldbody
        for x in range(0, 81, 10):
            add_mesh(world, "slide", (x, 0, 0), (0.6, 0.6, 0.6, 1))
        for y in (-5.15, 5.15):
            add_box(world, (48.85, y, 4), (53, 0.15, 4), visible=False)
        add_box(world, (-4, 0, 4), (0.15, 5.15, 4), visible=False)
