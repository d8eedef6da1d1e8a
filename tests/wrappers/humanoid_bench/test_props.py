"""Terrain and props of HumanoidBench's tasks, compiled with a ball in place of the robot."""

import functools

import mujoco
import numpy as np
import pytest

from dream_agents.wrappers.humanoid_bench.tasks import TASKS

BOARD, SPHERE = (0, 0, 0.37, 1, 0, 0, 0), (0, 0, 0.17, 1, 0, 0, 0)
FREE = {"sit_hard": (-0.25, 0, 0, 1, 0, 0, 0), "balance_simple": BOARD, "balance_hard": BOARD + SPHERE}
SOLID = {
    "hurdle": 13,
    "crawl": 3,
    "maze": 30,
    "sit_simple": 2,
    "sit_hard": 2,
    "balance_simple": 2,
    "balance_hard": 2,
    "stair": 23,
    "slide": 12,
    "pole": 147,
}
CONTACT = [
    "contype",
    "conaffinity",
    "condim",
    "priority",
    "friction",
    "solmix",
    "solref",
    "solimp",
    "margin",
    "gap",
]


@functools.cache
def furnished(name, geom_defaults=()):
    """Return the task's world around a ball named pelvis."""
    spec = mujoco.MjSpec()
    for key, value in geom_defaults:
        setattr(spec.default.geom, key, list(value) if isinstance(value, tuple) else value)
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[20, 20, 1])
    robot = spec.worldbody.add_body(name="pelvis", pos=[0, 0, 5])
    robot.add_freejoint(name="root")
    robot.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.1, 0, 0])
    TASKS[name].furnish(spec)
    return spec.compile()


@pytest.fixture(scope="module")
def official(official_files):
    """Return a task's original world, from the benchmark's public files."""
    envs = official_files / "envs"
    return functools.cache(lambda name: mujoco.MjModel.from_xml_path(str(envs / f"h1_pos_{name}.xml")))


def things(model, *, solid):
    """Return the indices of what is neither robot nor floor: what can be touched, or what images show."""
    pelvis = model.body("pelvis").id
    chosen = (model.geom_contype != 0) if solid else (model.geom_group <= 2)
    chosen = chosen & (model.body_rootid[model.geom_bodyid] != pelvis)
    return [i for i in np.flatnonzero(chosen) if model.geom(i).name != "floor"]


def describe(model, geoms, keys=()):
    """Return where geoms are and what they are like, as a sorted array with a row for each."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    columns = [data.geom_xpos, data.geom_xmat, model.geom_type, model.geom_size]
    columns += [getattr(model, f"geom_{key}") for key in keys]
    rows = np.hstack([np.reshape(column, (model.ngeom, -1))[geoms] for column in columns])
    return np.array(sorted(rows.round(9).tolist()))


def inertia(model, body):
    """Return a body's inertia about its centre of mass, in its own frame, [3, 3]."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body(body).iquat)
    axes = rotation.reshape(3, 3)
    return axes @ np.diag(model.body(body).inertia) @ axes.T


def colour(model, geom):
    """Return the colour in which MuJoCo draws: its material's if its own is the default."""
    rgba, material = model.geom_rgba[geom], model.geom_matid[geom]
    if material >= 0 and rgba.tolist() == [0.5, 0.5, 0.5, 1]:
        rgba = model.mat_rgba[material]
    return rgba.round(6).tolist()


@pytest.mark.parametrize("name", TASKS)
def test_free_bodies_start_where_the_task_says(name):
    task, model = TASKS[name], furnished(name)
    assert task.props == FREE.get(name, ())
    assert model.nq == 7 + len(task.props)
    assert model.qpos0[7:] == pytest.approx(task.props)


@pytest.mark.parametrize("name", TASKS)
def test_what_can_be_touched(name):
    model = furnished(name)
    solid = things(model, solid=True)
    assert len(solid) == SOLID.get(name, 0)
    assert all(model.geom(i).friction == pytest.approx([1, 0.005, 0.0001]) for i in solid)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_tell_apart_geoms_that_exist(name):
    model = furnished(name)
    names = [model.geom(i).name for i in things(model, solid=True)]
    counts = {start: sum(name.startswith(start) for name in names) for start in TASKS[name].labels}
    assert all(counts.values())
    if name == "pole":
        assert counts["pole_r"] == 21 * 4 + 20 * 3
    if name == "maze":
        assert counts["block_collision_"] == 30


def test_the_robots_defaults_do_not_matter():
    odd = (("friction", (9, 9, 9)), ("condim", 1), ("contype", 4), ("density", 5), ("margin", 0.1))
    odd += (("solref", (0.5, 2)), ("group", 5), ("gap", 0.1), ("priority", 3), ("solmix", 2), ("mass", 3))
    for name in ("balance_hard", "sit_hard", "slide"):
        plain, other = furnished(name), furnished(name, odd)
        assert np.array_equal(*(describe(m, things(m, solid=True), CONTACT) for m in (plain, other)))
        assert plain.body_mass[2:] == pytest.approx(other.body_mass[2:])


def test_free_bodies_weigh_what_they_look_like():
    model = furnished("balance_hard")
    assert model.body("stand_board").mass == pytest.approx(1000 * 0.3 * 1.1 * 0.06)
    assert model.body("rolling_pivot").mass == pytest.approx(1000 * 4 / 3 * np.pi * 0.17**3)
    parts = 4 * 0.04 * 0.04 * 0.45 + 0.42 * 0.42 * 0.05 + 2 * 0.04 * 0.04 * 0.425 + 0.04 * 0.42 * 0.16
    assert furnished("sit_hard").body("chair").mass == pytest.approx(1000 * parts)


def test_things_stand_where_they_are_put():
    for name in ("balance_hard", "sit_hard"):
        model = furnished(name)
        data = mujoco.MjData(model)
        data.qpos[0] = 10  # the ball falls elsewhere
        mujoco.mj_step(model, data, 200)
        assert data.qpos[7:] == pytest.approx(TASKS[name].props, abs=5e-3)


@pytest.mark.parametrize("name", SOLID)
def test_contact_geometry_is_the_originals(name, official):
    ours, theirs = furnished(name), official(name)
    solid = [(model, things(model, solid=True)) for model in (ours, theirs)]
    assert np.array_equal(*(describe(model, geoms, CONTACT) for model, geoms in solid))
    assert {ours.geom(i).name for i in solid[0][1]} == {theirs.geom(i).name for i in solid[1][1]}
    for i in solid[1][1]:
        if name_of_geom := theirs.geom(i).name:
            same = ours.geom(name_of_geom)
            assert (same.size == theirs.geom(i).size).all() and same.type == theirs.geom(i).type


@pytest.mark.parametrize("name", FREE)
def test_free_bodies_weigh_what_the_originals_do(name, official):
    ours, theirs = furnished(name), official(name)
    free = [ours.body(i).name for i in range(2, ours.nbody) if ours.body_dofnum[i] == 6]
    assert 7 * len(free) == len(FREE[name])
    for body in free:
        for key in ("mass", "ipos", "pos", "dofnum"):
            expected = getattr(theirs.body(body), key)
            assert getattr(ours.body(body), key) == pytest.approx(expected, abs=1e-9)
        assert inertia(ours, body) == pytest.approx(inertia(theirs, body), abs=1e-9)


@pytest.mark.parametrize("name", SOLID)
def test_images_show_what_the_originals_show(name, official):
    ours, theirs = furnished(name), official(name)
    markers = {"intersection_a", "intersection_b", "intersection_c", "intersection_d"}
    shown = [i for i in things(theirs, solid=False) if theirs.geom(i).name not in markers]
    assert np.array_equal(describe(ours, things(ours, solid=False)), describe(theirs, shown))
    if "sit" not in name:  # the original chair has a texture
        colours = [[colour(ours, i) for i in things(ours, solid=False)], [colour(theirs, i) for i in shown]]
        assert sorted(colours[0]) == sorted(colours[1])
