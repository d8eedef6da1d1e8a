"""Several models in one command, results as they come, and going on after a stop."""

import csv
import json
import shutil
import sys
from contextlib import nullcontext

import pytest

from dream_agents import TDMPC2
from dream_agents.evaluation import evaluate

PLANNERS = ["--planner", "policy,dream"]


@pytest.fixture(scope="module")
def models(trained, tmp_path_factory):
    """Two saved models that act differently."""
    folder = tmp_path_factory.mktemp("models")
    first = shutil.copy(trained / "final.zip", folder / "first.zip")
    model = TDMPC2.load(first, device="cpu")
    for parameter in model.policy.parameters():
        parameter.data.mul_(-1.5)
    model.save(folder / "second.zip")
    return [str(first), str(folder / "second.zip")]


def read(folder):
    with (folder / "episodes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return json.loads((folder / "results.json").read_text())["results"], rows


@pytest.fixture
def played(monkeypatch):
    """Episodes that were played, as (first, count)."""
    parts = []

    def counting(*args, **kwargs):
        parts.append((kwargs["first_episode"], kwargs["settings"].episodes))
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(sys.modules["dream_agents.evaluation.compare"], "evaluate", counting)
    return parts


def test_every_model_and_planner_has_a_row(models, dream_agents_command, tmp_path):
    result = dream_agents_command("eval", *models, *PLANNERS, "--episodes", 3, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    results, rows = read(tmp_path)
    expected = [(model, planner) for model in models for planner in ("policy", "dream")]
    assert [(one["model"], one["planner"]) for one in results] == expected
    assert len({one["checksum"] for one in results}) == 2
    lines = [line for line in result.stdout.splitlines() if line.startswith("│")]
    for line, one in zip(lines, results, strict=True):
        assert one["planner"] in line
        assert f"{one['mean']:.1f} ± {one['std']:.1f}" in line
        low, high = one["interval_95"]
        assert f"{low:.1f} to {high:.1f}" in line
        assert f"{one['decisions_per_second']:.0f}" in line
    assert [(row["model"], row["planner"], int(row["episode"])) for row in rows] == [
        (*pair, episode) for pair in expected for episode in range(3)
    ]
    assert [float(row["return"]) for row in rows] == [value for one in results for value in one["returns"]]
    assert {row["length"] for row in rows} == {"12"}


def test_the_same_command_goes_on_where_it_was_stopped(
    models, dream_agents_command, tmp_path, monkeypatch, played
):
    command = ["eval", *models, *PLANNERS, "--episodes", 4, "--n-envs", 2]
    whole = dream_agents_command(*command, "--out", tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    del played[:]

    def stop(name, done):
        """What Ctrl-C does in the first model's third episode with Dream-MPC."""
        if name.endswith("first.zip dream") and done > 0.5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dream_agents.cli.eval.progress_bars", lambda: nullcontext(stop))
        stopped = dream_agents_command(*command, "--out", tmp_path / "stopped")
    assert stopped.exit_code == 130
    assert "holds 6 episodes, and the same command goes on from there" in stopped.stderr
    results, rows = read(tmp_path / "stopped")
    assert [len(one["returns"]) for one in results] == [4, 2]
    assert len(rows) == 6

    del played[:]
    again = dream_agents_command(*command, "--out", tmp_path / "stopped")
    assert again.exit_code == 0, again.output
    assert played == [(2, 2), (0, 4), (0, 4)]
    for ours, expected in zip(read(tmp_path / "stopped")[0], read(tmp_path / "whole")[0], strict=True):
        assert ours["returns"][:2] == expected["returns"][:2]
        assert len(ours["returns"]) == 4
        if ours["planner"] == "policy":  # draws no random numbers, so that its actions are the same, too
            assert ours["returns"] == expected["returns"]

    del played[:]
    assert dream_agents_command(*command, "--out", tmp_path / "stopped").exit_code == 0
    assert played == []


def test_more_episodes_are_added_and_fewer_leave_the_rest(models, dream_agents_command, tmp_path, played):
    command = ["eval", models[0], "--planner", "policy", "--csv", tmp_path / "episodes.csv"]
    for episodes in (2, 3, 1):
        assert dream_agents_command(*command, "--episodes", episodes).exit_code == 0
    assert played == [(0, 2), (2, 1)]
    assert len(json.loads((tmp_path / "episodes.json").read_text())["results"][0]["returns"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", 5], "for --seed 0, not 5; name another file, or delete it"),
        (["--stochastic"], "for --stochastic"),
        (["--set", "env_kwargs.g=1.0"], "for --set env_kwargs {}, not {'g': 1.0}"),
        (["--env", "Pendulum-v1"], "for --env tests/CliPendulum-v0, not Pendulum-v1"),
    ],
)
def test_other_settings_do_not_go_into_the_same_file(
    models, dream_agents_command, tmp_path, forbid_measuring, options, message
):
    command = ["eval", models[0], "--planner", "policy", "--episodes", 1, "--out", tmp_path]
    assert dream_agents_command(*command).exit_code == 0
    before = (tmp_path / "results.json").read_text()
    forbid_measuring()
    result = dream_agents_command(*command, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert (tmp_path / "results.json").read_text() == before


def test_mistake_in_the_last_model_costs_no_measuring(models, dream_agents_command, forbid_measuring):
    forbid_measuring()
    result = dream_agents_command("eval", models[0], "no-such-model")
    assert result.exit_code == 2
    assert '"no-such-model" is not a zoo entry' in result.stderr


def test_one_model_is_filmed(models, dream_agents_command, tmp_path):
    result = dream_agents_command("eval", *models, "--video", tmp_path / "x.mp4")
    assert result.exit_code == 2
    assert "--video films one model; 2 are named" in result.stderr


@pytest.mark.parametrize(
    ("option", "pays", "expected"),
    [
        (None, True, "subproc"),
        (None, False, "dummy"),
        ("--no-subproc", True, "dummy"),
        ("--subproc", False, "subproc"),
    ],
)
def test_processes_are_used_where_they_pay_or_when_asked_for(
    models, dream_agents_command, monkeypatch, option, pays, expected
):
    monkeypatch.setattr("dream_agents.evaluation.model_comparison.processes_pay", lambda *_: pays)
    chosen = []

    def compare(*args, settings, **kwargs):
        chosen.append(settings.vec_env_cls)
        raise ValueError("enough")

    monkeypatch.setattr("dream_agents.evaluation.model_comparison.compare", compare)
    result = dream_agents_command("eval", models[0], "--episodes", 2, *([option] if option else []))
    assert "enough" in result.stderr
    assert chosen == [expected]
    assert ("--no-subproc keeps them in this one" in result.stderr) == (option is None and pays)
