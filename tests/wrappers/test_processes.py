"""Environments in processes are named when they die, and closing them never hangs."""

import os
import signal
import time
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import SubprocVecEnv

from dream_agents.wrappers import make_vec_env
from dream_agents.wrappers.processes import ProcessVecEnv, describe_exit


class Breaking(gym.Wrapper):
    """Raises in the third step."""

    def __init__(self, env, broken):
        super().__init__(env)
        self.left = 3 if broken else 10**6

    def step(self, action):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("the arm fell off")
        return super().step(action)


def make(broken=False):
    return Breaking(gym.make("Pendulum-v1"), broken)


@pytest.fixture
def closing():
    """Close quickly whatever the test makes."""
    made = []
    yield made.append
    for env in made:
        began = time.monotonic()
        env.close()
        assert time.monotonic() - began < 10
        assert not any(process.is_alive() for process in env.processes)


def step_until_it_fails(env):
    env.reset()
    for _ in range(100):
        env.step(np.zeros((env.num_envs, 1), np.float32))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_killed_process_is_named(closing, index):
    env = ProcessVecEnv([make] * 3)
    closing(env)
    env.reset()
    os.kill(env.processes[index].pid, signal.SIGKILL)
    with pytest.raises(
        ChildProcessError, match=rf"environment {index + 1} of 3 has ended \(killed by SIGKILL"
    ):
        step_until_it_fails(env)


def kill_own_process():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("index", [0, 2])
def test_process_that_is_killed_while_it_starts_is_named(index):
    makers = [make] * 3
    makers[index] = kill_own_process
    with pytest.raises(
        ChildProcessError, match=rf"environment {index + 1} of 3 .* while it started \(killed by SIGKILL"
    ):
        ProcessVecEnv(makers)


def fail_elsewhere(parent):
    if os.getpid() != parent:
        raise RuntimeError("no licence for this process")
    return make()


def test_what_can_not_be_made_elsewhere_is_named():
    with pytest.raises(ChildProcessError, match=r"^fail_elsewhere can be made in this process, but not"):
        make_vec_env(partial(fail_elsewhere, os.getpid()), 2, vec_env_cls="subproc")


def test_environment_that_raises_is_named(closing):
    env = ProcessVecEnv([make, partial(make, broken=True), make])
    closing(env)
    with pytest.raises(
        ChildProcessError, match=r"environment 2 of 3 has ended \(exit code 1; it has printed why"
    ):
        step_until_it_fails(env)


def test_stopped_process_does_not_hold_up_closing(closing):
    env = ProcessVecEnv([make] * 2)
    closing(env)
    env.reset()
    env.step_async(np.zeros((2, 1), np.float32))
    os.kill(env.processes[1].pid, signal.SIGSTOP)


def test_closing_in_the_middle_of_a_step_ends_at_once(closing):
    env = ProcessVecEnv([make] * 2)
    closing(env)
    env.reset()
    env.step_async(np.zeros((2, 1), np.float32))
    env.remotes[0].recv()  # as after an error, or Ctrl-C, between two answers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_left_to_the_parent(closing, number):
    env = make_vec_env("Pendulum-v1", 2, vec_env_cls="subproc")
    closing(env)
    env.reset()
    for process in env.processes:
        os.kill(process.pid, number)
    time.sleep(0.2)
    env.step(np.zeros((2, 1), np.float32))


def test_stable_baselines3s_own_class_is_made_so_as_well(closing):
    env = make_vec_env("Pendulum-v1", 2, vec_env_cls=SubprocVecEnv)
    closing(env)
    assert isinstance(env, ProcessVecEnv)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (-9, "SIGKILL, perhaps"),
        (-11, "SIGSEGV"),
        (1, "exit code 1"),
        (0, "without"),
        (255, "nobody"),
    ],
)
def test_ends_are_described(status, text):
    assert text in describe_exit(status)
