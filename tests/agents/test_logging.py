"""What TensorBoard shows."""

import csv

import pytest
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dream_agents import make_vec_env

EVERY_AGENT = {
    "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
    "time/fps",
    "time/env_frames",
    "time/ms_per_update",
    "train/loss",
    "train/reward_loss",
    "train/value_loss",
    "train/policy_loss",
    "train/policy_entropy",
    "train/grad_norm",
    "train/policy_grad_norm",
    "train/learning_rate",
    "planner/ms_per_decision",
    "planner/value",
}
IMPLICIT = {"train/consistency_loss", "planner/std", "train/value_scale"}
DREAMER = {"train/observation_loss", "train/kl", "train/posterior_entropy", "train/return_scale"}
IMITATION = {
    "train/consistency_loss",
    "planner/std",
    "train/divergence_scale",
    "train/policy_divergence",
    "train/expert_std",
}
DREAM = {
    "train/consistency_loss",
    "train/value_scale",
    "planner/value_before",
    "planner/value_after",
    "planner/iterations",
    "planner/step",
}


def read(folder):
    (run,) = folder.iterdir()
    events = EventAccumulator(str(run)).Reload()
    return run.name, {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard(make_agent, tmp_path):
    agent = make_agent(make_vec_env("Pendulum-v1", max_episode_steps=15), tensorboard_log=str(tmp_path))
    agent.learn(46, log_interval=1)
    name, scalars = read(tmp_path)
    assert name == f"{type(agent).__name__}_1"
    own = {"TDMPC2": IMPLICIT, "BMPC": IMITATION, "DreamerV3": DREAMER, "DreamMPC": DREAM}
    assert EVERY_AGENT | own[type(agent).__name__] <= set(scalars)
    assert len(scalars["train/loss"]) == 2  # episodes end at 15, 30 and 45, updates begin at 21
    assert scalars["rollout/ep_len_mean"] == [15, 15, 15]
    assert all(value < 0 for value in scalars["rollout/ep_rew_mean"])
    assert all(value > 0 for value in scalars["planner/ms_per_decision"])
    assert scalars["train/learning_rate"] == pytest.approx([3e-4, 3e-4])


@pytest.mark.parametrize(("env", "repeat"), [("Pendulum-v1", 1), ("dmc_cartpole-balance-v0", 2)])
def test_frames_are_decisions_times_action_repeat(make_dream, env, repeat, tmp_path):
    agent = make_dream(env, learning_starts=1000)
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(10, log_interval=1)
    assert agent.env_frames == 10 * repeat
    agent.dump_logs()
    with (tmp_path / "progress.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["time/env_frames"]) == 10 * repeat
    assert float(row["time/total_timesteps"]) == 10


def test_nothing_is_written_unless_asked(make_dream, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_dream().learn(25)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""
