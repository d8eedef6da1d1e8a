"""Walk through a forest of poles."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dream_agents.wrappers.humanoid_bench.props import BLACK, add_body, add_box, add_cylinder
from dream_agents.wrappers.humanoid_bench.state import State
from dream_agents.wrappers.humanoid_bench.tasks.base import Terms
from dream_agents.wrappers.humanoid_bench.tasks.locomotion import Walk

if TYPE_CHECKING:
    import mujoco


class Pole(Walk):
    """Walk along x without touching the poles."""

    name = "pole"
    lowest_pelvis = 0.5
    speed = 0.5
    labels: ClassVar[dict[str, str]] = {"pole_r": "pole"}

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add 41 rows of four and three poles by turns, and barriers around."""
        world, glass = spec.worldbody, (0.9, 0.9, 0.9, 0.2)
        for y in (-3.15, 3.15):
            add_box(world, (20, y, 1), (20.75, 0.15, 1), glass)
        add_box(world, (-0.6, 0, 1), (0.15, 3, 1), glass)
        for row in range(1, 42):
            poles = add_body(spec, "", (row, 0, 1))
            columns = (2.25, 0.75, -0.75, -2.25) if row % 2 else (1.5, 0.0, -1.5)
            for column, y in enumerate(columns, start=1):
                name = f"pole_r{row}_c{column}"
                add_cylinder(poles, (0, y, 0), 0.05, 2.0, BLACK, name=name)

    def reward(self, state: State) -> tuple[float, Terms]:
        """Reward standing and moving; a tenth while a pole is touched."""
        _, terms = super().reward(state)
        discount = 0.1 if state.touched_by("pole") - {"floor"} else 1.0
        reward = 0.5 * terms["small_control"] * terms["stand_reward"] + 0.5 * terms["move"]
        return reward * discount, terms | {"collision_discount": discount}
