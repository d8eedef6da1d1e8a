"""Many environments at once."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecMonitor

from dream_agents import make_env, make_vec_env
from dream_agents.wrappers import task_info


def play(envs, decisions=5):
    """Return the first observations, and the last observations and rewards of fixed actions."""
    first = envs.reset()
    random = np.random.default_rng(0)
    for _ in range(decisions):
        actions = random.uniform(-1, 1, (envs.num_envs, *envs.action_space.shape)).astype(np.float32)
        observations, rewards, _, _ = envs.step(actions)
    return np.stack([first, observations]), rewards


@pytest.mark.parametrize("start_method", [None, "spawn"])
def test_processes_give_what_one_process_gives(start_method):
    here = make_vec_env("walker-walk", 2, seed=7)
    apart = make_vec_env("walker-walk", 2, seed=7, vec_env_cls="subproc", start_method=start_method)
    assert isinstance(here, DummyVecEnv)
    assert isinstance(apart, SubprocVecEnv)
    (observations, rewards), (observations_apart, rewards_apart) = play(here), play(apart)
    np.testing.assert_array_equal(observations, observations_apart)
    np.testing.assert_array_equal(rewards, rewards_apart.astype(np.float32))  # DummyVecEnv's dtype
    assert task_info(apart) == task_info(here)
    apart.close()


def test_each_environment_has_its_own_seed():
    (first, _), _ = play(make_vec_env("walker-walk", 3, seed=7))
    assert len(np.unique(first, axis=0)) == 3
    alone = make_env("walker-walk").reset(seed=8)[0]
    np.testing.assert_array_equal(first[1], alone)


def test_sampled_actions_differ_between_environments():
    samples = [env.action_space.sample() for env in make_vec_env("walker-walk", 2, seed=7).envs]
    assert not np.array_equal(*samples)


def test_without_a_seed_runs_differ():
    starts = [make_vec_env("walker-walk").reset() for _ in range(2)]
    assert not np.array_equal(*starts)


@pytest.mark.parametrize("monitor", [True, False])
def test_monitor_reports_episodes(monitor):
    envs = make_vec_env("Pendulum-v1", seed=0, monitor=monitor, max_episode_steps=5)
    envs.reset()
    for _ in range(5):
        _, _, dones, infos = envs.step(np.zeros((1, 1), np.float32))
    assert dones[0]
    assert infos[0]["TimeLimit.truncated"]
    assert ("episode" in infos[0]) == monitor
    if monitor:
        assert infos[0]["episode"]["l"] == 5


def test_options_and_classes_are_passed_on():
    envs = make_vec_env("Pendulum-v1", 2, vec_env_cls=DummyVecEnv, g=3.5)
    assert envs.get_attr("g") == [3.5, 3.5]


def test_ready_environment_can_be_the_only_one():
    env = make_env("Pendulum-v1")
    assert make_vec_env(env).num_envs == 1
    for arguments in ({"n_envs": 2}, {"vec_env_cls": "subproc"}):
        with pytest.raises(ValueError, match="a ready environment cannot be copied"):
            make_vec_env(env, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_envs": 0}, "n_envs=0: at least one"),
        ({"vec_env_cls": "thread"}, "vec_env_cls='thread' is not supported"),
        ({"start_method": "spawn"}, "start_method is only for"),
    ],
)
def test_senseless_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_vec_env("Pendulum-v1", **arguments)


@pytest.mark.filterwarnings("ignore:The environment is already wrapped")
def test_task_info_sees_through_sb3s_wrappers():
    info = task_info(VecMonitor(make_vec_env("walker-walk")))
    assert (info.action_repeat, info.max_episode_steps, info.episodic) == (2, 500, False)


class TestEnvironmentThatCannotBeMadeInAProcess:
    def test_is_explained_where_it_cannot_be_made_here_either(self):
        with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
            make_vec_env("Pendulum-v1", 1, vec_env_cls="subproc", foo=1)

    def test_is_named_with_what_to_do_where_only_this_process_knows_it(self):
        gym.register("tests/OnlyHere-v0", "gymnasium.envs.classic_control:PendulumEnv")
        try:
            with pytest.raises(ChildProcessError, match='"module:id"') as error:
                make_vec_env("tests/OnlyHere-v0", 1, vec_env_cls="subproc", start_method="spawn")
        finally:
            del gym.registry["tests/OnlyHere-v0"]
        assert "'tests/OnlyHere-v0' can be made in this process" in str(error.value)
