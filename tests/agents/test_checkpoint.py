"""Interrupted work is not lost."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from stable_baselines3.common.noise import NormalActionNoise

from dream_agents import DreamMPC
from dream_agents.agents import checkpoint as checkpoint_module
from dream_agents.agents.checkpoint import (
    CheckpointCallback,
    CheckpointError,
    find_checkpoints,
    verify_checkpoint,
)


def weights(agent):
    return [parameter.detach().clone() for parameter in agent.policy.parameters()]


def assert_same_learning(resumed, whole):
    assert resumed.num_timesteps == whole.num_timesteps
    assert resumed._n_updates == whole._n_updates
    for ours, expected in zip(weights(resumed), weights(whole), strict=True):
        assert torch.equal(ours, expected)
    assert [e["r"] for e in resumed.ep_info_buffer] == [e["r"] for e in whole.ep_info_buffer]
    ours, expected = resumed.replay_buffer.state_arrays(), whole.replay_buffer.state_arrays()
    for name in ("observations", "actions", "rewards", "terminated"):
        np.testing.assert_array_equal(ours[name], expected[name])


@pytest.mark.parametrize("learning_starts", [20, 250])
def test_resumed_run_gives_the_same_numbers_as_one_that_was_never_stopped(
    make_agent, learning_starts, tmp_path
):
    options = {"learning_starts": learning_starts}
    whole = make_agent(**options).learn(430, callback=CheckpointCallback(tmp_path, 150, keep=9))
    first = find_checkpoints(tmp_path)[-1]
    assert first.name == "checkpoint_0000000200"  # the first end of a Pendulum episode after 150 decisions

    resumed = type(whole).load_checkpoint(first, device="cpu")
    assert resumed.num_timesteps == 200
    resumed.learn(230, reset_num_timesteps=False)
    assert_same_learning(resumed, whole)


def test_resumed_run_draws_the_same_action_noise(make_dream, tmp_path):
    noise = NormalActionNoise(np.zeros(1), 0.5 * np.ones(1))
    whole = make_dream(action_noise=noise).learn(400, callback=CheckpointCallback(tmp_path, 200))
    resumed = DreamMPC.load_checkpoint(find_checkpoints(tmp_path)[-1], device="cpu")
    resumed.learn(200, reset_num_timesteps=False)
    assert_same_learning(resumed, whole)


def test_several_environments_go_on_with_new_episodes(make_dream, tmp_path):
    agent = make_dream(n_envs=2).learn(80)
    agent.save_checkpoint(tmp_path)  # in the middle of both episodes
    resumed = DreamMPC.load_checkpoint(tmp_path, device="cpu")
    assert resumed.n_envs == 2
    before = resumed.replay_buffer.size()
    resumed.learn(40, reset_num_timesteps=False)
    assert resumed.num_timesteps == 120
    assert resumed.replay_buffer.size() == before + 40
    ids = resumed.replay_buffer.episode_ids
    assert not np.isin(ids[40:60], ids[:40]).any()  # what was cut is not joined to what follows


def test_environment_without_an_id_is_given_again(make_dream, walk, tmp_path):
    make_dream(env=walk()).learn(60).save_checkpoint(tmp_path)
    resumed = DreamMPC.load_checkpoint(tmp_path, env=walk(), device="cpu")
    assert resumed.learn(10, reset_num_timesteps=False).num_timesteps == 70


@pytest.fixture
def two_checkpoints(make_dream, tmp_path):
    make_dream(learning_starts=420).learn(450, callback=CheckpointCallback(tmp_path, 150))
    newest, oldest = find_checkpoints(tmp_path)
    return newest, oldest


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("agent.zip", truncate),
        ("agent.zip", os.remove),
        ("replay.npz", flip_a_byte),
        ("state.pt", flip_a_byte),
        ("manifest.json", truncate),
        ("manifest.json", os.remove),
    ],
)
def test_last_good_checkpoint_is_used_and_the_bad_one_named(two_checkpoints, name, damage):
    newest, oldest = two_checkpoints
    damage(newest / name)
    with pytest.raises(CheckpointError, match=name):
        verify_checkpoint(newest)
    with pytest.warns(UserWarning, match=newest.name):
        resumed = DreamMPC.load_checkpoint(newest.parent, device="cpu")
    assert resumed.num_timesteps == int(oldest.name.removeprefix("checkpoint_"))


def test_no_good_checkpoint_says_where_it_looked(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        DreamMPC.load_checkpoint(tmp_path)


def test_full_disk_costs_a_warning_and_neither_the_run_nor_the_old_checkpoint(
    make_dream, tmp_path, monkeypatch
):
    agent = make_dream().learn(100)
    good = agent.save_checkpoint(tmp_path)

    def no_space(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module.np, "savez", no_space)
    with pytest.warns(UserWarning, match="No space left"):
        agent.learn(300, callback=CheckpointCallback(tmp_path, 100), reset_num_timesteps=False)
    assert agent.num_timesteps == 400
    assert [path.name for path in tmp_path.iterdir()] == [good.name]
    verify_checkpoint(good)


def test_only_the_newest_are_kept(make_dream, tmp_path):
    make_dream(learning_starts=900).learn(900, callback=CheckpointCallback(tmp_path, 200, keep=3))
    assert [int(path.name[-4:]) for path in find_checkpoints(tmp_path)] == [800, 600, 400]


def test_late_checkpoint_comes_where_episodes_and_rounds_never_end_together(make_dream, walk, tmp_path):
    agent = make_dream(env=walk(), train_freq=7)
    agent.learn(200, callback=CheckpointCallback(tmp_path, 30, keep=99))
    saved = [int(path.name[-4:]) for path in reversed(find_checkpoints(tmp_path))]
    assert len(saved) >= 2
    assert max(np.diff([0, *saved])) < 2 * 30 + 7


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from dream_agents import DreamMPC
from dream_agents.agents.checkpoint import CheckpointCallback
from dream_agents.models.tdmpc import TDMPCSize
agent = DreamMPC("Pendulum-v1", model_size=TDMPCSize(16, 16, 16, 2, 2), learning_starts=20, batch_size=16, seed=0)
agent.learn(1_000_000, callback=CheckpointCallback(sys.argv[1], 1))
"""


@pytest.mark.parametrize("attempt", range(3))
def test_kill_at_any_moment_leaves_a_good_checkpoint(tmp_path, attempt):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)])
    deadline = time.monotonic() + 240
    while len(find_checkpoints(tmp_path)) == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.4 * attempt)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = DreamMPC.load_checkpoint(tmp_path, device="cpu")
    resumed.learn(20, reset_num_timesteps=False)
    shutil.rmtree(tmp_path)
