"""What is slow to import is imported where it is needed only."""

import json
import subprocess
import sys
from pathlib import Path

SLOW = (
    *("torch", "stable_baselines3", "huggingface_hub", "pooch", "requests", "matplotlib", "tensorboard"),
    *("metaworld", "dm_control", "mujoco", "sympy"),
)


def imported_by(code: str, folder: Path) -> set[str]:
    """Which of the slow modules a new process has imported at the end of the code."""
    report = f"import json, sys; print(json.dumps([name for name in {SLOW!r} if name in sys.modules]))"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_slow(tmp_path: Path) -> None:
    assert imported_by("import dream_agents", tmp_path) == set()


def test_listing_imports_nothing_slow(tmp_path: Path) -> None:
    code = "from dream_agents import zoo; [zoo.card(name) for name in zoo.names()]; zoo.names(offline=True)"
    assert imported_by(code, tmp_path) == set()


def test_embedded_entry_needs_neither_network_nor_other_simulators(tmp_path: Path) -> None:
    code = 'from dream_agents import zoo; zoo.load("tdmpc2-walker-walk", device="cpu")'
    found = imported_by(code, tmp_path)
    assert {"torch", "dm_control"} <= found
    assert not found & {"huggingface_hub", "pooch", "requests", "metaworld", "sympy"}


def test_world_model_alone_needs_no_simulator(tmp_path: Path) -> None:
    code = 'from dream_agents import zoo; zoo.load_world_model("tdmpc2-walker-walk", device="cpu")'
    assert not imported_by(code, tmp_path) & {"dm_control", "mujoco", "huggingface_hub", "pooch", "requests"}


def test_acting_imports_no_optimizer(tmp_path: Path) -> None:
    """PyTorch's optimizers import its compiler, which takes longer than all the rest."""
    code = 'import sys; from dream_agents import zoo; zoo.load("tdmpc2-walker-walk", device="cpu")'
    code += '; assert "torch._dynamo" not in sys.modules'
    imported_by(code, tmp_path)
