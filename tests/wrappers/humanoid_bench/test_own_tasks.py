"""Tasks and robots of one's own; how the reward, its terms and `success` come out of the environment."""

import math

import mujoco
import numpy as np
import pytest

from dream_agents import make_env
from dream_agents.wrappers.humanoid_bench import generate, rewards
from dream_agents.wrappers.humanoid_bench.environment import HumanoidBenchEnv
from dream_agents.wrappers.humanoid_bench.props import WOOD, add_body, add_box
from dream_agents.wrappers.humanoid_bench.robots import ROBOTS, Robot
from dream_agents.wrappers.humanoid_bench.tasks import Marker, Task


class Push(Task):
    """Push a box along x to a line that is drawn in every episode."""

    name = "push"
    target = 30.0
    props = (0.6, 0, 0.2, 1, 0, 0, 0)
    prop = "load"
    labels = {"load_": "load"}  # noqa: RUF012

    def furnish(self, spec):
        load = add_body(spec, "load", self.props[:3], free=True)
        add_box(load, (0, 0, 0), (0.2, 0.2, 0.2), WOOD, name="load_box", density=50)

    def goal(self, rng):
        return np.array([rng.uniform(1, 2), 0, 0])

    def reward(self, state):
        near = rewards.tolerance(state.prop_position[0], state.goal[0], math.inf, margin=1)
        touched = "other" in state.touched_by("load")
        return 10 * near + touched, {"near": near, "touched": float(touched)}

    def terminated(self, state):
        return state.root_height < 0.5

    def markers(self, goal, stage):
        return [Marker(tuple(goal), (1, 0, 0, 1))]


@pytest.fixture
def push():
    env = HumanoidBenchEnv("h1", Push())
    env.reset(seed=0)
    return env


def put(env, *, load_x, goal_x, height=0.98):
    """Place the box before a standing robot, and the line."""
    qpos = env.data.qpos.copy()
    qpos[2], qpos[26] = height, load_x
    env.set_state(qpos, np.zeros(env.model.nv), goal=np.array([goal_x, 0.0, 0.0]))


def test_a_task_of_a_few_lines_makes_an_environment(push):
    observation, _ = push.reset(seed=1)
    assert observation.shape == push.observation_space.shape == (51 + 13,)
    assert observation[26:29] == pytest.approx([0.6, 0, 0.2], abs=0.01)
    lines = []
    for _ in range(5):
        push.reset()
        lines.append(push.goal[0])
    assert len(set(lines)) == 5 and all(1 <= x <= 2 for x in lines)
    put(push, load_x=3, goal_x=1)
    _, reward, terminated, _, info = push.step(np.zeros(19))
    assert (reward, info["near"], info["touched"], terminated) == (10, 1, 0, False)
    put(push, load_x=0.2, goal_x=1)  # the feet stand in the box
    _, reward, _, _, info = push.step(np.zeros(19))
    assert info["touched"] == 1
    assert reward == pytest.approx(10 * info["near"] + 1)
    put(push, load_x=3, goal_x=1, height=0.3)
    assert push.step(np.zeros(19))[2]


def test_a_new_task_can_be_made_by_make_env():
    env = make_env(lambda: HumanoidBenchEnv("h1hand", Push(), early_termination=False), seed=0)
    assert env.action_space.shape == (61,) and env.metadata["episodic"] is False


def test_success_once_the_return_has_reached_the_target(push):
    put(push, load_x=3, goal_x=1)  # 10 a decision; the target is 30
    assert [push.step(np.zeros(19))[4]["success"] for _ in range(4)] == [False, False, True, True]
    put(push, load_x=0.6, goal_x=9)  # no more reward, and the return begins again
    assert not push.step(np.zeros(19))[4]["success"]
    put(push, load_x=3, goal_x=1)
    push.step(np.zeros(19))
    push.reset()
    put(push, load_x=3, goal_x=1)
    assert [push.step(np.zeros(19))[4]["success"] for _ in range(3)] == [False, False, True]


def test_numpys_numbers_in_a_task_come_out_as_pythons(push, monkeypatch):
    monkeypatch.setattr(Push, "reward", lambda self, state: (state.velocity[0], {}))
    monkeypatch.setattr(Push, "terminated", lambda self, state: state.root_position[2] < 0.5)
    _, reward, terminated, _, info = push.step(np.zeros(19))
    assert (type(reward), type(terminated), type(info["success"])) == (float, bool, bool)


def test_official_files_are_only_the_benchmarks(official_files):
    with pytest.raises(
        ValueError, match=r'no files of the robot "h1" at the task "push".*geometry="builtin"'
    ):
        HumanoidBenchEnv("h1", Push(), geometry="official")


TARGETS = {
    **dict.fromkeys(("stand", "balance_simple", "balance_hard"), 800),
    **dict.fromkeys(("walk", "run", "hurdle", "crawl", "stair", "slide", "pole"), 700),
    **dict.fromkeys(("sit_simple", "sit_hard"), 750),
    "maze": 1200,
    "reach": 12000,
}


@pytest.mark.parametrize(("task", "target"), TARGETS.items())
def test_targets_are_the_benchmarks(task, target, monkeypatch):
    env = HumanoidBenchEnv("h1", task)
    env.reset(seed=0)
    for value, success in ((target - 0.1, False), (target, True)):
        monkeypatch.setattr(type(env.task), "reward", lambda self, state, value=value: (value, {}))
        env.set_state(env.data.qpos.copy(), np.zeros(env.model.nv))
        assert env.step(np.zeros(19))[4]["success"] is success


RULES = {
    "stand": lambda i: i["small_control"] * i["stand_reward"] * i["dont_move"],
    "walk": lambda i: i["small_control"] * i["stand_reward"] * i["move"],
    "run": lambda i: i["small_control"] * i["stand_reward"] * i["move"],
    "hurdle": lambda i: i["small_control"] * i["stand_reward"] * i["move"] * i["wall_collision_discount"],
    "sit_hard": lambda i: i["small_control"] * i["sit_reward"] * i["dont_move"],
    "balance_hard": lambda i: i["small_control"] * i["stand_reward"] * i["dont_move"],
    "pole": lambda i: (
        (0.5 * i["small_control"] * i["stand_reward"] + 0.5 * i["move"]) * i["collision_discount"]
    ),
    "reach": lambda i: (
        i["healthy_reward"] - 1e-4 * i["motion_penalty"] + i["reward_close"] + i["reward_success"]
    ),
}


@pytest.mark.parametrize("task", RULES)
def test_terms_in_info_make_up_the_reward(task):
    env = make_env(f"h1hand-{task}", seed=0)
    env.reset()
    values = []
    for _ in range(15):
        _, reward, *_, info = env.step(env.action_space.sample())
        assert reward == pytest.approx(RULES[task](info), abs=1e-12)
        values.append(reward)
    assert len(set(values)) == 15 and max(values) > 0


def test_checkpoints_of_the_maze_count_once_and_in_order():
    env = HumanoidBenchEnv("h1", "maze")
    qpos = env.data.qpos.copy()
    bonuses = []
    for x, y in ((0, 0), (3, 0), (3, 0), (6, 6)):
        stage = env.stage
        qpos[:7] = x, y, 0.98, 1, 0, 0, 0
        env.set_state(qpos, np.zeros(25), stage=stage)
        _, reward, *_, info = env.step(np.zeros(19))
        bonuses.append(info["stage_convert_reward"])
        assert reward == pytest.approx(bonuses[-1], abs=1)
    assert bonuses == [100, 200, 0, 0]
    assert env.stage == info["success_subtasks"] == 2


def test_a_robot_of_ones_own_needs_a_table(tmp_path):
    (tmp_path / "h1_wiper.toml").write_text(
        'extends = "h1"\n'
        "[[body]]\n"
        'name = "wiper"\n'
        'parent = "torso_link"\n'
        "inertial = { mass = 0.5, pos = [0, 0, 0.1], diaginertia = [0.01, 0.01, 0.01] }\n"
        'joint = [{ name = "wiper", axis = [0, 0, 1], range = [-1, 1], damping = 1 }]\n'
        "[[actuator]]\n"
        'name = "wiper"\n'
        'joint = "wiper"\n'
        "kp = 10\n"
        "ctrlrange = [-1, 1]\n"
    )
    robot = Robot("h1_wiper", qpos_size=27, action_size=20, home=ROBOTS["h1"].home, folder=tmp_path)
    with pytest.raises(ValueError, match=r"no model .*h1_wiper.xml.*generate"):
        HumanoidBenchEnv(robot, "walk")
    generate.main(tmp_path)
    env = HumanoidBenchEnv(robot, "walk")
    assert env.reset(seed=0)[0].shape == (27 + 26,)
    bare = HumanoidBenchEnv("h1", "walk")
    weights = [mujoco.mj_getTotalmass(model) for model in (env.model, bare.model)]
    assert weights[0] - weights[1] == pytest.approx(0.5)
    for _ in range(50):
        env.step(np.array([*np.zeros(19), 1]))
    assert env.data.joint("wiper").qpos > 0.5


@pytest.mark.parametrize(("sizes", "message"), [((30, 19), "qpos_size=30"), ((26, 20), "action_size=20")])
def test_a_robots_sizes_are_checked(sizes, message):
    with pytest.raises(ValueError, match=message):
        HumanoidBenchEnv(Robot("h1", *sizes), "walk")


def test_props_of_a_task_are_checked(monkeypatch):
    monkeypatch.setattr(Push, "furnish", lambda self, spec: None)
    with pytest.raises(ValueError, match="0 numbers in qpos, but `props` has 7"):
        HumanoidBenchEnv("h1", Push())


def test_a_term_called_success_is_refused(push, monkeypatch):
    monkeypatch.setattr(Push, "reward", lambda self, state: (1.0, {"success": 1.0}))
    with pytest.raises(ValueError, match='"push" has a term "success"'):
        push.step(np.zeros(19))
