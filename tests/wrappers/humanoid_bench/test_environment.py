"""What HumanoidBench's environments add to what every environment promises: sizes, episodes, resets, errors."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from dream_agents import make_env
from dream_agents.wrappers import TaskInfo, describe, gl, task_info
from dream_agents.wrappers.humanoid_bench import official
from dream_agents.wrappers.humanoid_bench.environment import HumanoidBenchEnv

from .conftest import ALL, parts

TASKS = (
    *("stand", "walk", "run", "hurdle", "crawl", "maze", "sit_simple", "sit_hard"),
    *("balance_simple", "balance_hard", "stair", "slide", "pole", "reach"),
)
SIZES = {"h1": (51, 19), "h1hand": (151, 61)}
MORE_NUMBERS = {"reach": 6, "sit_hard": 13, "balance_simple": 13, "balance_hard": 26}
"""In the observation, with the robot's qpos and qvel: hand and goal, or bodies that move."""
NEVER_END = ("crawl", "reach")
every_id = pytest.mark.parametrize("id", ALL)


def play(id, seed, decisions=20):
    """Return the observations and rewards of two episodes, with seeded random actions, as bytes."""
    env = make_env(id)
    random = np.random.default_rng(0)
    record = []
    for start in (seed, None):  # a seeded episode, and the next one of the stream
        record.append(env.reset(seed=start)[0].tobytes())
        for _ in range(decisions):
            action = random.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            observation, reward, *_ = env.step(action)
            record += [observation.tobytes(), np.float64(reward).tobytes()]
    return b"".join(record)


def starts(id, count=200, **options):
    """Return the first observations of many episodes, [count, O]."""
    env = make_env(id, seed=0, **options)
    return np.array([env.reset()[0] for _ in range(count)])


def assert_fills(values, low, high, slack=1e-6):
    """All values lie between the bounds, and some come near each."""
    width = np.subtract(high, low)
    assert (values >= low - slack).all() and (values <= high + slack).all()
    assert (values.min(axis=0) < low + 0.1 * width).all()
    assert (values.max(axis=0) > high - 0.1 * width).all()


def test_all_tasks_are_there_for_both_robots():
    assert sorted(ALL) == sorted(f"humanoid_{robot}-{task}-v0" for robot in SIZES for task in TASKS)


@every_id
def test_sizes_are_the_benchmarks(id):
    robot, task = parts(id)
    size, actions = SIZES[robot]
    info = describe(id)
    assert (info.observation_size, info.action_size) == (size + MORE_NUMBERS.get(task, 0), actions)


@every_id
def test_info_has_the_rewards_terms_and_success(id):
    env = make_env(id, seed=0)
    env.reset()
    _, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert isinstance(reward, float)
    assert {type(terminated), type(truncated), type(info["success"])} == {bool}
    assert len(info) > 1 and all(np.isfinite(term) for term in info.values())


@pytest.mark.parametrize(
    "alias",
    ["humanoid_h1hand-sit_hard", "h1hand-sit_hard", "h1hand-sit_hard-v0", "dream_agents:h1hand-sit_hard"],
)
def test_aliases(alias):
    env = make_env(alias)
    assert env.spec.id == "humanoid_h1hand-sit_hard-v0"
    assert (env.unwrapped.robot.name, env.unwrapped.task.name) == ("h1hand", "sit_hard")


@every_id
def test_only_tasks_that_end_are_episodic(id):
    episodic = parts(id)[1] not in NEVER_END
    expected = TaskInfo(action_repeat=1, max_episode_steps=1000, episodic=episodic)
    assert task_info(make_env(id)) == expected
    assert describe(id).episodic == episodic
    assert not task_info(make_env(id, early_termination=False)).episodic


@pytest.mark.parametrize("task", ["stand", "pole"])
def test_without_early_termination_a_robot_that_has_fallen_goes_on(task):
    env = make_env(f"h1-{task}", seed=0, early_termination=False)
    env.reset()
    for _ in range(300):
        observation, _, terminated, *_ = env.step(env.action_space.sample())
        assert not terminated
    assert observation[2] < 0.9


@pytest.mark.parametrize("id", [id for id in ALL if parts(id)[1] not in NEVER_END])
def test_a_robot_that_falls_ends_the_episode(id):
    env = make_env(id, seed=1)
    env.reset()
    random, decision, terminated = np.random.default_rng(1), 0, False
    while not terminated:
        if decision % 20 == 0:  # every joint at one end or the other of its range
            action = random.choice([-1, 1], env.action_space.shape).astype(np.float32)
        *_, terminated, truncated, _ = env.step(action)
        assert not truncated, "it never fell"
        decision += 1


@pytest.mark.parametrize("task", NEVER_END)
def test_a_robot_that_lies_goes_on_where_tasks_do_not_end(task):
    env = HumanoidBenchEnv("h1", task)
    qpos = env.data.qpos.copy()
    qpos[:7] = 0, 0, 0.1, 0.7, 0, 0.7, 0
    env.set_state(qpos, np.zeros(25))
    assert not env.step(np.zeros(19))[2]


def test_a_decision_is_20_ms_and_actions_span_each_actuators_range():
    env = make_env("h1-stand", seed=0)
    low, high = env.unwrapped.model.actuator_ctrlrange.T
    env.reset()
    for action, target in ((-1, low), (1, high), (0, (low + high) / 2)):
        before = env.unwrapped.data.time
        env.step(np.full(19, action, np.float32))
        assert env.unwrapped.data.time - before == pytest.approx(0.02)
        np.testing.assert_allclose(env.unwrapped.data.ctrl, target, atol=1e-12)


HOME = np.array([0, 0, 0.98, 1, 0, 0, 0, *(0, 0, -0.4, 0.8, -0.4) * 2, *[0] * 9])


def test_reset_puts_noise_of_a_hundredth_on_every_number_of_the_home_pose():
    observations = starts("humanoid_h1-stand-v0")
    assert_fills(observations[:, :26] - HOME, -0.01, 0.01)
    assert (observations[:, 26:] == 0).all()
    hands = starts("humanoid_h1hand-stand-v0")
    np.testing.assert_allclose(hands[:, :7], np.tile(HOME[:7], (200, 1)), atol=0.01001)
    assert_fills(hands[:, :76] - hands[:, :76].mean(axis=0).round(2), -0.01, 0.01)


def test_the_robot_of_sit_hard_stands_anywhere_before_the_chair():
    observations = starts("humanoid_h1-sit_hard-v0")
    assert_fills(observations[:, :2], np.array([0.2, -0.15]), np.array([0.4, 0.15]))
    w, x, y, z = observations[:, 3:7].T
    assert_fills(2 * np.arctan2(z, w), -1.8, 1.8)
    assert (x == 0).all() and (y == 0).all()
    assert_fills(observations[:, 7:26] - HOME[7:], -0.01, 0.01)
    assert_fills(observations[:, 26:33] - [-0.25, 0, 0, 1, 0, 0, 0], -0.01, 0.01)


@pytest.mark.parametrize("robot", SIZES)
def test_reach_observes_the_left_hand_and_a_new_goal_each_episode(robot):
    env = make_env(f"{robot}-reach", seed=0)
    simulation, goals = env.unwrapped, []
    for _ in range(200):
        observation, _ = env.reset()
        np.testing.assert_array_equal(observation[-3:], simulation.goal.astype(np.float32))
        hand = simulation.data.site("left_hand").xpos.astype(np.float32)
        np.testing.assert_array_equal(observation[-6:-3], hand)
        goals.append(observation[-3:])
    assert_fills(np.array(goals), np.array([-2, -2, 0.2]), np.array([2, 2, 2.0]))
    observation, *_, info = env.step(env.action_space.sample())
    np.testing.assert_array_equal(observation[-3:], goals[-1])
    assert info["hand_dist"] == pytest.approx(np.linalg.norm(observation[-6:-3] - goals[-1]), abs=1e-5)


def test_global_random_numbers_change_nothing():
    np.random.seed(1)  # noqa: NPY002
    first = play("humanoid_h1-reach-v0", seed=3)
    np.random.seed(2)  # noqa: NPY002
    assert first == play("humanoid_h1-reach-v0", seed=3)


def test_an_episode_forgets_the_one_before():
    env = make_env("humanoid_h1-maze-v0", seed=0).unwrapped
    env.set_state(env.data.qpos.copy(), np.ones(25), stage=3)
    env.step(np.ones(19))
    used, _ = env.reset(seed=9)
    fresh, _ = make_env("humanoid_h1-maze-v0").reset(seed=9)
    np.testing.assert_array_equal(used, fresh)
    assert env.stage == 0 and env.data.time == 0
    np.testing.assert_array_equal(env.data.ctrl, 0)


@pytest.mark.parametrize("id", ["humanoid_h1-reach-v0", "humanoid_h1-maze-v0"])
def test_copies_and_pickles_play_the_same_episodes(id):
    env = make_env(id, early_termination=False, height=32).unwrapped
    for other in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        assert other.early_termination is False and not other.metadata["episodic"]
        for mine, theirs in zip(env.reset(seed=2), other.reset(seed=2), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        action = np.full(19, 0.5)
        np.testing.assert_array_equal(env.step(action)[0], other.step(action)[0])


def forbid(*_, **__):
    raise AssertionError("that was not asked for")


def test_state_observations_need_neither_opengl_nor_the_official_files(monkeypatch):
    monkeypatch.setattr(gl, "select_backend", forbid)
    monkeypatch.setattr(official, "official_folder", forbid)
    for id in ALL:
        env = make_env(id, seed=0)
        env.reset()
        env.step(env.action_space.sample())
        env.close()


def test_neither_dm_control_nor_pooch_nor_opengl_is_imported():
    """Python 3.13 may lack dm_control, machines OpenGL, and both work."""
    code = (
        "import sys\n"
        "for name in ('dm_control', 'pooch', 'OpenGL', 'shimmy'): sys.modules[name] = None\n"
        "from dream_agents import make_env\n"
        "for id in ('humanoid_h1-reach-v0', 'humanoid_h1-slide-v0'):\n"
        "    env = make_env(id, seed=0)\n"
        "    env.reset()\n"
        "    env.step(env.action_space.sample())\n"
    )
    # With MUJOCO_GL, which earlier tests may have set, mujoco itself imports OpenGL.
    environment = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"robot": "h2"}, r"robot='h2' is neither one of h1, h1hand, nor an instance of Robot"),
        ({"task": "jump"}, r"task='jump' is neither one of stand, walk, .*, reach, nor"),
        ({"geometry": "mesh"}, r"geometry='mesh' is not one of \('builtin', 'official'\)"),
        ({"render_mode": "ansi"}, r"render_mode='ansi' is not supported; .*'rgb_array', 'depth_array'"),
        ({"height": 0}, "height=0 must be a positive number of pixels"),
        ({"width": "64"}, "width='64' must be a positive number of pixels"),
        ({"early_termination": "false"}, "early_termination='false' must be True or False"),
        ({"camera": 99}, r"camera=99 is not one of the model's: .*cam_default"),
        ({"camera": "top"}, r"camera='top' is not one of the model's: .*cam_default"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(arguments, message):
    with pytest.raises(ValueError, match=message):
        HumanoidBenchEnv(**({"robot": "h1", "task": "stand"} | arguments))


def test_a_misspelt_id_is_corrected():
    with pytest.raises(ValueError, match='did you mean "humanoid_h1-stand-v0"'):
        make_env("humanoid_h1-stad-v0")


@pytest.mark.parametrize(
    ("action", "named"),
    [(np.zeros(18), r"0\. *\]"), (np.zeros((1, 19)), r"\[\[0"), (np.full(19, np.nan), "nan"), (0.5, "0.5")],
    ids=["short", "matrix", "nan", "scalar"],
)
def test_senseless_actions_are_refused(action, named):
    env = HumanoidBenchEnv("h1", "stand")
    env.reset(seed=0)
    before = env.data.qpos.copy()
    with pytest.raises(ValueError, match=rf"(?s)19 finite numbers in \[-1, 1\], not .*{named}"):
        env.step(action)
    np.testing.assert_array_equal(env.data.qpos, before)
