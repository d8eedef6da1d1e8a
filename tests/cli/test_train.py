import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dream_agents import TDMPC2, DreamMPC
from dream_agents.agents.checkpoint import find_checkpoints
from dream_agents.learners.base import Learner
from dream_agents.runs import read_settings


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def decisions_in(path):
    return [int(row["decisions"]) for row in rows(path)]


@pytest.fixture
def interrupt(monkeypatch):
    """Send signals to this process while it takes the n-th step in any environment."""

    def interrupt(step, times=1, number=signal.SIGINT):
        steps = iter(range(1, 1_000_000))
        original = PendulumEnv.step

        def interrupting(self, action):
            if next(steps) == step:
                for _ in range(times):
                    signal.raise_signal(number)
            return original(self, action)

        monkeypatch.setattr(PendulumEnv, "step", interrupting)

    return interrupt


def test_run_folder_has_everything(trained):
    names = {path.name for path in trained.iterdir()}
    files = {
        "args.json",
        "checkpoints",
        "curve.png",
        "episodes.csv",
        "evaluations.csv",
        "final.safetensors",
        "final.zip",
        "tensorboard",
    }
    assert names == files | {".lock"}
    assert (trained / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert len(find_checkpoints(trained / "checkpoints")) == 2
    assert DreamMPC.load(trained / "final.zip", device="cpu").num_timesteps == 60


def test_tables_count_decisions_and_frames(trained):
    episodes = rows(trained / "episodes.csv")
    assert [int(row["decisions"]) for row in episodes] == [12, 24, 36, 48, 60]
    assert {row["length"] for row in episodes} == {"12"}
    assert [row["frames"] for row in episodes] == [row["decisions"] for row in episodes]
    seconds = [float(row["seconds"]) for row in episodes]
    assert seconds == sorted(seconds) and seconds[0] > 0
    evaluations = rows(trained / "evaluations.csv")
    assert [int(row["decisions"]) for row in evaluations] == [24, 48, 60]
    assert {(row["planner"], row["episodes"]) for row in evaluations} == {("policy", "2")}


def test_tensorboard_shows_evaluations_at_the_decision_they_were_made_at(trained):
    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    for tag, column in (("eval/mean_reward", "mean"), ("eval/std_reward", "std")):
        shown = {event.step: event.value for event in events.Scalars(tag)}
        table = {int(row["decisions"]): float(row[column]) for row in rows(trained / "evaluations.csv")}
        assert shown == pytest.approx(table)


def test_evaluations_are_those_of_the_model_at_that_time(trained, dream_agents_command, tmp_path):
    out = tmp_path / "results.json"
    dream_agents_command(
        "eval", trained, "--planner", "policy", "--episodes", 2, "--device", "cpu", "--json", out
    )
    (result,) = json.loads(out.read_text())["results"]
    assert result["mean"] == pytest.approx(float(rows(trained / "evaluations.csv")[-1]["mean"]))


def test_command_in_the_folder_makes_the_same_run_again(trained, dream_agents_command, tmp_path):
    words = shlex.split(json.loads((trained / "args.json").read_text())["command"])
    assert words[:2] == ["dream-agents", "train"]
    again = tmp_path / "again"
    result = dream_agents_command(*words[1 : words.index("--out")], "--out", again)
    assert result.exit_code == 0, result.output
    assert read_settings(again) == read_settings(trained)
    returns = [[row["return"] for row in rows(folder / "episodes.csv")] for folder in (trained, again)]
    assert returns[0] == returns[1]
    weights = [DreamMPC.load(folder / "final.zip", device="cpu") for folder in (trained, again)]
    first, second = (model.policy.state_dict() for model in weights)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_evaluations_do_not_change_what_is_learned(trained, train, tmp_path):
    train(tmp_path / "run", "--checkpoint-every", 0)
    first, second = (
        DreamMPC.load(folder / "final.zip", device="cpu") for folder in (trained, tmp_path / "run")
    )
    weights = second.policy.state_dict()
    assert all(np.array_equal(value, weights[name]) for name, value in first.policy.state_dict().items())


def test_output_shows_return_and_rates(trained, train, tmp_path, monkeypatch):
    monkeypatch.setattr("dream_agents.cli.display._LINE_SECONDS", 0.0)
    result = train(tmp_path / "run", "--checkpoint-every", 0)
    last = [line for line in result.stderr.splitlines() if "60/60 decisions" in line][-1]
    for part in ("return -", "mean of 5:", "updates/s", "decisions/s", "0:00:00 left"):
        assert part in last
    assert "learning from the random decisions" in result.stderr
    assert f"dream-agents eval {tmp_path / 'run'}" in result.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_frames_are_decisions_times_the_action_repeat(dream_agents_command, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "dream_agents.cli.train._run", lambda settings, folder, resume: asked.append(settings)
    )
    dream_agents_command("train", "walker-walk", "--frames", 100_000, "--out", tmp_path / "run")
    assert (asked[0].env, asked[0].decisions, asked[0].agent) == ("dmc_walker-walk-v0", 50_000, "dream_mpc")


def test_options_reach_the_agent(train, tmp_path):
    options = ["--agent", "tdmpc2", "--seed", 7, "--n-envs", 2, "--set", "learner_kwargs.horizon=2"]
    result = train(tmp_path / "run", *options, "--set", "learning_rate=1e-3", decisions=40)
    assert result.exit_code == 0, result.output
    model = TDMPC2.load(tmp_path / "run" / "final.zip", device="cpu")
    assert (model.seed, model.n_envs, model.learning_rate, model.learner_config.horizon) == (7, 2, 1e-3, 2)


def test_resumed_run_goes_on_to_its_end(trained, dream_agents_command, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    result = dream_agents_command("train", "--resume", "--out", folder, "--decisions", 84)
    assert result.exit_code == 0, result.output
    assert "going on from decision 60" in result.stderr
    assert decisions_in(folder / "episodes.csv") == [12, 24, 36, 48, 60, 72, 84]
    assert decisions_in(folder / "evaluations.csv") == [24, 48, 60, 72, 84]
    assert DreamMPC.load(folder / "final.zip", device="cpu").num_timesteps == 84
    assert read_settings(folder).decisions == 84


def test_what_a_killed_run_did_after_its_last_checkpoint_is_done_again(
    trained, dream_agents_command, tmp_path
):
    folder = shutil.copytree(trained, tmp_path / "run")
    (folder / "final.zip").unlink()
    shutil.rmtree(folder / "checkpoints" / "checkpoint_0000000060")
    with (folder / "episodes.csv").open("a") as file:
        file.write("72,72,-99")  # killed while it wrote
    result = dream_agents_command("train", "--resume", "--out", folder)
    assert "going on from decision 48" in result.stderr
    assert decisions_in(folder / "episodes.csv") == [12, 24, 36, 48, 60]
    assert decisions_in(folder / "evaluations.csv") == [24, 48, 60]
    assert rows(folder / "episodes.csv")[-1]["return"] == rows(trained / "episodes.csv")[-1]["return"]


def test_damaged_checkpoint_is_passed_over(trained, dream_agents_command, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    (folder / "final.zip").unlink()
    (folder / "checkpoints" / "checkpoint_0000000060" / "replay.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match="checkpoint_0000000060 can't be used"):
        result = dream_agents_command("train", "--resume", "--out", folder)
    assert "going on from decision 48" in result.stderr


def test_environment_of_another_package_is_found_by_every_process(tmp_path):
    (tmp_path / "mine_package.py").write_text(
        "import gymnasium\n"
        "place = 'gymnasium.envs.classic_control:PendulumEnv'\n"
        "gymnasium.register('Mine-v0', place, max_episode_steps=12)\n"
    )
    command = [sys.executable, "-c", "from dream_agents.cli import main; main()"]

    def run(*arguments):
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        words = [*command, *map(str, arguments)]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    options = ["learning_starts=12", "batch_size=2", "buffer_size=200", "vec_env_cls=subproc"]
    quick = ["--model-size", "1M", "--planner", "policy", "--device", "cpu"]
    quick += [word for option in options for word in ("--set", option)]
    run("train", "mine_package:Mine", *quick, "--decisions", 16, "--out", "run")
    assert read_settings(tmp_path / "run").env == "mine_package:Mine-v0"
    assert "going on from decision 16" in run("train", "--resume", "--out", "run", "--decisions", 20).stderr
    assert "Mine-v0: 1 episode" in run("eval", "run", "--episodes", 1, "--device", "cpu").stdout


def test_finished_run_can_be_resumed_without_harm(trained, dream_agents_command, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    result = dream_agents_command("train", "--resume", "--out", folder)
    assert result.exit_code == 0, result.output
    assert (folder / "episodes.csv").read_text() == (trained / "episodes.csv").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(
    train, dream_agents_command, interrupt, tmp_path, number
):
    folder = tmp_path / "a run"
    interrupt(step=31, number=number)
    handlers = signal.getsignal(number)
    result = train(folder)
    assert result.exit_code == 130
    assert signal.getsignal(number) is handlers
    assert [path.name for path in find_checkpoints(folder / "checkpoints")] == ["checkpoint_0000000031"]
    assert "stopped at decision 31" in result.stderr
    command = f"dream-agents train --resume --out {shlex.quote(str(folder))}"
    assert command in result.stderr
    resumed = dream_agents_command(*shlex.split(command)[1:])
    assert resumed.exit_code == 0, resumed.output
    assert "going on from decision 31" in resumed.stderr
    assert DreamMPC.load(folder / "final.zip", device="cpu").num_timesteps == 60


def test_ctrl_c_while_random_decisions_are_made_up_for(train, dream_agents_command, tmp_path, monkeypatch):
    pretrain, updates = Learner.pretrain, iter(range(1, 1_000_000))

    def interrupting(self, batch):
        if next(updates) == 5:
            signal.raise_signal(signal.SIGINT)
        return pretrain(self, batch)

    folder = tmp_path / "run"
    monkeypatch.setattr(Learner, "pretrain", interrupting)
    result = train(folder, "--agent", "tdmpc2")
    assert result.exit_code == 130
    stopped = TDMPC2.load_checkpoint(folder / "checkpoints", device="cpu")
    assert stopped._n_updates == 5
    assert stopped.updates_left > 5
    resumed = dream_agents_command("train", "--resume", "--out", folder)
    assert resumed.exit_code == 0, resumed.output
    assert TDMPC2.load(folder / "final.zip", device="cpu")._n_updates == 60


def test_second_ctrl_c_stops_at_once(train, dream_agents_command, interrupt, tmp_path):
    interrupt(step=31, times=2)
    result = train(tmp_path / "run")
    assert result.exit_code == 130
    assert "stopped at once" in result.stderr
    assert not find_checkpoints(tmp_path / "run" / "checkpoints")
    resumed = dream_agents_command("train", "--resume", "--out", tmp_path / "run")
    assert "starts over" in resumed.stderr
    assert decisions_in(tmp_path / "run" / "episodes.csv") == [12, 24, 36, 48, 60]


def test_folder_with_a_run_is_not_overwritten(trained, train):
    before = (trained / "args.json").read_bytes()
    result = train(trained)
    assert result.exit_code == 2
    assert f"dream-agents train --resume --out {trained}" in result.stderr
    assert (trained / "args.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", 5], "has --seed 0, not 5; a resumed run keeps its settings"),
        (["Pendulum-v1"], "has ENV tests/CliPendulum-v0, not Pendulum-v1"),
        (["--set", "batch_size=5"], "has --set"),
        (["--decisions", 5, "--frames", 5], "not both"),
    ],
)
def test_resumed_run_keeps_its_settings(trained, dream_agents_command, arguments, message):
    result = dream_agents_command("train", "--resume", "--out", trained, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give an environment"),
        (["--resume", "--out", "nothing"], "there is no run in nothing"),
        (["dmc_walker-wlk-v0"], 'did you mean "dmc_walker-walk-v0"'),
        (["Pendulum-v1", "--agent", "tdmpc"], 'did you mean "tdmpc2"'),
        (["Pendulum-v1", "--decisions", 0], "--decisions 0: at least 1"),
        (["Pendulum-v1", "--device", "cuda:99"], "--device cuda:99 can't be used"),
        (["Pendulum-v1", "--planner", "drem"], 'did you mean "dream"'),
        (["Pendulum-v1", "--model-size", "3M"], "3M"),
        (["Pendulum-v1", "--set", "learner_kwargs.horzon=5"], 'did you mean "horizon"'),
        (["Pendulum-v1", "--set", "env_kwargs.foo=1"], "--set env_kwargs.foo=1 can't be used: PendulumEnv"),
        (["Pendulum-v1", "--set", "model_kwargs.foo=1"], "--set model_kwargs.foo=1 can't be used: "),
        (["Pendulum-v1", "--set", "model_kwargs.value_dropout=high"], "value_dropout is float, not str"),
        (["Pendulum-v1", "--set", "replay_buffer_kwargs.foo=1"], "replay_buffer_kwargs.foo=1 can't be used"),
        (["Pendulum-v1", "--set", "policy_kwargs.foo=1"], "--set policy_kwargs.foo=1 can't be used: "),
        (["Pendulum-v1", "--set", "learning_rate=-1"], "learning_rate=-1"),
        (["Pendulum-v1", "--set", "train_freq=0"], "train_freq=0"),
        (["Pendulum-v1", "--set", "batch_size=0"], "batch_size=0"),
        (["Pendulum-v1", "--set", "buffer_size=0"], "buffer_size=0"),
        (["Pendulum-v1", "--set", "tau=7"], "tau=7 must be from 0 to 1"),
        (["Pendulum-v1", "--set", "gamma=-1"], "gamma=-1 must be from 0 to 1"),
        (["Pendulum-v1", "--set", "learning_starts=-5"], "learning_starts=-5 must be at least 0"),
    ],
)
def test_mistakes_cost_one_line_and_leave_no_folder(
    dream_agents_command, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    result = dream_agents_command("train", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_damaged_settings_are_named(dream_agents_command, tmp_path):
    (tmp_path / "args.json").write_text('{"settings": {"env": ')
    result = dream_agents_command("train", "--resume", "--out", tmp_path)
    assert result.exit_code == 2
    assert "args.json can't be read" in result.stderr
