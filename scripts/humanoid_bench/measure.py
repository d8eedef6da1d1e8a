"""Write the tables of the builtin robots: numbers measured from the public model, shapes fitted to its meshes.

    python scripts/humanoid_bench/measure.py PUBLIC_FILES

`PUBLIC_FILES` is the folder `humanoid_bench/assets` of the benchmark's repository. Every number of the
kinematic tree, the inertias, joints and actuators is taken over as it is; a collision mesh is replaced by the
primitives that `fit.py` finds for its convex hull, which is what MuJoCo collides. Then
`python -m dream_agents.wrappers.humanoid_bench.generate` makes the models from the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from fit import fit_link

from dream_agents.wrappers.humanoid_bench.tables import FOLDER

CREDIT = """\
# The {what}, in MuJoCo's terms (MJCF attributes). Written by scripts/humanoid_bench/measure.py.
#
# Derived from public models as HumanoidBench (MIT License) has them, and changed: the numbers are theirs; the
# geoms with a comment are primitives fitted to the convex hull of the public mesh of that name. NOTICE has the
# licenses.
{sources}"""
H1_SOURCE = """\
# Unitree H1: Copyright (c) 2016-2023 HangZhou YuShu TECHNOLOGY CO.,LTD. ("Unitree Robotics"), BSD 3-Clause License
"""
HAND_SOURCE = """\
# Shadow hand: the Shadow Robot Company, from MuJoCo Menagerie, Apache License 2.0
"""
GEOM_TYPES = {
    mujoco.mjtGeom.mjGEOM_BOX: ("box", 3),
    mujoco.mjtGeom.mjGEOM_CAPSULE: ("capsule", 2),
    mujoco.mjtGeom.mjGEOM_CYLINDER: ("cylinder", 2),
    mujoco.mjtGeom.mjGEOM_SPHERE: ("sphere", 1),
}
SENSORS = {
    mujoco.mjtSensor.mjSENS_TOUCH: ("touch", "site"),
    mujoco.mjtSensor.mjSENS_SUBTREELINVEL: ("subtreelinvel", "body"),
    mujoco.mjtSensor.mjSENS_VELOCIMETER: ("velocimeter", "site"),
}
IDENTITY = [1.0, 0.0, 0.0, 0.0]


def main() -> None:
    """Write `h1.toml` and `h1hand.toml`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("public_files", type=Path, help="the benchmark's folder humanoid_bench/assets")
    folder = parser.parse_args().public_files
    h1 = _load(folder, "h1")
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "h1.toml").write_text(
        CREDIT.format(what="Unitree H1", sources=H1_SOURCE)
        + "".join(_bodies(h1, {}))
        + "".join(_rest(h1, {}))
    )
    h1hand = _load(folder, "h1hand")
    known = {part.name: part for part in (*h1.bodies, *h1.actuators)}
    (FOLDER / "h1hand.toml").write_text(
        CREDIT.format(what="Unitree H1 with two Shadow hands", sources=H1_SOURCE + HAND_SOURCE)
        + _section("", {"extends": "h1"})
        + "".join(_bodies(h1hand, known))
        + "".join(_rest(h1hand, known))
    )


def _load(folder: Path, robot: str) -> mujoco.MjSpec:
    """Read the robot as the public files describe it, standing on an empty floor."""
    return mujoco.MjSpec.from_file(str(folder / "envs" / f"{robot}_pos_stand.xml"))


def _bodies(spec: mujoco.MjSpec, known: dict[str, Any]) -> Iterator[str]:
    """Yield a table for each body of the robot that is not `known`, parents first."""
    model = spec.compile()
    for body in spec.bodies:
        if body.name == "world" or (body.name in known and not _gains_joint(body, known[body.name])):
            continue
        table: dict[str, Any] = {"name": body.name}
        if body.parent.name != "world":
            table["parent"] = body.parent.name
        table |= _frame(body)
        if body.mass > 0:
            table["inertial"] = {
                "mass": body.mass,
                **_frame(body, "i"),
                "diaginertia": body.inertia.tolist(),
            }
        table["joint"] = [_joint(joint) for joint in body.joints]
        table["site"] = [{"name": s.name, "pos": s.pos.tolist()} for s in body.sites]
        table["camera"] = [_camera(camera) for camera in body.cameras]
        geoms = [geom for geom in body.geoms if geom.contype]
        shapes = [shape for geom in geoms for shape in _shapes(geom, model)]
        yield _section("body", table, shapes)


def _gains_joint(body: Any, known: Any) -> bool:
    """Tell whether a body has a joint here that it has not in the robot that this one extends."""
    return len(body.joints) != len(known.joints)


def _frame(element: Any, prefix: str = "") -> dict[str, Any]:
    """Return `pos` and `quat` where they are not the identity; `prefix` "i" for the inertial frame's."""
    pos, quat = getattr(element, f"{prefix}pos").tolist(), getattr(element, f"{prefix}quat").tolist()
    frame: dict[str, Any] = {} if not any(pos) else {"pos": pos}
    return frame if quat == IDENTITY else {**frame, "quat": quat}


def _joint(joint: Any) -> dict[str, Any]:
    """Return one joint; a free one has only its name."""
    if joint.type == mujoco.mjtJoint.mjJNT_FREE:
        return {"name": joint.name, "type": "free"}
    table = {"name": joint.name, "axis": joint.axis.tolist(), "range": joint.range.tolist()}
    table |= {"damping": joint.damping, "armature": joint.armature}
    return table if not joint.frictionloss else {**table, "frictionloss": joint.frictionloss}


def _camera(camera: Any) -> dict[str, Any]:
    """Return one camera: where it is and whether it follows the robot."""
    table = {"name": camera.name, "pos": camera.pos.tolist(), "xyaxes": camera.alt.xyaxes.tolist()}
    follows = camera.mode == mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM
    return {**table, "mode": "trackcom"} if follows else table


def _shapes(geom: Any, model: mujoco.MjModel) -> list[dict[str, Any]]:
    """Return a collision geom as it is, or in place of a mesh the primitives fitted to its hull."""
    contact = {"solref": geom.solref.tolist(), "solimp": geom.solimp.tolist()}
    if contact == {"solref": [0.02, 1.0], "solimp": [0.9, 0.95, 0.001, 0.5, 2.0]}:
        contact = {}
    if geom.type != mujoco.mjtGeom.mjGEOM_MESH:
        name, numbers = GEOM_TYPES[geom.type]
        return [{"type": name, "size": geom.size.tolist()[:numbers], **_frame(geom), **contact}]
    return [{**shape, **contact, "#": geom.meshname} for shape in fit_link(geom.meshname, _hull(model, geom))]


def _hull(model: mujoco.MjModel, geom: Any) -> np.ndarray:
    """Return the vertices of a mesh geom in its body's frame, [n, 3]."""
    mesh = model.mesh(geom.meshname).id
    index = next(g for g in range(model.ngeom) if model.geom_dataid[g] == mesh and model.geom_contype[g])
    start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[index])
    vertices = model.mesh_vert[start : start + count].astype(np.float64)
    return vertices @ rotation.reshape(3, 3).T + model.geom_pos[index]


def _rest(spec: mujoco.MjSpec, known: dict[str, Any]) -> Iterator[str]:
    """Yield actuators, tendons, exclusions and sensors."""
    before = None
    for actuator in spec.actuators:
        if actuator.name not in known:
            table: dict[str, Any] = {"name": actuator.name}
            if known and before in known:
                table["after"] = before
            kind = "tendon" if actuator.trntype == mujoco.mjtTrn.mjTRN_TENDON else "joint"
            table |= {kind: actuator.target, "kp": actuator.gainprm[0].item()}
            table["kv"] = 0.0 - actuator.biasprm[2].item()
            table |= {"ctrlrange": actuator.ctrlrange.tolist(), "forcerange": actuator.forcerange.tolist()}
            yield _section("actuator", table)
        before = actuator.name
    model = spec.compile()
    for tendon in spec.tendons:
        yield _section("tendon", {"name": tendon.name, "joints": _wrapped_joints(model, tendon)})
    for exclude in spec.excludes:
        yield _section("exclude", {"body1": exclude.bodyname1, "body2": exclude.bodyname2})
    if not known:
        for sensor in spec.sensors:
            kind, attribute = SENSORS[sensor.type]
            yield _section("sensor", {"type": kind, "name": sensor.name, attribute: sensor.objname})


def _wrapped_joints(model: mujoco.MjModel, tendon: Any) -> list[str]:
    """Return the joints whose angles a fixed tendon adds up."""
    index = model.tendon(tendon.name).id
    start, count = model.tendon_adr[index], model.tendon_num[index]
    assert np.all(model.wrap_prm[start : start + count] == 1)
    return [model.joint(j).name for j in model.wrap_objid[start : start + count]]


def _section(name: str, table: dict[str, Any], geoms: list[dict[str, Any]] | None = None) -> str:
    """Write one table as TOML; lists of tables get a line an entry."""
    lines = ["", f"[[{name}]]"] if name else [""]
    for key, value in (table | ({"geom": geoms} if geoms else {})).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            comments = ["  # " + entry["#"] if "#" in entry else "" for entry in value]
            rows = [f"    {_value(entry)},{comment}" for entry, comment in zip(value, comments, strict=True)]
            lines += [f"{key} = [", *rows, "]"]
        elif value != []:
            lines.append(f"{key} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """Write one value as TOML: numbers with as many digits as they have."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items() if k != "#") + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    return repr(int(value)) if value == int(value) else repr(float(value))


if __name__ == "__main__":
    main()
