"""The suites' ids in Gymnasium's own registry."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from dream_agents import make_env
from dream_agents.registry import suites
from dream_agents.registry.environments import register_all


def episode_start(env):
    observation, _ = env.reset(seed=3)
    env.action_space.seed(3)
    outcomes = [env.step(env.action_space.sample()) for _ in range(3)]
    return np.concatenate([observation, *(outcome[0] for outcome in outcomes)]), [o[1] for o in outcomes]


def test_every_id_of_the_table_is_registered_with_its_limit():
    ids = suites.get("dmc").ids()
    assert len(ids) == 51 + 11
    for id in ids:
        assert gymnasium.spec(id).max_episode_steps == 500


@pytest.mark.parametrize("id", ["dmc_walker-walk-v0", "dream_agents:dmc_walker-walk-v0"])
def test_gymnasium_make_gives_the_same_environment_as_make_env(id):
    theirs, ours = gymnasium.make(id), make_env("dmc_walker-walk-v0")
    assert str(theirs) == str(ours)
    assert str(theirs).count("TimeLimit") == 1
    assert str(theirs).count("PassiveEnvChecker") == 1
    assert theirs.spec == ours.spec
    assert theirs.spec.max_episode_steps == 500
    for mine, other in zip(episode_start(theirs), episode_start(ours), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    "id", ["dmc_cartpole-swingup_sparse-v0", "dmc_quadruped-walk-v0", "dmc_lqr-lqr_2_1-v0"]
)
def test_environment_can_be_made_again_from_its_spec(id):
    env = make_env(id)
    again = gymnasium.make(env.spec)
    assert str(again) == str(env)
    assert again.spec == env.spec


def test_module_prefix_registers_in_a_fresh_process():
    code = "import gymnasium; print(gymnasium.make('dream_agents:dmc_cartpole-swingup_sparse-v0').spec.id)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    # Without labmaze, Shimmy says that it has no locomotion environments.
    lines = [line for line in done.stdout.splitlines() if "locomotion" not in line]
    assert lines == ["dmc_cartpole-swingup_sparse-v0"]


def test_registering_again_changes_nothing(recwarn):
    before = dict(gymnasium.registry)
    register_all()
    assert gymnasium.registry == before
    assert not recwarn.list


def test_registering_imports_no_simulator():
    code = """
import sys, gymnasium
import dream_agents.wrappers
from dream_agents.registry.environments import register_all
gymnasium.registry.clear()
register_all()
print(len(gymnasium.registry), bool({"dm_control", "mujoco"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    count, simulator = done.stdout.split()
    assert int(count) == 51 + 11 + 50 + 28  # dm_control's tasks, TD-MPC2's, Meta-World's and HumanoidBench's
    assert simulator == "False"
