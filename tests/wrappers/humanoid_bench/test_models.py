"""The builtin robots: generated from tables, and but for the shapes that collide the benchmark's own."""

import mujoco
import numpy as np
import pytest

from dream_agents.wrappers.humanoid_bench import generate
from dream_agents.wrappers.humanoid_bench.building import build_model, initial_qpos
from dream_agents.wrappers.humanoid_bench.robots import ROBOTS
from dream_agents.wrappers.humanoid_bench.tables import FOLDER, read_table
from dream_agents.wrappers.humanoid_bench.tasks import TASKS

from .conftest import parts, sample_of

TABLES = sorted(path.stem for path in FOLDER.glob("*.toml"))


def test_every_robot_has_a_table():
    assert set(TABLES) == set(ROBOTS)


@pytest.mark.parametrize("robot", TABLES)
def test_the_models_are_what_their_tables_generate(robot):
    assert generate.model_xml(robot) == (FOLDER / f"{robot}.xml").read_text()


def test_the_generator_writes_a_model_for_each_table(tmp_path):
    for robot in TABLES:
        (tmp_path / f"{robot}.toml").write_text((FOLDER / f"{robot}.toml").read_text())
    generate.main(tmp_path)
    for robot in TABLES:
        assert (tmp_path / f"{robot}.xml").read_text() == (FOLDER / f"{robot}.xml").read_text()


@pytest.mark.parametrize("robot", ROBOTS.values(), ids=ROBOTS)
def test_a_generated_model_stands_by_itself(robot):
    model = mujoco.MjModel.from_xml_path(str(FOLDER / f"{robot.name}.xml"))
    assert (model.nq, model.nv, model.nu) == (robot.qpos_size, robot.qpos_size - 1, robot.action_size)


BASE = """
body = [
    { name = "pelvis", geom = [{ type = "sphere", size = [0.123456789012345] }] },
    { name = "arm", parent = "pelvis", pos = [0, 0, 1], inertial = { mass = 1, diaginertia = [1, 1, 1] } },
]
actuator = [{ name = "a" }, { name = "b" }]
exclude = [{ body1 = "pelvis", body2 = "arm" }]
"""
MORE = """
extends = "base"
body = [{ name = "hand", parent = "arm" }, { name = "arm", parent = "pelvis", pos = [0, 0, 2] }]
actuator = [{ name = "last" }, { name = "first", after = "a" }, { name = "second", after = "first" }]
exclude = [{ body1 = "hand", body2 = "pelvis" }]
sensor = [{ type = "touch", name = "tip", site = "tip" }]
"""


@pytest.fixture
def small_tables(tmp_path):
    """The folder of a robot's table and another that extends it."""
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "more.toml").write_text(MORE)
    return tmp_path


def test_a_table_extends_another(small_tables):
    table = read_table("more", small_tables)
    assert [body["name"] for body in table["body"]] == ["pelvis", "arm", "hand"]
    assert table["body"][1] == {"name": "arm", "parent": "pelvis", "pos": [0, 0, 2]}
    assert [exclude["body1"] for exclude in table["exclude"]] == ["pelvis", "hand"]
    assert (len(table["sensor"]), table["tendon"]) == (1, [])
    assert [body["name"] for body in read_table("base", small_tables)["body"]] == ["pelvis", "arm"]


def test_an_actuator_stands_after_the_one_it_names_or_last(small_tables):
    actuators = read_table("more", small_tables)["actuator"]
    assert actuators == [{"name": name} for name in ("a", "first", "second", "b", "last")]


def test_numbers_are_written_with_all_their_digits(small_tables):
    assert 'size="0.123456789012345"' in generate.model_xml("base", small_tables)


def test_a_missing_table_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"none\.toml"):
        read_table("none")


OF_BODIES = ("mass", "inertia", "ipos", "iquat", "pos", "quat", "gravcomp", "sameframe")
OF_JOINTS = ("type", "axis", "pos", "range", "limited", "stiffness", "solref", "solimp", "margin")
OF_DOFS = ("armature", "damping", "frictionloss", "solref", "solimp")
OF_ACTUATORS = (
    *("gainprm", "biasprm", "forcerange", "ctrlrange", "trnid", "trntype", "gear", "gaintype", "biastype"),
    *("dyntype", "ctrllimited", "forcelimited"),
)
OF_OPTIONS = (
    *("timestep", "integrator", "solver", "iterations", "ls_iterations", "tolerance", "cone", "impratio"),
    *("gravity", "wind", "density", "viscosity", "disableflags", "enableflags", "jacobian"),
)
CONTACT = ("condim", "friction", "solref", "solimp", "margin", "gap", "priority", "contype", "conaffinity")


@pytest.fixture(scope="module", params=sample_of())
def id(request):
    return request.param


@pytest.fixture(scope="module")
def models(id, official_files):
    """The builtin and the official model of an environment."""
    robot, task = parts(id)
    return [build_model(ROBOTS[robot], TASKS[task], geometry) for geometry in ("builtin", "official")]


def bodies(model):
    """Return the names of the robot's bodies in order."""
    pelvis = model.body("pelvis").id
    return [model.body(i).name for i in range(model.nbody) if model.body_rootid[i] == pelvis]


def assert_same(names, field, models):
    """Arrays of the two models are equal in every digit."""
    for name in names:
        np.testing.assert_array_equal(*(getattr(model, f"{field}{name}") for model in models), err_msg=name)


def test_bodies_are_the_originals(models):
    builtin, official = models
    assert bodies(builtin) == bodies(official)
    for name in bodies(builtin):
        ours, theirs = builtin.body(name), official.body(name)
        for attribute in OF_BODIES:
            mine = getattr(builtin, f"body_{attribute}")[ours.id]
            expected = getattr(official, f"body_{attribute}")[theirs.id]
            np.testing.assert_array_equal(mine, expected, err_msg=f"{name} {attribute}")
        parents = builtin.body(ours.parentid[0]).name, official.body(theirs.parentid[0]).name
        assert parents[0] == parents[1]


def test_joints_actuators_and_tendons_are_the_originals(models):
    for kind, count in (("joint", "njnt"), ("actuator", "nu"), ("tendon", "ntendon")):
        names = [[getattr(model, kind)(i).name for i in range(getattr(model, count))] for model in models]
        assert names[0] == names[1]
    assert_same(OF_JOINTS, "jnt_", models)
    assert_same(OF_DOFS, "dof_", models)
    assert_same(OF_ACTUATORS, "actuator_", models)
    assert_same(("num", "limited", "range", "stiffness", "damping"), "tendon_", models)
    assert_same(("objid", "prm"), "wrap_", models)


def test_the_simulator_is_set_as_in_the_original(models):
    assert_same(OF_OPTIONS, "", [model.opt for model in models])


def test_episodes_start_from_the_originals_first_keyframe(models, id):
    robot, task = parts(id)
    for model in models:
        qpos = initial_qpos(ROBOTS[robot], TASKS[task], model)
        np.testing.assert_array_equal(qpos, models[1].key_qpos[0])


def test_sites_cameras_and_sensors_are_where_the_originals_are(models, id):
    for name in ("head", "imu", "left_foot", "right_foot", "left_hand"):
        sites = [model.site(name) for model in models]
        np.testing.assert_array_equal(*(site.pos for site in sites))
        owners = [model.body(site.bodyid[0]).name for model, site in zip(models, sites, strict=True)]
        assert owners[0] == owners[1]
    camera = TASKS[parts(id)[1]].camera
    for attribute in ("pos", "quat", "fovy", "mode"):
        np.testing.assert_array_equal(*(getattr(model.camera(camera), attribute) for model in models))
    sensors = [model.sensor("pelvis_subtreelinvel") for model in models]
    assert sensors[0].type == sensors[1].type
    for model, sensor in zip(models, sensors, strict=True):
        assert model.body(sensor.objid[0]).name == "pelvis"


def contact(model):
    """Return how each body of the robot touches others, and the pairs of bodies that never touch."""
    of_bodies = {}
    for i in np.flatnonzero(model.geom_contype):
        name = model.body(model.geom_bodyid[i]).name
        values = [np.atleast_1d(getattr(model, f"geom_{key}")[i]).tolist() for key in CONTACT]
        of_bodies.setdefault(name, set()).add(str(values))
    pairs = {
        frozenset(model.body(int(i)).name for i in (signature >> 16, signature & 0xFFFF))
        for signature in model.exclude_signature
    }
    return {name: of_bodies.get(name) for name in bodies(model)}, pairs


def test_the_same_bodies_touch_in_the_same_way(models):
    """With the same friction and softness."""
    builtin, official = map(contact, models)
    assert builtin == official
