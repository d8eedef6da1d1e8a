"""Environments in processes: the same episodes, and errors that say what happened."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from dream_agents.evaluation import evaluate
from dream_agents.evaluation.environments import processes_pay
from dream_agents.evaluation.processes import EnvProcesses

pendulum = partial(gym.make, "Pendulum-v1", max_episode_steps=4)


@pytest.fixture(scope="module")
def shared():
    """Five environments in two processes."""
    env = EnvProcesses([pendulum] * 5, processes=2)
    yield env
    env.close()


def test_environments_do_what_they_do_in_one_process(shared):
    here = DummyVecEnv([pendulum] * 5)
    for env in (here, shared):
        env.seed(3)
    np.testing.assert_array_equal(shared.reset(), here.reset())
    actions = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
    for _ in range(6):  # beyond the end of an episode
        for ours, theirs in zip(shared.step(actions)[:3], here.step(actions)[:3], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert shared.processes == 2


def test_attributes_and_methods_are_those_of_the_environments_asked_for(shared):
    shared.set_attr("number", 7, indices=[4, 0])
    assert shared.get_attr("number", indices=[0, 4]) == [7, 7]
    with pytest.raises(AttributeError, match="number"):
        shared.get_attr("number", indices=[1])
    assert not shared.has_attr("number")
    assert shared.env_is_wrapped(gym.wrappers.TimeLimit) == [True] * 5
    assert [spec.id for spec in shared.env_method("get_wrapper_attr", "spec", indices=2)] == ["Pendulum-v1"]


def test_environment_that_cannot_be_made_is_named_with_the_cause(swinger, capfd):
    with pytest.raises(ChildProcessError) as error:
        evaluate(swinger, "Pendulum-v1", env_kwargs={"foo": 1}, episodes=2, vec_env_cls="subproc")
    assert '"Pendulum-v1" can\'t be made in a process' in str(error.value)
    assert "unexpected keyword argument 'foo'" in str(error.value)
    assert "Traceback" not in capfd.readouterr().err


def test_what_goes_wrong_in_a_step_is_raised_here_and_the_processes_end():
    env = EnvProcesses([pendulum, partial(gym.make, "Pendulum-v1", g="heavy")], processes=2)
    env.reset()
    with pytest.raises(ChildProcessError, match="TypeError: "):
        env.step(np.zeros((2, 1), np.float32))
    env.close()
    assert not any(process.is_alive() for process in env._processes)


def test_process_that_ends_by_itself_is_noticed():
    env = EnvProcesses([pendulum])
    env._processes[0].kill()
    env._processes[0].join()
    with pytest.raises(ChildProcessError, match="ended by itself"):
        env.reset()
    env.close()


@pytest.mark.parametrize(
    ("step_seconds", "n_envs", "decisions", "processors", "pays"),
    [
        (5e-3, 16, 50_000, 2, True),
        (5e-3, 16, 500, 2, False),  # over before the processes have started
        (5e-3, 1, 50_000, 8, False),
        (5e-3, 16, 50_000, 1, False),
        (1e-5, 16, 1_000_000, 8, False),  # messages take longer than steps
    ],
)
def test_processes_pay_for_slow_environments_and_long_evaluations(
    step_seconds, n_envs, decisions, processors, pays
):
    assert processes_pay(step_seconds, n_envs, decisions, processors) is pays
