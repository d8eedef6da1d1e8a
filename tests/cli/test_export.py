import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from dream_agents.cli import app
from dream_agents.deploy import Controller

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason=f'exporting needs {name}: pip install "dream-agents[export]"')


def run(*words):
    return CliRunner().invoke(app, ["export", *map(str, words)])


def test_the_robot_pages_command_makes_an_entry_of_the_zoo_a_controller(checkout, tmp_path, monkeypatch):
    text = (checkout / "docs/deploy.md").read_text()
    (command,) = re.findall(r"^dream-agents export (.*)$", text, re.MULTILINE)
    quick = command.replace("walker-walk", "cartpole-balance").replace("--planner dream", "--planner policy")
    monkeypatch.chdir(tmp_path)
    result = run(*quick.split(), "--observations", 20)
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "walker/controller.json").read_text())["card"]
    assert card["name"] == "dream_mpc-cartpole-balance" and card["license"] == "MIT"
    action = Controller("walker/controller.onnx").act(np.zeros(5, np.float32))
    assert action.shape == (1,) and abs(action[0]) <= 1
    for command in re.findall(r"^(?:python|build/walker) .*$", text, re.MULTILINE):
        assert "walker/controller.onnx" in command  # the page's other commands take this file


def test_a_run_becomes_a_controller(train, tmp_path):
    assert train(tmp_path / "run").exit_code == 0
    result = run(tmp_path / "run", tmp_path / "arm/controller", "--observations", 5)
    assert result.exit_code == 0, result.output
    assert Controller(tmp_path / "arm/controller.onnx").act(np.zeros(3, np.float32)).shape == (1,)


def test_mistakes_are_named_before_anything_is_loaded(tmp_path):
    assert "tflite" in run("dream_mpc-cartpole-balance", tmp_path / "a", "--format", "tflite").output
    assert "--planner" in run("dream_mpc-cartpole-balance", tmp_path / "a", "--set", "horizon=2").output
