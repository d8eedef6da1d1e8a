"""Interrupted work is not lost."""

import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dream_agents import SAC, TDMPC2, DreamMPC
from dream_agents.agents.checkpoint import (
    CheckpointCallback,
    CheckpointError,
    find_checkpoints,
    save_checkpoint,
    verify_checkpoint,
)
from dream_agents.agents.training_state import set_training_state, training_state
from dream_agents.wrappers import make_vec_env


def weights(agent):
    return [parameter.detach().clone() for parameter in agent.policy.parameters()]


def assert_same_learning(resumed, whole):
    assert resumed.num_timesteps == whole.num_timesteps
    assert resumed._n_updates == whole._n_updates
    for ours, expected in zip(weights(resumed), weights(whole), strict=True):
        assert torch.equal(ours, expected)
    assert [e["r"] for e in resumed.ep_info_buffer] == [e["r"] for e in whole.ep_info_buffer]
    ours, expected = resumed.replay_buffer.state_arrays(), whole.replay_buffer.state_arrays()
    assert ours.keys() == expected.keys()
    for name in expected.keys() - {"positions", "next_id", "current_ids", "episode_ids"}:
        np.testing.assert_array_equal(ours[name], expected[name], err_msg=name)


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
@pytest.mark.parametrize("name", ["agent.zip", "replay.npz", "state.pt", "manifest.json"])
def test_full_disk_costs_a_warning_and_neither_the_run_nor_the_old_checkpoint(
    make_dream, tmp_path, monkeypatch, name
):
    agent = make_dream(learning_starts=400).learn(100)
    good = agent.save_checkpoint(tmp_path)
    real_open = io.open

    def open_on_full_disk(path, mode="r", *args, **kwargs):
        full = "w" in mode and Path(path).name == name
        return real_open("/dev/full" if full else path, mode, *args, **kwargs)

    monkeypatch.setattr(io, "open", open_on_full_disk)
    monkeypatch.setattr(Path, "open", open_on_full_disk)  # Python 3.10's keeps an io.open of its own
    with pytest.warns(UserWarning, match="No space left"):
        agent.learn(300, callback=CheckpointCallback(tmp_path, 100), reset_num_timesteps=False)
    assert agent.num_timesteps == 400
    assert [path.name for path in tmp_path.glob("checkpoint_*")] == [good.name]
    verify_checkpoint(good)


def test_only_the_newest_are_kept(make_dream, tmp_path):
    make_dream(learning_starts=900).learn(900, callback=CheckpointCallback(tmp_path, 200, keep=3))
    assert [int(path.name[-4:]) for path in find_checkpoints(tmp_path)] == [800, 600, 400]


def test_one_that_is_due_when_learning_ends_is_written(make_dream, tmp_path):
    callback = CheckpointCallback(tmp_path, 200)
    make_dream(learning_starts=500).learn(400, callback)
    assert [int(path.name[-4:]) for path in find_checkpoints(tmp_path)] == [400, 200]
    assert callback.written_at == 400


def test_new_run_does_not_touch_the_checkpoints_of_another(two_checkpoints, make_dream):
    folder = two_checkpoints[0].parent
    with pytest.raises(
        ValueError, match=f"{folder} holds checkpoint_0000000400.*load_checkpoint.*another folder"
    ):
        make_dream().learn(300, callback=CheckpointCallback(folder, 30))
    assert tuple(find_checkpoints(folder)) == two_checkpoints
    for checkpoint in two_checkpoints:
        verify_checkpoint(checkpoint)


def test_run_that_goes_on_before_a_damaged_checkpoint_keeps_its_own(two_checkpoints):
    newest, _ = two_checkpoints
    flip_a_byte(newest / "replay.npz")
    folder = newest.parent
    with pytest.warns(UserWarning, match=newest.name):
        resumed = DreamMPC.load_checkpoint(folder, device="cpu")
    resumed.learn(150, callback=CheckpointCallback(folder, 30, keep=1), reset_num_timesteps=False)
    assert DreamMPC.load_checkpoint(folder, device="cpu").num_timesteps == 350
    assert [path.name[-4:] for path in find_checkpoints(folder)] == ["0350", "0400"]


def test_last_written_is_loaded_and_nothing_of_more_decisions_dropped(make_dream, tmp_path):
    make_dream().learn(60).save_checkpoint(tmp_path)
    make_dream().learn(30).save_checkpoint(tmp_path)
    save_checkpoint(make_dream().learn(40), tmp_path, keep=1)
    assert [path.name[-4:] for path in find_checkpoints(tmp_path)] == ["0040", "0060"]
    assert DreamMPC.load_checkpoint(tmp_path, device="cpu").num_timesteps == 40


def test_damaged_checkpoints_do_not_count(make_dream, tmp_path):
    agent = make_dream()
    paths = []
    for damage in (None, truncate, os.remove, None):
        paths.append(save_checkpoint(agent.learn(10, reset_num_timesteps=False), tmp_path, keep=2))
        if damage:
            damage(paths[-1] / "state.pt")
    assert find_checkpoints(tmp_path) == [paths[3], paths[0]]


@pytest.mark.parametrize("option", ["keep", "save_freq"])
def test_at_least_one(option, tmp_path):
    with pytest.raises(ValueError, match=f"{option}=0: at least 1"):
        CheckpointCallback(tmp_path, **{option: 0})


def test_what_killed_runs_left_is_removed(make_dream, tmp_path):
    (tmp_path / ".unfinished_checkpoint_0000000007").mkdir()
    path = make_dream().save_checkpoint(tmp_path)
    assert [found for found in tmp_path.iterdir() if found.name != ".lock"] == [path]


@pytest.fixture
def walk_id(walk):
    """Id of an environment whose options may be sequences."""
    gym.register("CheckpointWalk-v0", entry_point=walk)
    yield "CheckpointWalk-v0"
    del gym.registry["CheckpointWalk-v0"]


@pytest.mark.parametrize("low", [np.float64(-2), np.array([-2.0]), (-2.0,)], ids=["number", "array", "tuple"])
def test_any_options_of_the_environment(make_dream, walk_id, low, tmp_path):
    agent = make_dream(walk_id, env_kwargs={"low": low}, vec_env_cls=DummyVecEnv).learn(30)
    for _ in range(2):  # a resumed run is resumed
        agent.save_checkpoint(tmp_path)
        agent = DreamMPC.load_checkpoint(tmp_path, device="cpu")
        assert agent.env.envs[0].unwrapped.low == -2
        assert agent.task.vec_env_cls is DummyVecEnv
        options = agent.task.env_kwargs
        assert options == {"low": low}
        assert type(options["low"]) is type(low)


def test_seed_of_numpy(make_dream, tmp_path):
    make_dream(seed=np.int64(3)).learn(30).save_checkpoint(tmp_path)
    assert DreamMPC.load_checkpoint(tmp_path, device="cpu").num_timesteps == 30


def statistics(env):
    return [
        np.array([rms.mean, rms.var, np.full_like(rms.var, rms.count)]) for rms in (env.obs_rms, env.ret_rms)
    ]


def test_random_numbers_of_a_cuda_device_go_on(make_dream, monkeypatch):
    """Dropout, and all that SAC draws, come from the device's global generator."""
    agent, given, state = make_dream().learn(20), [], torch.arange(16, dtype=torch.uint8)
    assert training_state(agent)["cuda_rng"] is None
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *args: given.append(args))
    on_cpu, cuda = agent.device, torch.device("cuda")
    agent.device = cuda
    saved = training_state(agent)
    agent.generators = {}
    set_training_state(agent, saved)
    assert given == [(state, cuda)]
    del saved["cuda_rng"]  # as earlier versions wrote it
    set_training_state(agent, saved)
    agent.device = on_cpu
    set_training_state(agent, saved | {"cuda_rng": state})
    assert len(given) == 1


def test_normalisation_goes_on(make_dream, tmp_path):
    agent = make_dream(env=VecNormalize(make_vec_env("Pendulum-v1"))).learn(60)
    agent.save_checkpoint(tmp_path)
    env = VecNormalize(make_vec_env("Pendulum-v1"))
    resumed = DreamMPC.load_checkpoint(tmp_path, env=env, device="cpu")
    for ours, expected in zip(statistics(env), statistics(agent.env), strict=True):
        np.testing.assert_array_equal(ours, expected)
    resumed.learn(20, reset_num_timesteps=False)
    assert env.obs_rms.count == agent.env.obs_rms.count + 21  # the first observation and 20 more
    assert env.ret_rms.count == agent.env.ret_rms.count + 20


def test_normalisation_of_rewards_alone_goes_on(make_dream, tmp_path):
    agent = make_dream(env=VecNormalize(make_vec_env("Pendulum-v1"), norm_obs=False)).learn(60)
    agent.save_checkpoint(tmp_path)
    env = VecNormalize(make_vec_env("Pendulum-v1"), norm_obs=False)
    DreamMPC.load_checkpoint(tmp_path, env=env, device="cpu")
    assert env.ret_rms.var == agent.env.ret_rms.var


def test_normalisation_that_is_left_out_is_missed(make_dream, tmp_path):
    make_dream(env=VecNormalize(make_vec_env("Pendulum-v1"))).learn(30).save_checkpoint(tmp_path)
    with pytest.warns(UserWarning, match="VecNormalize"):
        DreamMPC.load_checkpoint(tmp_path, env=make_vec_env("Pendulum-v1"), device="cpu")


def test_loading_an_agent_leaves_the_replay_files_of_another_alone(make_dream, tmp_path):
    agent = make_dream(replay_buffer_kwargs={"folder": tmp_path / "replay"}).learn(40)
    before = {name: np.array(value) for name, value in agent.replay_buffer.state_arrays().items()}
    agent.save(tmp_path / "agent.zip")
    checkpoint = agent.save_checkpoint(tmp_path)
    loaded = DreamMPC.load(tmp_path / "agent.zip", "Pendulum-v1", device="cpu")
    resumed = DreamMPC.load_checkpoint(checkpoint, device="cpu")
    for other in (loaded, resumed):
        other.learn(40, reset_num_timesteps=False)
    assert resumed.replay_buffer.size() == 80
    assert before["rewards"].any()
    for name, value in agent.replay_buffer.state_arrays().items():
        np.testing.assert_array_equal(value, before[name])


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


KILLED_AT_EVERY_STEP = """
import os, shutil, sys, warnings
from pathlib import Path
import torch
torch.set_num_threads(1)
from dream_agents import DreamMPC
from dream_agents.agents.checkpoint import newest_good_checkpoint, save_checkpoint
from dream_agents.models.tdmpc import TDMPCSize

folder, copy = Path(sys.argv[1], "template"), Path(sys.argv[1], "copy")
agent = DreamMPC("Pendulum-v1", model_size=TDMPCSize(16, 16, 16, 2, 2), buffer_size=500, seed=0, device="cpu")
for _ in range(2):
    agent.learn(30, reset_num_timesteps=False)
    save_checkpoint(agent, folder)
warnings.simplefilter("error")

def kill_after(operations):
    left = [operations]
    def count(event, arguments):
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
    sys.addaudithook(count)

operations, status = 0, 9
while status == 9:
    shutil.copytree(folder, copy)
    child = os.fork()
    if child == 0:
        kill_after(operations)
        save_checkpoint(agent, copy, keep=1)  # replaces the newest, drops the oldest
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    newest_good_checkpoint(copy)
    shutil.rmtree(copy)
    operations += 1
assert status == 0, status
print(operations)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_every_file_operation_leaves_a_good_checkpoint(tmp_path):
    command = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 20


def test_checkpoint_of_another_agent_is_refused(make_dream, tmp_path):
    make_dream().learn(40).save_checkpoint(tmp_path)
    with pytest.raises(
        ValueError, match=r"was written by DreamMPC, not TDMPC2: go on with DreamMPC\.load_checkpoint"
    ):
        TDMPC2.load_checkpoint(tmp_path)


@pytest.mark.parametrize("option", ["batchsize", "nosuch", "planer"])
def test_unknown_option_of_a_checkpoint_is_refused(make_dream, tmp_path, option):
    make_dream().learn(40).save_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=f'"{option}" is not an option of DreamMPC'):
        DreamMPC.load_checkpoint(tmp_path, device="cpu", **{option: 3})
    assert DreamMPC.load_checkpoint(tmp_path, device="cpu", batch_size=3).batch_size == 3


@pytest.mark.parametrize("change", [("decisions", 41), ("number", 9), ("agent", "TDMPC2"), ("extra", 1)])
def test_changed_manifest_is_noticed(make_dream, tmp_path, change):
    path = make_dream().learn(40).save_checkpoint(tmp_path)
    content = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(content | dict([change])))
    with pytest.raises(CheckpointError, match="it was changed"):
        verify_checkpoint(path)


def test_manifest_of_version_0_1_still_loads(make_dream, tmp_path):
    path = make_dream().learn(40).save_checkpoint(tmp_path)
    content = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(
        json.dumps({key: content[key] for key in ("number", "decisions", "files")})
    )
    assert DreamMPC.load_checkpoint(tmp_path, device="cpu").num_timesteps == 40


@contextmanager
def held_by_another(folder):
    """Lock a folder as another process does: what locks a file is who opened it."""
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write("process 12 on mars since yesterday")
        file.flush()
        yield


class TestOneWriter:
    @pytest.mark.parametrize("make", ["world model", "SAC"])
    def test_the_second_is_told_of_the_first(self, make_dream, tmp_path, make):
        agent = make_dream() if make == "world model" else SAC("Pendulum-v1", device="cpu", buffer_size=100)
        told = pytest.raises(
            BlockingIOError, match=r"another process writes to .*: process 12 on mars since yesterday"
        )
        with held_by_another(tmp_path):
            with told:
                agent.learn(30, CheckpointCallback(tmp_path, 20))
            assert agent.num_timesteps == 0
            with told:
                agent.save_checkpoint(tmp_path)
        agent.learn(10, CheckpointCallback(tmp_path, 20)).save_checkpoint(tmp_path)

    @pytest.mark.parametrize("fails", [False, True])
    def test_the_folder_is_held_until_learning_ends(self, make_dream, tmp_path, fails):
        class Try(BaseCallback):
            def _on_step(self):
                with pytest.raises(BlockingIOError), held_by_another(tmp_path):
                    pass
                if fails and self.n_calls == 5:
                    raise KeyError("by mistake")
                return True

        agent = make_dream()
        with pytest.raises(KeyError, match="by mistake") if fails else nullcontext():
            agent.learn(8, [CheckpointCallback(tmp_path, 4), Try()])
        with held_by_another(tmp_path):
            pass
