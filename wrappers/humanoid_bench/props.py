"""Terrain and things: shapes for a `mujoco.MjSpec`, with every attribute said, for no defaults may be assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mujoco

BLACK = (0.1, 0.1, 0.1, 1.0)
WOOD = (0.82, 0.67, 0.52, 1.0)
DENSITY = 1000.0
"""Kilograms a cubic metre, by default: MuJoCo's."""
_VISIBLE_GROUP, _HIDDEN_GROUP = 2, 3


def add_body(spec: mujoco.MjSpec, name: str, position: Sequence[float], *, free: bool = False) -> Any:
    """Add a body to the world, which stands still unless it is `free`; return it.

    Terrain mostly belongs to `spec.worldbody`. Many small things are better grouped into bodies, row by row: MuJoCo
    then compares the robot only with the rows that are near.

    :param name: the body's name, or "" for none
    """
    body = spec.worldbody.add_body(name=name, pos=list(position))
    if free:
        body.add_freejoint(name=f"free_{name}")
    return body


def add_box(
    body: Any,
    position: Sequence[float],
    size: Sequence[float],
    rgba: Sequence[float] = BLACK,
    *,
    name: str = "",
    visible: bool = True,
    solid: bool = True,
    density: float = DENSITY,
) -> None:
    """Add a box of half lengths `size` [3] to `body`.

    :param body: what `add_body` returned, or `spec.worldbody`
    :param position: of its centre, [3], in the body's frame
    :param size: half lengths, [3]
    :param rgba: colour
    :param name: of the geom, for what tasks tell apart
    :param visible: whether images show it
    :param solid: whether it touches others
    :param density: kilograms a cubic metre
    """
    _add_geom(body, "BOX", visible, solid, name=name, pos=position, size=size, rgba=rgba, density=density)


def add_sphere(body: Any, radius: float, rgba: Sequence[float], *, name: str = "") -> None:
    """Add a sphere around the body's origin."""
    size = (radius, 0, 0)
    _add_geom(body, "SPHERE", True, True, name=name, pos=(0, 0, 0), size=size, rgba=rgba, density=DENSITY)


def add_cylinder(
    body: Any,
    position: Sequence[float],
    radius: float,
    length: float,
    rgba: Sequence[float],
    *,
    name: str = "",
) -> None:
    """Add an upright cylinder around `position`, `length` metres long."""
    size = (radius, length / 2, 0)
    _add_geom(body, "CYLINDER", True, True, name=name, pos=position, size=size, rgba=rgba, density=DENSITY)


def add_mesh(body: Any, mesh: str, position: Sequence[float], rgba: Sequence[float]) -> None:
    """Add a mesh of the spec by its name."""
    _add_geom(body, "MESH", True, True, meshname=mesh, pos=position, rgba=rgba, density=DENSITY)


def _add_geom(body: Any, shape: str, visible: bool, solid: bool, **attributes: Any) -> None:
    import mujoco

    body.add_geom(
        type=getattr(mujoco.mjtGeom, f"mjGEOM_{shape}"),
        contype=int(solid),
        conaffinity=int(solid),
        group=_VISIBLE_GROUP if visible else _HIDDEN_GROUP,
        mass=math.nan,  # of the density
        condim=3,
        priority=0,
        friction=[1, 0.005, 0.0001],
        solmix=1,
        solref=[0.02, 1],
        solimp=[0.9, 0.95, 0.001, 0.5, 2],
        margin=0,
        gap=0,
        **{key: list(value) if isinstance(value, tuple) else value for key, value in attributes.items()},
    )
