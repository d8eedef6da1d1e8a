"""The simulation in 3D, in a browser: bodies that are moved, and a ghost of what the plan does in the simulator."""

from __future__ import annotations

from typing import Any

import numpy as np

from dream_agents.watch.shapes import has_floor, shapes_of
from dream_agents.watch.simulation import root_body

_GHOST_COLOR, _GHOST_OPACITY = (60, 140, 255), 0.25


class Scene:
    """Bodies of a MuJoCo model on a viser server.

    :param server: a ``viser.ViserServer``
    :param model: MuJoCo's
    """

    def __init__(self, server: Any, model: Any):
        self._server = server
        server.scene.set_up_direction("+z")
        self._world = server.scene.add_frame("/world", show_axes=False)
        if has_floor(model):
            server.scene.add_grid("/world/floor", width=40, height=40, cell_size=1.0, section_size=5.0)
        shapes = shapes_of(model)
        self._bodies = self._add("/world/robot", model.nbody, shapes)
        self._ghost = self._add(
            "/world/ghost", model.nbody, shapes, _GHOST_COLOR, _GHOST_OPACITY, moving=_moving(model)
        )
        self._root = root_body(model)
        self._start: np.ndarray | None = None

    def _add(
        self,
        root: str,
        bodies: int,
        shapes: list[Any],
        color: tuple[int, int, int] | None = None,
        opacity: float | None = None,
        moving: np.ndarray | None = None,
    ) -> dict[int, Any]:
        """A frame for each body that has a shape, and its shapes in it."""
        handles: dict[int, Any] = {}
        for number, shape in enumerate(shapes):
            if moving is not None and not moving[shape.body]:
                continue
            if shape.body not in handles:
                handles[shape.body] = self._server.scene.add_frame(f"{root}/{shape.body}", show_axes=False)
            seen_through = shape.opacity if opacity is None else opacity
            self._server.scene.add_mesh_simple(
                f"{root}/{shape.body}/{number}",
                shape.vertices,
                shape.faces,
                color=color or shape.color,
                opacity=None if seen_through >= 1 else seen_through,
                cast_shadow=color is None,
            )
        return handles

    def show(self, poses: np.ndarray, follow: bool = False) -> None:
        """Move the bodies to ``poses [nbody, 7]``.

        :param follow: move the world under the robot, so that it stays in sight of whoever looks
        """
        position = poses[self._root, :2]
        if self._start is None:
            self._start = position.copy()
        offset = self._start - position if follow else np.zeros(2)
        with self._server.atomic():
            self._world.position = (*offset, 0.0)
            _move(self._bodies, poses)

    def show_ghost(self, poses: np.ndarray | None) -> None:
        """Move the ghost to ``poses [nbody, 7]``; None hides it."""
        with self._server.atomic():
            for handle in self._ghost.values():
                handle.visible = poses is not None
            if poses is not None:
                _move(self._ghost, poses)


def between(before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """Poses ``[nbody, 7]`` on the way from one to the other.

    :param share: 0 is before, 1 after
    """
    same_side = np.where((before[:, 3:] * after[:, 3:]).sum(1, keepdims=True) < 0, -1.0, 1.0)
    start = np.concatenate((before[:, :3], before[:, 3:] * same_side), 1)
    poses = start + share * (after - start)
    poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    return poses


def _move(handles: dict[int, Any], poses: np.ndarray) -> None:
    for body, handle in handles.items():
        handle.position, handle.wxyz = poses[body, :3], poses[body, 3:]


def _moving(model: Any) -> np.ndarray:
    """Which bodies can move ``[nbody]``."""
    moving: np.ndarray = model.body_weldid != 0
    return moving
