"""What the Meta-World environments add to what every environment promises. Meta-World's own are the reference."""

import json
import os
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest

from dream_agents import make_env
from dream_agents.registry import suites
from dream_agents.wrappers import describe, gl
from dream_agents.wrappers.metaworld import TASKS, MetaWorldEnv

pytestmark = pytest.mark.metaworld
SUITE = suites.get("metaworld")
# Between them: an object to carry, none, a fixed goal, a joint to turn.
SAMPLE = ("assembly", "reach", "hammer", "door-open")
every_task = pytest.mark.parametrize(
    "task", [task if task in SAMPLE else pytest.param(task, marks=pytest.mark.slow) for task in TASKS]
)
needs_gl = pytest.mark.skipif(
    not any(map(gl.is_usable, gl.HEADLESS)), reason="neither EGL nor OSMesa works here"
)
STILL = np.zeros(4, np.float32)


class Bare:
    """Meta-World's own environment, whose resets draw goals from a seed."""

    def __init__(self, task):
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

        self.env = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-v3-goal-observable"](seed=0)
        self.env._freeze_rand_vec = False
        self.env.seeded_rand_vec = True

    def reset(self, seed=None):
        if seed is not None:
            self.env.seed(seed)
        return self.env.reset()[0]

    def step_twice(self, action):
        """Return the last observation, both rewards and both successes."""
        _, first, _, _, before = self.env.step(action)
        observation, second, _, _, after = self.env.step(action)
        return observation, (first, second), (before["success"], after["success"])


@pytest.fixture(scope="module")
def reach():
    """One environment for tests that start their own episode."""
    return make_env("metaworld_reach-v3")


def scripted(task):
    """Return a function from an observation to the action of the policy that Meta-World ships."""
    from metaworld.policies import ENV_POLICY_MAP

    policy = ENV_POLICY_MAP[f"{task}-v3"]()

    def act(observation):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that actions are beyond the bounds
            return np.clip(policy.get_action(observation.astype(np.float64)), -1, 1).astype(np.float32)

    return act


def play(env, decisions, seed=None, act=None):
    """Return all observations and rewards of an episode's start, with seeded random actions by default."""
    observation, _ = env.reset(seed=seed)
    random = np.random.default_rng(0)
    observations, rewards = [observation], []
    for _ in range(decisions):
        action = act(observation) if act else random.uniform(-1, 1, 4).astype(np.float32)
        observation, reward, *_ = env.step(action)
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), np.array(rewards)


def goals(env, resets, seed=None):
    """Return the goals that resets draw."""
    return [env.reset(seed=seed if number == 0 else None)[0][-3:].tolist() for number in range(resets)]


def run(code, **variables):
    """Run Python in a process without a display."""
    hidden = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    return subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True)


def test_table_is_the_installed_suite():
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    assert [f"{task}-v3" for task in TASKS] == list(ALL_V3_ENVIRONMENTS)
    assert list(SUITE.ids()) == [f"metaworld_{task}-v3" for task in TASKS]
    assert len(TASKS) == 50


@pytest.mark.parametrize(
    ("alias", "id"),
    [
        ("mw-assembly", "metaworld_assembly-v3"),
        ("mw-pick-place-wall", "metaworld_pick-place-wall-v3"),
        ("metaworld_door-open", "metaworld_door-open-v3"),
    ],
)
def test_aliases(alias, id):
    assert SUITE.resolve(alias) == id
    assert describe(alias).id == id


def test_listing_imports_and_makes_nothing():
    code = """
import sys
import dream_agents.wrappers
from dream_agents.registry import suites
assert len(suites.get("metaworld").ids()) == 50
info = dream_agents.wrappers.describe("mw-assembly")
assert not {"metaworld", "mujoco"} & set(sys.modules)
print(info.observation_size, info.action_size, info.max_episode_steps, info.action_repeat, info.episodic)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["39", "4", "100", "2", "False"]


def test_without_meta_world_the_error_says_what_to_install():
    done = run(
        "import sys\nsys.modules['metaworld'] = None\nimport dream_agents\ndream_agents.make_env('mw-reach')"
    )
    assert "ImportError: the metaworld_* environments need Meta-World" in done.stderr
    assert "pip install 'dream-agents[metaworld]'" in done.stderr


def test_gymnasium_makes_the_same_environment():
    theirs, ours = gymnasium.make("dream_agents:metaworld_reach-v3"), make_env("metaworld_reach-v3")
    assert str(theirs) == str(ours)
    assert theirs.spec == ours.spec
    assert str(gymnasium.make(ours.spec)) == str(ours)


@every_task
def test_observations_and_summed_rewards_are_meta_worlds(task):
    """A frame without action, then two bare steps a decision, on the same goals."""
    env, bare = make_env(f"mw-{task}"), Bare(task)
    for seed in (4, None):  # also in the next episode of the stream
        observation, _ = env.reset(seed=seed)
        start = bare.reset(seed)
        np.testing.assert_array_equal(observation[18:36], start[:18].astype(np.float32))
        np.testing.assert_array_equal(observation, bare.env.step(STILL)[0].astype(np.float32))
        random = np.random.default_rng(1)
        for _ in range(20):
            action = random.uniform(-1, 1, 4).astype(np.float32)
            observation, reward, terminated, truncated, info = env.step(action)
            expected, rewards, successes = bare.step_twice(action)
            np.testing.assert_array_equal(observation, expected.astype(np.float32))
            assert reward == pytest.approx(sum(rewards), abs=1e-12) and 0 <= reward <= 20
            assert info["success"] == successes[1]
            assert not terminated and not truncated


def test_success_is_that_of_a_decisions_last_frame():
    env, bare, act = make_env("mw-reach"), Bare("reach"), scripted("reach")
    observation, _ = env.reset(seed=0)
    bare.reset(0)
    bare.env.step(STILL)
    seen = set()
    for _ in range(40):
        action = act(observation)
        observation, _, _, _, info = env.step(action)
        *_, successes = bare.step_twice(action)
        assert info["success"] == successes[1]
        seen.add(successes)
    assert {(0.0, 0.0), (1.0, 1.0)} <= seen


@pytest.mark.parametrize(("repeat", "decisions"), [(1, 200), (2, 100), (3, 67)])
def test_any_action_repeat_keeps_the_episodes_length_in_frames(repeat, decisions):
    env = make_env("mw-reach", action_repeat=repeat, seed=0)
    env.reset()
    flags = [env.step(STILL)[3] for _ in range(decisions)]
    assert flags == [False] * (decisions - 1) + [True]
    assert env.unwrapped.simulation.curr_path_length == 1 + repeat * decisions
    assert env.metadata["render_fps"] == pytest.approx(80 / repeat)


def test_episodes_may_be_longer_than_meta_worlds_own():
    env = make_env("mw-reach", max_episode_steps=300, seed=0)
    env.reset()
    flags = [env.step(STILL)[3] for _ in range(300)]
    assert flags == [False] * 299 + [True]


def test_every_reset_draws_a_goal_from_the_seed(reach):
    first = goals(reach, 4, seed=1)
    assert len({tuple(goal) for goal in first}) == 4
    assert goals(reach, 4, seed=1) == first
    assert goals(reach, 4, seed=2) != first
    assert goals(make_env("mw-reach", seed=None), 1) != goals(make_env("mw-reach", seed=None), 1)


def test_a_fixed_goal_has_objects_that_start_elsewhere():
    env = make_env("mw-hammer", seed=0)
    starts = [env.reset()[0] for _ in range(3)]
    assert np.ptp([start[-3:] for start in starts], axis=0).max() == 0
    assert np.ptp([start[4:7] for start in starts], axis=0).max() > 0.01


def test_numpys_global_state_neither_matters_nor_changes():
    before = json.dumps(np.random.get_state()[1].tolist())  # noqa: NPY002
    env = make_env("mw-reach", seed=3)
    assert goals(env, 2, seed=3) == goals(env, 2, seed=3)
    assert json.dumps(np.random.get_state()[1].tolist()) == before  # noqa: NPY002


@pytest.mark.parametrize(
    "task",
    [
        task if task in ("assembly", "door-open") else pytest.param(task, marks=pytest.mark.slow)
        for task in TASKS
    ],
)
def test_reset_with_a_seed_forgets_the_past(task):
    """The same episode follows in a fresh environment and in one whose objects have been moved."""
    used = make_env(f"mw-{task}", seed=5)
    play(used, 90, act=scripted(task))
    for mine, other in zip(play(used, 20, seed=9), play(make_env(f"mw-{task}"), 20, seed=9), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    ("task", "episodes"),
    [
        ("reach", 2),
        ("window-open", 2),
        *(pytest.param(task, 5, marks=pytest.mark.slow) for task in TASKS),
    ],
)
def test_scripted_policies_succeed_as_often_as_in_meta_world(task, episodes):
    env, bare, act = make_env(f"mw-{task}"), Bare(task), scripted(task)
    ours, theirs = [], []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        truncated, successes = False, []
        while not truncated:
            observation, _, _, truncated, info = env.step(act(observation))
            successes.append(bool(info["success"]))
        ours.append((successes[-1], any(successes)))
        bare.reset(seed)
        observation, *_ = bare.env.step(STILL)
        successes = []
        for _ in range(100):
            observation, _, (_, success) = bare.step_twice(act(observation))
            successes.append(bool(success))
        theirs.append((successes[-1], any(successes)))
    assert np.mean(ours, axis=0) == pytest.approx(np.mean(theirs, axis=0), abs=0.05)
    assert np.mean(ours, axis=0)[1] > 0


@pytest.mark.parametrize("action", [np.zeros(3), np.zeros((1, 4)), np.array([0, np.nan, 0, 0]), None])
def test_senseless_actions_are_refused(reach, action):
    reach.reset(seed=0)
    with pytest.raises(ValueError, match="expected an action of 4 finite numbers"):
        reach.unwrapped.step(action)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "reech"}, "task='reech' is not one of Meta-World's: assembly, "),
        (
            {"render_mode": "human"},
            r"render_mode='human' is not supported; choose from \('rgb_array', 'depth",
        ),
        ({"camera": "corner9"}, "camera='corner9' is not one of the model's: topview, corner, corner2"),
        ({"camera": 7}, "camera=7 is not one of the model's: topview, corner, corner2"),
        ({"height": 0}, "height=0 must be a positive number of pixels"),
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MetaWorldEnv(**{"task": "reach", **options})


def test_state_observations_render_nothing(reach):
    reach.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render mode"):
        assert reach.unwrapped.render() is None


def test_state_observations_load_no_opengl():
    code = """
import sys
sys.modules["OpenGL"] = None
from dream_agents import make_env
env = make_env("mw-reach", seed=0)
env.reset()
env.step(env.action_space.sample())
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


@needs_gl
def test_image_is_taken_from_the_camera_asked_for():
    views = []
    for camera in ({}, {"camera": 0}):
        env = make_env("mw-reach", render_mode="rgb_array", height=32, width=32, seed=0, **camera)
        env.reset()
        views.append(env.render())
    assert not np.array_equal(*views)


@needs_gl
def test_up_is_up_and_the_robots_left_is_left():
    """The camera looks at the robot's front from its right."""
    env = make_env("mw-reach", render_mode="rgb_array", height=96, width=96, seed=0)

    def center_of_the_hand(*action):
        """Return row and column of the blue finger after moving."""
        env.reset(seed=0)
        for _ in range(30):
            env.step(np.array([*action, 0], np.float32))
        red, _, blue = np.moveaxis(env.render().astype(int), -1, 0)
        assert (blue - red > 80).any()
        return np.argwhere(blue - red > 80).mean(axis=0)

    row, column = center_of_the_hand(0, 0, -0.3)
    assert center_of_the_hand(0, 0, 0.3)[0] < row - 5
    assert center_of_the_hand(0, 0.5, -0.3)[1] > column + 5


@pytest.mark.parametrize("camera", ["corner", "corner2", "corner3", "corner4"])
def test_cameras_stand_upright(reach, camera):
    reach.reset(seed=0)
    view = reach.unwrapped.simulation.data.camera(camera)
    assert view.xmat.reshape(3, 3)[2, 1] > 0
    if camera == "corner2":
        np.testing.assert_allclose(view.xpos, [0.75, 0.075, 0.7])


@needs_gl
def test_depth_is_in_metres():
    env = make_env("mw-reach", render_mode="depth_array", height=32, width=32, seed=0)
    env.reset()
    depth = env.render()
    assert depth.shape == (32, 32)
    assert 0.3 < depth.min() < 1.2
