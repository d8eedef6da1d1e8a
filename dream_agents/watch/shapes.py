"""Triangles of MuJoCo's geoms, as a browser draws them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

#: geoms of these groups are what MuJoCo's own viewer shows
_SHOWN_GROUPS = (0, 1, 2)
_ROUND = 16


class Shape(NamedTuple):
    """A geom in the frame of its body."""

    body: int
    vertices: np.ndarray
    faces: np.ndarray
    color: tuple[int, int, int]
    opacity: float


def shapes_of(model: Any) -> list[Shape]:
    """What is to be seen of a MuJoCo model, planes aside."""
    shapes = []
    for geom in range(model.ngeom):
        rgba = color_of(model, geom)
        if model.geom_group[geom] not in _SHOWN_GROUPS or rgba[3] == 0:
            continue
        mesh = _mesh_of(model, geom)
        if mesh is None:
            continue
        vertices, faces = mesh
        rotated = vertices @ _matrix(model.geom_quat[geom]).T + model.geom_pos[geom]
        red, green, blue = (int(255 * c) for c in rgba[:3])
        vertices = rotated.astype(np.float32)
        body = int(model.geom_bodyid[geom])
        shapes.append(Shape(body, vertices, faces, (red, green, blue), float(rgba[3])))
    return shapes


def has_floor(model: Any) -> bool:
    """Whether one of the geoms is a plane."""
    import mujoco

    return bool((model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE).any())


def color_of(model: Any, geom: int) -> np.ndarray:
    """Red, green, blue and opacity of a geom ``[4]``, its material's where it has one."""
    material = model.geom_matid[geom]
    rgba: np.ndarray = model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]
    return rgba


def _mesh_of(model: Any, geom: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Vertices ``[V, 3]`` and triangles ``[F, 3]`` in the geom's own frame; None of planes."""
    import mujoco
    import trimesh

    kind, size = mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom]
    made: Any
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        return _stored_mesh(model, model.geom_dataid[geom])
    if kind == mujoco.mjtGeom.mjGEOM_HFIELD:
        return _height_field(model, model.geom_dataid[geom])
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        made = trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        made = trimesh.creation.capsule(radius=size[0], height=2 * size[1], count=(_ROUND, _ROUND))
        made.apply_translation(-made.bounds.mean(0))
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        made = trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=2 * _ROUND)
    elif kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        made = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
        made.apply_scale(size)
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        made = trimesh.creation.box(2 * size)
    else:
        return None
    return np.asarray(made.vertices), np.asarray(made.faces)


def _stored_mesh(model: Any, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    first_face, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    return model.mesh_vert[first : first + count], model.mesh_face[first_face : first_face + faces]


def _height_field(model: Any, field: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = int(model.hfield_nrow[field]), int(model.hfield_ncol[field])
    x_radius, y_radius, height, _ = model.hfield_size[field]
    start = model.hfield_adr[field]
    heights = model.hfield_data[start : start + rows * columns].reshape(rows, columns) * height
    x, y = np.meshgrid(np.linspace(-x_radius, x_radius, columns), np.linspace(-y_radius, y_radius, rows))
    vertices = np.stack((x, y, heights), -1).reshape(-1, 3)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack((corner, corner + 1, corner + columns), 1)
    upper = np.stack((corner + 1, corner + columns + 1, corner + columns), 1)
    return vertices, np.concatenate((lower, upper))


def _matrix(quaternion: np.ndarray) -> np.ndarray:
    import mujoco

    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
