"""Keep one's balance on a board that lies on a sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dream_agents.wrappers.humanoid_bench.props import add_body, add_box, add_sphere
from dream_agents.wrappers.humanoid_bench.state import State
from dream_agents.wrappers.humanoid_bench.tasks.locomotion import Stand

if TYPE_CHECKING:
    import mujoco

_BOARD = (0.0, 0.0, 0.37, 1.0, 0.0, 0.0, 0.0)
_SPHERE = (0.0, 0.0, 0.17, 1.0, 0.0, 0.0, 0.0)


class BalanceSimple(Stand):
    """Stand upright and still on a board; the sphere under it is fixed."""

    name = "balance_simple"
    lowest_pelvis = 0.8
    head_height = 2.02
    base_position = (-0.1, 0.0, 1.38)
    props: ClassVar[tuple[float, ...]] = _BOARD
    labels: ClassVar[dict[str, str]] = {"stand_board_collision": "board", "pivot_sphere_collision": "sphere"}
    rolls: ClassVar[bool] = False
    """Whether the sphere can move."""

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the board on the sphere."""
        board = add_body(spec, "stand_board", _BOARD[:3], free=True)
        size, light, dark = (0.15, 0.55, 0.03), (0.7, 0.7, 0.7, 1), (0.3, 0.3, 0.3, 1)
        add_box(board, (0, 0, 0), size, light, name="stand_board_collision")
        sphere = add_body(spec, "rolling_pivot", _SPHERE[:3], free=self.rolls)
        add_sphere(sphere, 0.17, dark, name="pivot_sphere_collision")

    def terminated(self, state: State) -> bool:
        """End when the robot falls, when it or the board reaches the floor, or when it touches the sphere."""
        return bool(
            super().terminated(state)
            or state.touched_by("floor") - {"sphere"}
            or state.touched_by("sphere") - {"floor", "board"}
        )


class BalanceHard(BalanceSimple):
    """Stand upright and still on a board on a sphere that rolls."""

    name = "balance_hard"
    props = _BOARD + _SPHERE
    rolls = True
