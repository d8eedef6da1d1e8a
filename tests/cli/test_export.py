import json

import numpy as np
import pytest
from typer.testing import CliRunner

from dream_agents.cli import app
from dream_agents.deploy import Controller

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason=f'exporting needs {name}: pip install "dream-agents[export]"')


def run(*words):
    return CliRunner().invoke(app, ["export", *map(str, words)])


def test_an_entry_of_the_zoo_becomes_a_controller_with_its_card(tmp_path):
    out = tmp_path / "cartpole" / "balance"
    result = run("dream_mpc-cartpole-balance", out, "--planner", "policy", "--observations", 20)
    assert result.exit_code == 0, result.output
    card = json.loads((out.parent / "controller.json").read_text())["card"]
    assert card["name"] == "dream_mpc-cartpole-balance" and card["license"] == "MIT"
    action = Controller(out.with_suffix(".onnx")).act(np.zeros(5, np.float32))
    assert action.shape == (1,) and abs(action[0]) <= 1


def test_mistakes_are_named_before_anything_is_loaded(tmp_path):
    assert "tflite" in run("dream_mpc-cartpole-balance", tmp_path / "a", "--format", "tflite").output
    assert "--planner" in run("dream_mpc-cartpole-balance", tmp_path / "a", "--set", "horizon=2").output
