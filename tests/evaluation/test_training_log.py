"""A run's tables from Python, without the command."""

import csv
import json
import subprocess
import sys

import pytest

from dream_agents.evaluation.training_log import TrainingLog
from dream_agents.runs import RunSettings


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_go_on_where_an_earlier_part_of_the_run_stopped(swinger, tmp_path):
    asked = []
    settings = RunSettings("tests/ShortPendulum-v0", eval_every=8, eval_episodes=2)
    swinger.planner = swinger.training_planner = "policy"
    for done in (0, 16):
        log = TrainingLog(tmp_path, settings, done, evaluating=lambda: asked.append(swinger.num_timesteps))
        swinger.learn(16, log, reset_num_timesteps=done == 0)
        log.close()
    episodes, evaluations = rows(tmp_path / "episodes.csv"), rows(tmp_path / "evaluations.csv")
    assert [int(row["decisions"]) for row in episodes] == [8, 16, 24, 32]
    assert [int(row["decisions"]) for row in evaluations] == asked == [8, 16, 24, 32]
    assert {(row["planner"], row["episodes"]) for row in evaluations} == {("policy", "2")}


def test_nothing_is_evaluated_unless_asked_for(swinger, tmp_path):
    log = TrainingLog(
        tmp_path, RunSettings("tests/ShortPendulum-v0"), evaluating=lambda: pytest.fail("it was")
    )
    swinger.learn(8, log)
    assert [path.name for path in tmp_path.iterdir()] == ["episodes.csv"]


def test_importing_evaluation_is_light():
    code = "import dream_agents.evaluation, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not {"torch", "stable_baselines3", "matplotlib", "typer"} & set(json.loads(done.stdout))
