"""Agents without a world model in the commands."""

import json

import pytest

OPTIONS = ["--agent", "sac", "--set", "learning_starts=20", "--set", "batch_size=8"]


@pytest.fixture(scope="module")
def trained(dream_agents_command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sac") / "run"
    arguments = [
        "--decisions",
        40,
        "--checkpoint-every",
        20,
        "--eval-every",
        20,
        "--eval-episodes",
        1,
        "--out",
        folder,
    ]
    result = dream_agents_command("train", "Pendulum-v1", *OPTIONS, *arguments, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    return folder


def test_run_is_evaluated_and_resumed(trained, dream_agents_command, tmp_path):
    assert (trained / "evaluations.csv").read_text().splitlines()[1].split(",")[2] == "policy"
    result = dream_agents_command("eval", trained, "--episodes", 1, "--json", tmp_path / "results.json")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["results"]
    assert row["planner"] == "policy"
    result = dream_agents_command("train", "--resume", "--out", trained, "--decisions", 60)
    assert "going on from decision 40" in result.stderr
    assert "60 decisions" in result.stderr


def test_saved_file_says_which_agent_it_is(trained, dream_agents_command, tmp_path):
    alone = tmp_path / "model.zip"
    alone.write_bytes((trained / "final.zip").read_bytes())
    assert dream_agents_command("eval", alone, "--episodes", 1).exit_code == 0


@pytest.mark.parametrize("option", [["--planner", "dream"], ["--set", "dream.iterations=2"]])
def test_there_is_nothing_to_plan_in(trained, dream_agents_command, option):
    result = dream_agents_command("eval", trained, *option)
    assert result.exit_code == 2
    assert "SAC has no world model to plan in; leave it out" in " ".join(result.stderr.split())


@pytest.mark.parametrize("option", [["--planner", "mppi"], ["--model-size", "1M"]])
def test_options_of_world_models_are_refused(dream_agents_command, tmp_path, option):
    result = dream_agents_command("train", "Pendulum-v1", *OPTIONS, *option, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert 'the agent "sac" has no world model; leave it out' in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()
