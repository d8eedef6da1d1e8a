"""Rewards, terms and ends of HumanoidBench's tasks, on states made up by hand."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from dream_agents.wrappers.humanoid_bench import rewards
from dream_agents.wrappers.humanoid_bench.rewards import tolerance
from dream_agents.wrappers.humanoid_bench.state import State
from dream_agents.wrappers.humanoid_bench.tasks import TASKS

ONE_SIXTH = 1 / 6
NUMBERS = [-3.0, -1.0, -0.5, -1e-9, 0.0, 0.2, 0.5, 1.0, 1.05, 1.7, 2.0, 40.0]


def state(*, at=(0.0, 0.0, 1.0), touching=(), **changes):
    """A robot that stands upright and still at `at`, without any force, and `touching` pairs of labels."""
    x, y, z = at
    values = {
        "head_height": z + 0.7,
        "torso_up": 1.0,
        "pelvis_up": 1.0,
        "velocity": np.zeros(3),
        "actuator_forces": np.zeros(19),
        "root_position": np.array(at),
        "pelvis_position": np.array(at),
        "pelvis_quaternion": np.array([1.0, 0.0, 0.0, 0.0]),
        "imu_position": np.array([x, y, z + 0.3]),
        "left_foot_height": 0.1,
        "right_foot_height": 0.1,
        "left_hand_position": np.array([x, y + 0.2, z]),
        "robot_velocities": np.zeros(25),
        "contacts": frozenset(frozenset(pair) for pair in touching),
    }
    return State(**(values | changes))


def moving(x, y=0.0):
    return np.array([x, y, 0.0])


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"margin": 1},
        {"margin": 0.3, "value_at_margin": 0.4},
        {"lower": -0.19, "upper": 0.19, "margin": 0.2},
        {"lower": 0.9, "upper": math.inf, "margin": 1.9, "sigmoid": "linear"},
        {"lower": 0.9, "upper": math.inf, "margin": 1.9, "sigmoid": "linear", "value_at_margin": 0.2},
        {"margin": 10, "sigmoid": "quadratic"},
        {"lower": -1, "upper": 0.5, "margin": 2, "sigmoid": "quadratic", "value_at_margin": 0.1},
    ],
)
def test_tolerance_is_dm_controls(keywords):
    original = pytest.importorskip("dm_control.utils.rewards")
    defaults = {"lower": 0.0, "upper": 0.0, "margin": 0.0, "sigmoid": "gaussian"}
    said = defaults | {"value_at_margin": 0.1 if "sigmoid" not in keywords else 0.0} | keywords
    bounds = said.pop("lower"), said.pop("upper")
    expected = original.tolerance(np.array(NUMBERS), bounds=bounds, **said)
    of_array = tolerance(np.array(NUMBERS), **keywords)
    of_numbers = [tolerance(number, **keywords) for number in NUMBERS]
    assert of_array == pytest.approx(expected, abs=1e-12)
    assert of_numbers == pytest.approx(expected, abs=1e-12)
    assert all(type(value) is float for value in of_numbers) and of_array.dtype == np.float64


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"lower": 1, "upper": 0}, "lower <= upper"),
        ({"margin": -1}, "margin -1"),
        ({"margin": 1, "sigmoid": "cosine"}, "'cosine' is none"),
    ],
)
def test_tolerance_names_what_is_wrong(keywords, message):
    with pytest.raises(ValueError, match=message):
        tolerance(0.5, **keywords)


def test_shared_terms():
    assert rewards.standing(state(head_height=1.65 - 0.4125)) == pytest.approx(0.1)
    assert rewards.upright(state(torso_up=-1)) == 0
    assert rewards.upright(state(torso_up=-0.05)) == pytest.approx(0.5)
    assert rewards.small_control(state(actuator_forces=np.array([0, 5.0, -20, 300]))) == pytest.approx(
        4.4375 / 5
    )
    assert rewards.move(state(velocity=moving(1)), 2) == pytest.approx((5 * 0.5 + 1) / 6)
    assert rewards.still(state(velocity=moving(0, 2))) == pytest.approx((1 + 0.1) / 2)


def test_tasks_are_the_benchmarks_in_its_order():
    order = "stand walk run hurdle crawl maze sit_simple sit_hard balance_simple balance_hard stair slide pole reach"
    assert list(TASKS) == order.split()
    assert all(task.name == name for name, task in TASKS.items())


def test_robots_start_on_the_floor_or_on_the_board():
    places = {name: task.base_position for name, task in TASKS.items() if task.base_position != (0, 0, 0.98)}
    assert places == {"balance_simple": (-0.1, 0, 1.38), "balance_hard": (-0.1, 0, 1.38)}


def test_targets_are_the_benchmarks(shared):
    published = json.loads((shared / "reference" / "humanoid_bench_scores.json").read_text())
    assert {name: task.target for name, task in TASKS.items()} == published["success_return"]


@pytest.mark.parametrize("name", TASKS)
def test_terms_are_the_originals(name, shared):
    with np.load(shared / "golden" / "humanoid_bench" / f"h1-{name}-v0.npz") as recorded:
        keys = {key.removeprefix("info/") for key in recorded if key.startswith("info/")}
    reward, terms = TASKS[name].reward(state())
    assert set(terms) == keys - {"per_timestep_reward"}
    assert {type(value) for value in (reward, *terms.values())} == {float}
    assert type(TASKS[name].terminated(state())) is bool


@pytest.mark.parametrize(
    ("name", "ideal"),
    [
        ("stand", state()),
        ("walk", state(velocity=moving(1))),
        ("run", state(velocity=moving(5))),
        ("hurdle", state(velocity=moving(6), torso_up=0.8)),
        ("sit_simple", state(at=(1, 2, 0.7), prop_position=np.array([1.19, 2, 0]))),
        ("sit_hard", state(at=(0.19, 0, 0.68), head_height=1.43)),
        ("sit_hard", state(at=(-0.19, 0, 0.72), head_height=1.37, torso_up=0.95)),
        ("balance_simple", state(at=(0, 0, 1.38), touching=[("floor", "sphere"), ("sphere", "board")])),
        ("balance_hard", state(at=(0, 0, 1.38))),
        ("stair", state(velocity=moving(1), torso_up=0.5, left_foot_height=0.5)),
        ("slide", state(velocity=moving(1), right_foot_height=0.5)),
        ("pole", state(velocity=moving(0.5), touching=[("pole", "floor")])),
    ],
)
def test_what_the_task_asks_for_is_worth_one(name, ideal):
    assert TASKS[name].reward(ideal)[0] == pytest.approx(1)
    assert not TASKS[name].terminated(ideal)


@pytest.mark.parametrize(
    ("name", "now", "expected"),
    [
        ("stand", state(velocity=moving(2, 2)), 0.1),
        ("stand", state(actuator_forces=np.full(19, 300.0)), 0.8),
        ("walk", state(), ONE_SIXTH),
        ("run", state(velocity=moving(2.5)), 3.5 / 6),
        ("run", state(torso_up=-0.05), 0.5 / 6),
        ("hurdle", state(touching=[("barrier", "other")]), 0.1 / 6),
        ("stair", state(left_foot_height=0.95, right_foot_height=0.95), 0.01 / 6),
        ("slide", state(torso_up=-0.45), 0.5 / 6),
        ("pole", state(actuator_forces=np.full(19, 300.0)), 0.5 * 0.8 + 0.5 / 6),
        ("pole", state(touching=[("pole", "other")]), 0.1 * (0.5 + 0.5 / 6)),
        ("sit_simple", state(at=(0, 0, 0.92)), 0.5 * 0.1 + 0.5),
        ("sit_hard", state(at=(0.39, 0, 0.7)), 0.5 + 0.5 * 0.1),
        ("sit_hard", state(at=(-0.39, 0, 0.7)), 0.5 + 0.5 * 0.1),
        ("sit_hard", state(at=(0, -0.1, 0.7)), 0.5 + 0.5 * 0.1),
        ("sit_simple", state(at=(0, 0, 0.7), torso_up=0.5), 0.5),
        ("sit_simple", state(at=(0, 0, 0.7), head_height=1.05), 0.1),
        ("sit_simple", state(at=(0, 0, 0.7), head_height=1.75), 0.1),
        ("balance_simple", state(head_height=2.02 - 0.4125), 0.1),
        ("balance_hard", state(at=(0, 0, 1.38), velocity=moving(2, 2)), 0.1),
    ],
)
def test_what_falls_short_is_worth_less(name, now, expected):
    assert TASKS[name].reward(now)[0] == pytest.approx(expected)


CRAWLING = {
    "head_height": 0.8,
    "imu_position": np.array([3, 0, 0.8]),
    "pelvis_quaternion": np.array([0.75, 0, 0.65, 0]),
    "velocity": moving(1),
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1),
        ({"head_height": 0.6, "imu_position": np.array([0, 1, 0.6])}, 1),
        ({"head_height": 1, "imu_position": np.array([0, -1, 1])}, 1),
        ({"head_height": 2}, 0.75 + 0.25 * 0.1),
        ({"head_height": -0.4}, 0.75 + 0.25 * 0.1),
        ({"imu_position": np.array([0, 0, 2])}, 0.75 + 0.25 * 0.1),
        ({"imu_position": np.array([0, 0, -0.4])}, 0.75 + 0.25 * 0.1),
        ({"imu_position": np.array([0, 1.01, 0.8])}, 0),
        ({"imu_position": np.array([0, -1.01, 0.8])}, 0),
        ({"pelvis_quaternion": np.array([0.75, 1, 0.65, 0])}, 0.75 + 0.25 * 0.1),
        ({"velocity": moving(0)}, 0.6 + 0.4 / 6),
        ({"actuator_forces": np.full(19, 10.0)}, 0.9 + 0.1 * 0.8),
    ],
)
def test_crawling(changes, expected):
    assert TASKS["crawl"].reward(state(**(CRAWLING | changes)))[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("stage", "at", "after"),
    [
        (0, (0.39, 0, 1), 1),
        (0, (0.41, 0, 1), 0),
        (1, (0, 0, 1), 1),
        (1, (3.39, 0, 1), 2),
        (1, (2.61, 0, 1), 2),
        (1, (3, 0.41, 1), 1),
        (2, (2.61, 6, 1), 3),
        (2, (3, 5.61, 1), 3),
        (2, (3, 6.41, 1), 2),
        (3, (5.61, 6, 1), 4),
        (3, (6, 5.61, 1), 4),
        (4, (6, 6, 1), 4),
    ],
)
def test_maze_counts_checkpoints_in_their_order(stage, at, after):
    now = state(at=at, stage=stage)
    reward, terms = TASKS["maze"].reward(now)
    bonus = 100 * after if after > stage else 0
    assert TASKS["maze"].next_stage(now) == terms["success_subtasks"] == after
    assert terms["stage_convert_reward"] == bonus
    assert 0 < reward - bonus <= 1


@pytest.mark.parametrize(
    ("stage", "velocity", "term"),
    [
        (0, moving(2), 1),
        (1, moving(2), 1),
        (1, moving(1.5), 3.5 / 6),
        (1, moving(2, 0.5), 3.5 / 6),
        (1, moving(0, 2), ONE_SIXTH),
        (2, moving(0, 2), 1),
        (3, moving(2), 1),
        (3, moving(0, 2), ONE_SIXTH),
        (4, moving(0), 1),
    ],
)
def test_maze_rewards_the_way_to_the_next_checkpoint(stage, velocity, term):
    now = state(at=(-9, -9, 1), stage=stage, velocity=velocity)
    assert TASKS["maze"].reward(now)[1]["move"] == pytest.approx(term)


def test_maze_walls_cost_nine_tenths_but_not_of_the_bonus():
    free = state(at=(3, 0, 1), stage=1, imu_position=np.array([3, 5.0, 1]))
    touching = state(at=(3, 0, 1), stage=1, imu_position=np.array([3, 5.0, 1]), touching=[("wall", "other")])
    assert TASKS["maze"].reward(free)[0] == pytest.approx(200 + 0.2 + 0.4 / 6 + 0.4 * 0.1)
    assert TASKS["maze"].reward(touching)[0] == pytest.approx(200 + 0.1 * (0.2 + 0.4 / 6 + 0.4 * 0.1))


def test_maze_ends_at_its_last_checkpoint():
    terms = TASKS["maze"].reward(state(at=(6, 6, 1), stage=4))[1]
    assert terms["checkpoint_proximity_reward"] == terms["move"] == 1


def test_maze_shows_the_checkpoints():
    colours = [marker.rgba[:3] for marker in TASKS["maze"].markers(np.zeros(3), 1)]
    assert colours == [(0, 1, 0), (1, 0, 0), (0, 0, 0), (0, 0, 0)]
    assert [marker.position for marker in TASKS["maze"].markers(np.zeros(3), 4)][2:] == [(3, 6, 1), (6, 6, 1)]


@pytest.mark.parametrize(("distance", "bonus"), [(1.01, 0), (0.99, 5), (0.051, 5), (0.049, 15)])
def test_reaching(distance, bonus):
    now = state(
        pelvis_up=0.5,
        left_hand_position=np.array([1, 1, 1.0]),
        goal=np.array([1, 1 - distance, 1.0]),
        robot_velocities=np.array([3.0, -4.0]),
    )
    reward, terms = TASKS["reach"].reward(now)
    assert reward == pytest.approx(2.5 - 1e-4 * 25 + bonus)
    assert terms["motion_penalty"] == 25 and terms["hand_dist"] == pytest.approx(distance)


def test_goals_fill_their_box():
    rng = np.random.default_rng(0)
    goals = np.array([TASKS["reach"].goal(rng) for _ in range(2000)])
    assert goals.min(0) == pytest.approx([-2, -2, 0.2], abs=0.02) and (goals.min(0) >= [-2, -2, 0.2]).all()
    assert goals.max(0) == pytest.approx([2, 2, 2], abs=0.02) and (goals.max(0) <= 2).all()
    assert TASKS["reach"].markers(goals[0], 0)[0].position == tuple(goals[0])


def test_sit_hard_starts_anywhere_before_the_chair():
    rng, starts = np.random.default_rng(0), []
    for _ in range(2000):
        qpos = np.full(33, 7.0)
        TASKS["sit_hard"].place(rng, qpos)
        assert qpos[2] == 7 and (qpos[7:] == 7).all()
        starts.append([qpos[0], qpos[1], 2 * math.atan2(qpos[6], qpos[3])])
        assert qpos[4] == qpos[5] == 0 and np.linalg.norm(qpos[3:7]) == pytest.approx(1)
    assert np.min(starts, 0) == pytest.approx([0.2, -0.15, -1.8], abs=0.01)
    assert np.max(starts, 0) == pytest.approx([0.4, 0.15, 1.8], abs=0.01)


@pytest.mark.parametrize(
    ("lowest", "names"),
    [
        (0.2, "stand walk run hurdle maze"),
        (0.5, "pole sit_simple sit_hard"),
        (0.8, "balance_simple balance_hard"),
    ],
)
def test_episodes_end_with_a_fall(lowest, names):
    for name in names.split():
        assert TASKS[name].terminated(state(root_position=np.array([0, 0, lowest - 1e-6])))
        assert not TASKS[name].terminated(state(root_position=np.array([0, 0, lowest])))


@pytest.mark.parametrize("name", ["stair", "slide"])
def test_episodes_on_slopes_end_when_the_torso_lies(name):
    assert TASKS[name].terminated(state(torso_up=0.09))
    assert not TASKS[name].terminated(state(torso_up=0.11, root_position=np.zeros(3)))


def test_crawl_and_reach_never_end():
    endless = [name for name, task in TASKS.items() if not task.episodic]
    assert endless == ["crawl", "reach"]
    lying = state(at=(0, 0, 0), torso_up=-1, touching=[("floor", "other")])
    assert [name for name, task in TASKS.items() if not task.terminated(lying)] == endless


@pytest.mark.parametrize("name", ["balance_simple", "balance_hard"])
@pytest.mark.parametrize(
    ("pair", "ends"),
    [
        (("sphere", "floor"), False),
        (("sphere", "board"), False),
        (("board", "other"), False),
        (("other",), False),
        (("sphere", "other"), True),
        (("floor", "other"), True),
        (("floor", "board"), True),
    ],
)
def test_balancing_ends_with_a_touch(name, pair, ends):
    now = state(at=(0, 0, 1.38), touching=[("sphere", "board"), pair])
    assert TASKS[name].terminated(now) is ends


def test_rewards_need_no_simulator():
    code = "import sys; import dream_agents.wrappers.humanoid_bench.tasks; print('mujoco' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"
