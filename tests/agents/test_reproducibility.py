"""The same seed gives the same weights and actions, bit for bit, on a CPU."""

import hashlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback

from dream_agents import make_vec_env


def digest(agent):
    """A fingerprint of everything learned and of some actions."""
    state = None
    sha = hashlib.sha256()
    for value in agent.policy.state_dict().values():
        sha.update(value.numpy().tobytes())
    for step in range(3):
        actions, state = agent.predict(np.full((2, 3), step / 3, np.float32), state, deterministic=True)
        sha.update(actions.tobytes())
    return sha.hexdigest()


def test_same_seed_same_weights_and_actions(make_agent):
    assert digest(make_agent(seed=4).learn(32)) == digest(make_agent(seed=4).learn(32))


def test_other_seed_other_weights(make_dream):
    one, other = (make_dream(seed=seed).learn(22) for seed in (1, 2))
    assert digest(one) != digest(other)
    assert not np.array_equal(one.replay_buffer.observations[:20], other.replay_buffer.observations[:20])
    assert not np.array_equal(one.replay_buffer.actions[:20], other.replay_buffer.actions[:20])


def test_without_a_seed_runs_differ(make_dream):
    assert digest(make_dream(seed=None)) != digest(make_dream(seed=None))


def test_what_happened_before_does_not_matter(make_dream):
    expected = digest(make_dream().learn(24))
    torch.rand(17)
    np.random.default_rng().random()
    make_dream(seed=99).learn(22)
    assert digest(make_dream().learn(24)) == expected


def test_several_environments(make_dream):
    expected = digest(make_dream(n_envs=2).learn(32))
    assert digest(make_dream(n_envs=2, vec_env_cls="subproc").learn(32)) == expected


def test_evaluation_while_learning_changes_nothing(make_dream):
    expected = digest(make_dream().learn(32))
    evaluation = make_vec_env("Pendulum-v1", seed=1, max_episode_steps=5)
    callback = EvalCallback(evaluation, eval_freq=7, n_eval_episodes=1, verbose=0, warn=False)
    assert digest(make_dream().learn(32, callback=callback)) == expected


@pytest.mark.parametrize("name", ["TDMPC2", "DreamMPC"])
def test_another_process_gets_the_same(name):
    """A script as a user would write it."""
    script = textwrap.dedent(f"""
        import hashlib, torch
        from dream_agents import {name}
        from dream_agents.models.tdmpc import TDMPCSize
        torch.set_num_threads(1)
        agent = {name}("Pendulum-v1", model_size=TDMPCSize(16, 16, 16, 2, 2), learning_starts=20, batch_size=16,
                       seed=3, device="cpu").learn(26)
        weights = torch.nn.utils.parameters_to_vector(agent.policy.parameters()).detach().numpy()
        digest = hashlib.sha256(weights.tobytes()).hexdigest()
    """)
    here: dict[str, str] = {}
    exec(script, here)
    command = [sys.executable, "-c", script + "print(digest)"]
    there = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
    assert there == here["digest"]


def test_decisions_between_do_not_matter(make_agent):
    """Networks are large enough here that weights which stay are packed for several decisions."""

    class Asks(BaseCallback):
        def _on_rollout_start(self):
            for _ in range(3):
                self.model.predict(np.zeros((1, 3), np.float32), deterministic=True)

        def _on_step(self):
            return True

    size = {} if make_agent.__name__ == "make_dreamer" else {"model_size": "1M"}
    options = size | {"learning_starts": 4, "batch_size": 4}
    expected, agent = make_agent(**options).learn(16), make_agent(**options).learn(16, Asks())
    np.testing.assert_array_equal(agent.replay_buffer.actions, expected.replay_buffer.actions)
