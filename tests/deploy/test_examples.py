"""The examples run: a loop in real time, and MuJoCo's walker in C++."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from dream_agents import TDMPC2, make_env
from dream_agents.deploy import Controller
from dream_agents.models.tdmpc import TDMPCSize

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason=f'exporting needs {name}: pip install "dream-agents[export]"')
mujoco = pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def walker(tmp_path_factory):
    """A policy of the walker that does not stand still, as a file."""
    pytest.importorskip("dm_control", reason="the walker is dm_control's")
    size = TDMPCSize(16, 16, 16, 2, 2)
    agent = TDMPC2(
        "dmc_walker-walk-v0", model_size=size, planner="policy", buffer_size=100, device="cpu", seed=1
    )
    with torch.no_grad():
        agent.world_model.policy_head[-1].weight.normal_(std=1.0)
    return agent.export(tmp_path_factory.mktemp("walker") / "walker", observations=5).path


def test_a_loop_in_real_time_keeps_its_rate_and_shows_latencies(checkout, walker, capsys):
    spec = importlib.util.spec_from_file_location("realtime", checkout / "examples/realtime.py")
    realtime = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(realtime)
    realtime.main([str(walker), "--rate", "50", "--seconds", "0.5"])
    shown = capsys.readouterr().out
    assert "25 decisions, one each 20 ms" in shown
    assert re.search(r"latency: 50% .* 99% .* largest", shown) and "jitter" in shown
    counts = [int(count) for count in re.findall(r"ms +(\d+) #", shown)]
    assert sum(counts) == 50  # each decision in both histograms


@pytest.fixture(scope="module")
def program(checkout, tmp_path_factory) -> Path:
    """The C++ example, built."""
    if shutil.which("cmake") is None or shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("cmake or a C++ compiler is missing (Debian: apt install cmake g++)")
    build = tmp_path_factory.mktemp("build")
    folder = Path(mujoco.__file__).parent
    configure = ["cmake", "-S", checkout / "examples/cpp", "-B", build, f"-DMUJOCO_DIR={folder}"]
    found = subprocess.run(configure, capture_output=True, text=True)
    if "ONNX Runtime was not found" in found.stderr:
        pytest.skip("ONNX Runtime's C++ interface is missing (Debian: apt install libonnxruntime-dev)")
    assert found.returncode == 0, found.stderr
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
    return build / "walker"


def test_the_walker_in_cpp_gets_the_return_of_python(program, walker, tmp_path):
    import dm_control

    env, controller, steps = make_env("dmc_walker-walk-v0"), Controller(walker), 20
    states, expected = [], []
    for seed in range(2):
        obs, _ = env.reset(seed=seed)
        data = env.unwrapped.physics.data
        states.append(np.concatenate([data.qpos, data.qvel]))
        controller.reset()
        total = 0.0
        for _ in range(steps):
            obs, reward, *_ = env.step(controller.act(obs))
            total += reward
        expected.append(total)
    np.savetxt(tmp_path / "states.txt", states, fmt="%.17g")
    xml = Path(dm_control.__file__).parent / "suite/walker.xml"
    command = [program, walker, xml, "--states", tmp_path / "states.txt", "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    returns = [float(found) for found in re.findall(r"return ([\d.]+)", done.stdout)]
    np.testing.assert_allclose(returns, expected, rtol=1e-3)
    assert "decisions: 50%" in done.stdout and "#" in done.stdout

    other = shutil.copytree(walker.parent, tmp_path / "other")
    text = (other / "controller.json").read_text()
    (other / "controller.json").write_text(re.sub(r'"id": "\w+"', '"id": "0"', text))
    refused = subprocess.run([program, other / walker.name, xml], capture_output=True, text=True)
    assert refused.returncode == 1 and "belongs to another export" in refused.stderr
