import dataclasses
import json
import shlex

import pytest

from dream_agents.runs import RunSettings, read_settings, write_settings
from dream_agents.runs.settings import resume_command, settings_to_resume

SETTINGS = RunSettings("module:Mine-v0", agent="tdmpc2", planner="dream", options=("horizon=5", "a=b c"))


def test_settings_come_back_as_they_were(tmp_path):
    write_settings(tmp_path / "run", SETTINGS)
    assert read_settings(tmp_path / "run") == read_settings(str(tmp_path / "run")) == SETTINGS
    assert "torch" in json.loads((tmp_path / "run" / "args.json").read_text())["versions"]


def test_command_says_every_setting_that_was_given(tmp_path):
    words = shlex.split(SETTINGS.command(tmp_path / "a run"))
    assert words[:3] == ["dream-agents", "train", "module:Mine-v0"]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert (given["--agent"], given["--planner"], given["--eval-every"]) == ("tdmpc2", "dream", "0")
    assert [words[i + 1] for i, word in enumerate(words) if word == "--set"] == ["horizon=5", "a=b c"]
    assert given["--out"] == shlex.split(resume_command(tmp_path / "a run"))[-1] == str(tmp_path / "a run")
    assert "--model-size" not in words


def test_folder_is_named_after_agent_environment_and_seed():
    assert str(SETTINGS.default_folder()) == "runs/tdmpc2-module_Mine-v0-0"


def test_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no run in .*: it has no args\.json"):
        read_settings(tmp_path)


@pytest.mark.parametrize("content", ['{"settings": {"env": ', "{}", '{"settings": {"options": [], "x": 1}}'])
def test_damaged_settings_are_named(tmp_path, content):
    (tmp_path / "args.json").write_text(content)
    with pytest.raises(ValueError, match=r"args\.json can't be read"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decisions": 0}, "--decisions 0: at least 1 is needed"),
        ({"eval_episodes": 0}, "--eval-episodes 0: at least 1 is needed"),
        ({"checkpoint_every": -1}, "--checkpoint-every -1: 0 for never, or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        RunSettings("Pendulum-v1", **given)


def test_resumed_run_may_be_longer_and_evaluated_otherwise(tmp_path):
    write_settings(tmp_path, SETTINGS)
    given = {"decisions": 7, "eval_every": 3, "seed": 0}
    assert settings_to_resume(tmp_path, given) == dataclasses.replace(SETTINGS, decisions=7, eval_every=3)
    with pytest.raises(ValueError, match="has --planner dream, not mppi; a resumed run keeps its settings"):
        settings_to_resume(tmp_path, {"planner": "mppi"})
