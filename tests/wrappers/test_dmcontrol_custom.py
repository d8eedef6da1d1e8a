"""The tasks that TD-MPC2 added: its rewards, written out with dm_control's `tolerance`, are the reference."""

import math
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dream_agents import make_env
from dream_agents.registry import suites
from dream_agents.wrappers import dmcontrol_custom, gl
from dream_agents.wrappers.dmcontrol_custom import rewards
from dream_agents.wrappers.dmcontrol_tasks import CUSTOM_TASKS, TASKS

SUITE = suites.get("dmc")
IDS = {  # by TD-MPC2's name
    "cheetah-jump": "dmc_cheetah-jump-v0",
    "cheetah-run-back": "dmc_cheetah-run_back-v0",
    "cheetah-run-backwards": "dmc_cheetah-run_backwards-v0",
    "cheetah-run-front": "dmc_cheetah-run_front-v0",
    "cup-spin": "dmc_ball_in_cup-spin-v0",
    "hopper-hop-backwards": "dmc_hopper-hop_backwards-v0",
    "pendulum-spin": "dmc_pendulum-spin-v0",
    "reacher-three-easy": "dmc_reacher-three_easy-v0",
    "reacher-three-hard": "dmc_reacher-three_hard-v0",
    "walker-run-backwards": "dmc_walker-run_backwards-v0",
    "walker-walk-backwards": "dmc_walker-walk_backwards-v0",
}
every_task = pytest.mark.parametrize("name", IDS)
one_of_each_domain = pytest.mark.parametrize(
    "name",
    [
        "cheetah-jump",
        "cup-spin",
        "hopper-hop-backwards",
        "pendulum-spin",
        "reacher-three-hard",
        "walker-run-backwards",
    ],
)
INF = math.inf


def play(env, decisions, seed=None):
    """Return all observations and rewards of a seeded start with seeded random actions."""
    observation, _ = env.reset(seed=seed)
    random = np.random.default_rng(0)
    observations, rewards = [observation], []
    for _ in range(decisions):
        observation, reward, *_ = env.step(random.uniform(-1, 1, env.action_space.shape).astype(np.float32))
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), np.array(rewards)


def place(env, qpos=None, qvel=None):
    """Put the simulator at joint positions and velocities, given by joint, the others 0; return it."""
    physics = env.unwrapped.physics
    with physics.reset_context():
        physics.data.qpos[:] = physics.data.qvel[:] = 0
        for joint, value in (qpos or {}).items():
            physics.named.data.qpos[joint] = value
        for joint, value in (qvel or {}).items():
            physics.named.data.qvel[joint] = value
    return physics


def reward_at(env, qpos=None, qvel=None):
    return env.unwrapped.task.get_reward(place(env, qpos, qvel))


def reference(name, physics):
    """Return the published reward of the simulator's state."""
    from dm_control.utils.rewards import tolerance

    def linear(x, bounds, margin, value_at_margin):
        return tolerance(x, bounds, margin=margin, value_at_margin=value_at_margin, sigmoid="linear")

    data, domain = physics.named.data, name.partition("-")[0]
    height = {body: data.xpos[body, "z"] for body in ("torso", "ffoot", "bfoot") if domain == "cheetah"}
    if domain == "walker":
        speed = {"walker-walk-backwards": 1, "walker-run-backwards": 8}[name]
        standing = tolerance(physics.torso_height(), (1.2, INF), margin=0.6)
        standing = (3 * standing + (1 + physics.torso_upright()) / 2) / 4
        return standing * (5 * linear(physics.horizontal_velocity(), (-INF, -speed), speed / 2, 0.5) + 1) / 6
    if name == "cheetah-run-backwards":
        return linear(physics.speed(), (-INF, -8), 8, 0)
    if name in ("cheetah-run-front", "cheetah-run-back"):
        foot = height["bfoot" if name == "cheetah-run-front" else "ffoot"]
        foot_up, torso_up = (tolerance(z, (1.2, INF), margin=0.6) for z in (foot, height["torso"]))
        return (3 * foot_up + 2 * torso_up) / 5 * (5 * linear(physics.speed(), (6, INF), 6, 0) + 1) / 6
    if name == "cheetah-jump":
        in_place = linear(physics.speed(), (-0.5, 0.5), 0.5, 0)
        front, back = (
            (5 * tolerance((height["torso"] + height[foot]) / 2, (1.2, INF), margin=0.6) + in_place) / 6
            for foot in ("ffoot", "bfoot")
        )
        return (front + back) / 2
    if domain == "hopper":
        standing = tolerance(physics.height(), (0.6, 2))
        return standing * linear(physics.speed(), (-INF, -1), 0.5, 0.5)
    if domain == "cup":
        far = linear(np.linalg.norm(physics.ball_to_target()), (0.5, INF), 0.25, 0.5)
        fast = linear(np.linalg.norm(data.qvel[["ball_x", "ball_z"]]), (6, INF), 3, 0.5)
        return (1 - physics.in_target()) * (far + 2 * fast) / 3
    if domain == "pendulum":
        return linear(np.linalg.norm(physics.angular_velocity()), (9, INF), 4.5, 0.5)
    size = {"reacher-three-easy": 0.05, "reacher-three-hard": 0.015}[name]
    return tolerance(physics.finger_to_target_dist(), (0, size + 0.01))


@every_task
def test_spaces_and_names(name):
    env, task = make_env(name), SUITE.task(IDS[name])
    assert env.spec.id == IDS[name]
    assert env.observation_space.shape == (task.observation_size,)
    assert env.observation_space.dtype == np.float32
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (task.action_size,), np.float32)


def test_table_lists_every_task():
    from dream_agents.wrappers.dmcontrol_custom.tasks import TASKS as MADE

    assert [row[:2] for row in CUSTOM_TASKS] == list(MADE)
    assert {f"dmc_{domain}-{task}-v0" for domain, task in MADE} == set(IDS.values())


@one_of_each_domain
def test_passes_both_checkers(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(make_env(name), skip_render_check=True)
        warnings.simplefilter("error", UserWarning)
        sb3_check_env(make_env(name), skip_render_check=True)


@every_task
def test_episode_is_truncated_after_exactly_500_decisions(name):
    """Which are 1000 frames, dm_control's own limit for each of the domains."""
    env = make_env(name, seed=0)
    env.reset()
    action = np.zeros(env.action_space.shape, np.float32)
    for decision in range(1, 501):
        observation, reward, terminated, truncated, info = env.step(action)
        assert 0 <= reward <= 2
        assert not terminated
        assert truncated == info["timestep.step_type"].last() == (decision == 500)
    assert np.isfinite(observation).all()


@one_of_each_domain
def test_frames_and_observations_are_those_of_dm_controls_own_task(name):
    from dm_control import suite

    env, domain = make_env(name).unwrapped, SUITE.task(IDS[name]).kwargs["domain"]
    stock = suite.load(domain, suite.TASKS_BY_DOMAIN[domain][0])
    assert env.control_timestep() == stock.control_timestep()
    assert env.physics.timestep() == stock.physics.timestep()
    assert list(env.task.get_observation(env.physics)) == list(stock.observation_spec())


@one_of_each_domain
def test_reset_with_a_seed_forgets_the_past(name):
    used = make_env(name, seed=5)
    before = play(used, 20)
    for mine, other in zip(play(used, 20, seed=9), play(make_env(name), 20, seed=9), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert not np.array_equal(before[0], play(used, 20, seed=10)[0])


@one_of_each_domain
def test_random_of_task_kwargs_seeds_the_first_episode(name):
    first, second, other = (
        make_env(name, task_kwargs={"random": random}).reset()[0]
        for random in (3, np.random.RandomState(3), 4)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_time_limit_of_task_kwargs_is_in_seconds():
    env = make_env("walker-walk-backwards", task_kwargs={"time_limit": 1}, seed=0)  # 40 frames of 0.025 s
    env.reset()
    last = [env.step(env.action_space.sample())[3] for _ in range(20)]
    assert last == [False] * 19 + [True]


@every_task
def test_rewards_are_the_published_ones(name):
    """In states at random, higher and faster than random episodes get to, and in the frames that follow."""
    env = make_env(name, seed=0)
    physics, random, seen = env.unwrapped.physics, np.random.default_rng(0), []
    for height in np.linspace(0, 1.2, 50):
        env.reset()
        with physics.reset_context():
            physics.data.qvel[:] = random.normal(0, 4, physics.model.nv)
            if "reacher" in name:
                finger = physics.named.data.geom_xpos["finger", :2]
                physics.named.model.geom_pos["target", :2] = finger + random.uniform(-0.05, 0.05, 2)
            elif "rootz" in physics.named.data.qpos.axes.row.names:
                physics.named.data.qpos["rootz"] += height
                physics.named.data.qpos["rooty"] = random.uniform(-1, 1)
        seen.append(env.unwrapped.task.get_reward(physics))
        assert seen[-1] == pytest.approx(reference(name, physics), abs=1e-12)
        for _ in range(3):
            frame = env.unwrapped._env.step(env.action_space.sample())
            assert frame.reward == pytest.approx(reference(name, physics), abs=1e-12)
    assert np.ptp(seen) > 0.3  # different rewards were compared


def test_reward_functions_at_hand_computed_points():
    assert rewards.backwards_walker(height=1.3, upright=1, velocity=-1, speed=1) == 1
    assert rewards.backwards_walker(1.3, 1, 0.7, 1) == pytest.approx(1 / 6)
    assert rewards.backwards_walker(0.6, 0, -4, 8) == pytest.approx((0.3 + 0.5) / 4 * 3.5 / 6)
    assert [rewards.backwards_cheetah(velocity) for velocity in (-9, -8, -2, 0, 5)] == [1, 1, 0.25, 0, 0]
    assert rewards.one_footed_cheetah(torso=1.2, raised_foot=1.5, velocity=6) == 1
    assert rewards.one_footed_cheetah(0.6, 1.2, 3) == pytest.approx((3 + 0.2) / 5 * 3.5 / 6)
    assert rewards.one_footed_cheetah(1.2, 0.6, -3) == pytest.approx((0.3 + 2) / 5 / 6)
    assert rewards.jumping_cheetah(torso=1.2, feet=(1.2, 1.4), velocity=0.5) == 1
    assert rewards.jumping_cheetah(0.7, (0.5, 1.7), -0.75) == pytest.approx((5 * (0.1 + 1) / 2 + 0.5) / 6)
    assert rewards.jumping_cheetah(1.2, (1.2, 1.2), 1) == pytest.approx(5 / 6)
    assert [rewards.backwards_hopper(height, -0.5) for height in (0.59, 0.6, 2, 2.1)] == [0, 0.5, 0.5, 0]
    assert rewards.backwards_hopper(1, 1) == 0
    assert rewards.spinning_ball(distance=0.25, speed=6, caught=False) == pytest.approx((0.5 + 2) / 3)
    assert rewards.spinning_ball(0.25, 1.5, False) == pytest.approx((0.5 + 0.5) / 3)
    assert rewards.spinning_ball(0.5, 6, True) == 0
    assert [rewards.spinning_pendulum(velocity) for velocity in (-9, -4.5, 0, 3, 12)] == [1, 0.5, 0, 1 / 3, 1]


@pytest.mark.parametrize(
    ("name", "upright", "speed", "forwards"),
    [
        ("walker-walk-backwards", {}, 1, 1 / 6),  # what standing alone is worth
        ("walker-run-backwards", {}, 8, 1 / 6),
        ("cheetah-run-backwards", {}, 8, 0),
        ("hopper-hop-backwards", {"knee": 0.1}, 1, 0),
    ],
)
def test_moving_backwards_is_rewarded_and_forwards_is_not(name, upright, speed, forwards):
    env = make_env(name)
    env.reset()
    assert reward_at(env, upright, {"rootx": -speed}) == pytest.approx(1, abs=1e-6)
    assert reward_at(env, upright, {"rootx": speed}) == pytest.approx(forwards)
    half = reward_at(env, upright, {"rootx": -speed / 2})
    assert half == pytest.approx((1 + forwards) / 2)


def test_running_in_front_raises_the_back_foot_and_the_other_way_round():
    """The cheetah leans on its nose, 0.6 m up, or stands on its hind legs, turned the other way."""
    on_the_front, on_the_back = ({"rootz": 0.1, "rooty": angle} for angle in (1.2, -1.2))
    for name, good, bad in (
        ("cheetah-run-front", on_the_front, on_the_back),
        ("cheetah-run-back", on_the_back, on_the_front),
    ):
        env = make_env(name)
        env.reset()
        assert reward_at(env, good, {"rootx": 6}) > 3 * reward_at(env, bad, {"rootx": 6})
        assert reward_at(env, good, {"rootx": 6}) == pytest.approx(6 * reward_at(env, good))


def test_jumping_wants_the_cheetah_high_and_in_place():
    env = make_env("cheetah-jump")
    env.reset()
    assert reward_at(env, {"rootz": 1.5}) == pytest.approx(1)
    assert reward_at(env, {"rootz": 1.5}, {"rootx": 2}) == pytest.approx(5 / 6)
    assert reward_at(env) < 0.4


@pytest.mark.parametrize(("name", "size"), [("reacher-three-easy", 0.05), ("reacher-three-hard", 0.015)])
def test_reacher_has_a_third_link_and_reaches_targets(name, size):
    env = make_env(name, seed=0)
    observation, _ = env.reset()
    physics = place(env)
    assert observation.shape == (3 + 2 + 3,)
    assert physics.model.nu == 3
    np.testing.assert_allclose(physics.named.data.geom_xpos["finger", :2], [0.27, 0], atol=1e-12)
    limits = np.rad2deg(physics.named.model.jnt_range[["elbow", "wrist"]])
    np.testing.assert_allclose(limits, [[-80, 80], [-80, 80]])
    physics = place(env, {"shoulder": math.pi / 2, "elbow": math.pi / 2, "wrist": -math.pi / 2})
    np.testing.assert_allclose(physics.named.data.geom_xpos["finger", :2], [-0.09, 0.18], atol=1e-12)
    radii = []
    for _ in range(50):
        observation, _ = env.reset()
        assert physics.named.model.geom_size["target", 0] == size
        target = physics.named.model.geom_pos["target", :2]
        radii.append(np.linalg.norm(target))
        finger = physics.named.data.geom_xpos["finger", :2]
        np.testing.assert_allclose(observation[3:5], target - finger, atol=1e-6)
        for offset, reward in ((size + 0.009, 1), (size + 0.011, 0)):
            physics.named.model.geom_pos["target", :2] = finger + np.array([offset, 0])
            physics.forward()
            assert env.unwrapped.task.get_reward(physics) == reward
    assert 0.05 <= min(radii) < 0.07
    assert 0.18 < max(radii) <= 0.2


def test_each_of_the_reachers_actions_moves_its_own_joint_most():
    for index, joint in enumerate(("shoulder", "elbow", "wrist")):
        env = make_env("reacher-three-easy", seed=0)
        env.reset()
        physics = place(env)
        env.step(np.eye(3, dtype=np.float32)[index])
        assert physics.named.data.qfrc_actuator[joint] == pytest.approx(0.05)
        assert np.count_nonzero(physics.data.qfrc_actuator) == 1
        assert physics.named.data.qvel[joint] > 0


def test_spinning_the_pendulum_is_rewarded_either_way_and_wherever_it_is():
    env = make_env("pendulum-spin")
    env.reset()
    for angle in (0, 2):
        rewarded = [reward_at(env, {"hinge": angle}, {"hinge": speed}) for speed in (-9, -3, 0, 4.5, 20)]
        assert rewarded == pytest.approx([1, 1 / 3, 0, 0.5, 1])


def test_spinning_the_ball_is_rewarded_outside_the_cup_only():
    env = make_env("cup-spin")
    env.reset()
    assert reward_at(env, {"ball_z": 0.35}, {"ball_x": 6}) == 0  # in the cup
    hanging = {"ball_z": 0.05}  # 0.3 m below the target, which is at 0.55 m
    assert reward_at(env, hanging) == pytest.approx(0.6 / 3)
    assert reward_at(env, hanging, {"ball_x": -3}) == pytest.approx((0.6 + 2 * 0.5) / 3)
    assert reward_at(env, hanging, {"ball_x": 3.6, "ball_z": -4.8}) == pytest.approx((0.6 + 2) / 3)
    assert reward_at(env, hanging, {"cup_x": 6}) == pytest.approx(0.6 / 3)


def test_ball_starts_in_the_cup_nine_times_of_ten():
    env = make_env("cup-spin", seed=0)
    physics, caught = env.unwrapped.physics, 0
    for _ in range(100):
        env.reset()
        caught += physics.in_target()
        assert physics.data.ncon == 0
    assert 82 <= caught <= 97


@pytest.mark.parametrize("name", ["walker-run-backwards", "cheetah-run-backwards"])
def test_the_floor_is_drawn_behind_the_runner_too(name):
    physics = make_env(name).unwrapped.physics
    floor = "floor" if name.startswith("walker") else "ground"
    reach = physics.named.model.geom_pos[floor, "x"] - physics.named.model.geom_size[floor, "x"]
    assert reach < -100


@pytest.mark.skipif(not any(gl.is_usable(backend) for backend in gl.HEADLESS), reason="no OpenGL here")
@pytest.mark.parametrize("name", ["reacher-three-hard", "walker-run-backwards"])  # whose models were changed
def test_images(name):
    env = make_env(name, render_mode="rgb_array", height=48, width=64, seed=0)
    env.reset()
    image = env.render()
    env.close()
    assert image.shape == (48, 64, 3)
    assert image.std() > 5


def test_dm_controls_own_registry_stays_as_it_is():
    from dm_control import suite

    for domain, task, *_ in CUSTOM_TASKS:
        dmcontrol_custom.load(domain, task)
        assert task not in vars(suite)[domain].SUITE
        with pytest.raises(ValueError, match="does not exist"):
            suite.load(domain, task)
    stock = tuple(row[:2] for row in TASKS)
    assert suite.ALL_TASKS == suite._get_tasks(None) == stock


def test_dm_controls_own_models_and_rewards_stay_as_they_are():
    from dm_control import suite

    for name in IDS:
        make_env(name).reset()
    assert suite.load("reacher", "easy").physics.model.nu == 2
    assert suite.load("walker", "walk").physics.named.model.geom_size["floor", "x"] == 250
    env = make_env("walker-walk")
    env.reset()
    assert reward_at(env, qvel={"rootx": 1}) == pytest.approx(1)


def test_listing_the_tasks_does_not_import_dm_control():
    code = (
        "import sys; from dream_agents.wrappers import describe; print(describe('cup-spin').observation_size, "
        "[name for name in sys.modules if name.split('.')[0] in ('dm_control', 'mujoco', 'shimmy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8", "[]"]


def test_unknown_tasks_and_arguments_are_refused():
    with pytest.raises(ValueError, match=r'"walker-moonwalk" is none .* walker-walk_backwards'):
        dmcontrol_custom.load("walker", "moonwalk")
    with pytest.raises(TypeError, match="speed"):
        make_env("walker-walk-backwards", task_kwargs={"speed": 3})
