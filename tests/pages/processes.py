"""Commands as a user would run them, in this process or in one that is cut short like it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from typer.testing import CliRunner

from dream_agents.cli import app

#: for ``PYTHONPATH``: cuts Python processes short
CHILDREN = Path(__file__).with_name("children")


def run(command: Sequence[str]) -> None:
    """Run a command of this package here, and say what it said where it fails."""
    assert command[0] == "dream-agents", command
    result = CliRunner().invoke(app, list(command[1:]))
    assert result.exit_code == 0, f"{' '.join(command)}\n{result.output}\n{result.exception!r}"


def train_known_runs() -> None:
    """Make what pages take as known: runs in the working directory, and a file of published curves."""
    options = ["--set", "backbone=tdmpc2", "--model-size", "1M", "--decisions", "10", "--eval-every", "6"]
    options += ["--eval-episodes", "1", "--checkpoint-every", "6"]
    run(["dream-agents", "train", "dmc_walker-walk-v0", *options, "--out", "runs/walk-2"])
    run(["dream-agents", "train", "Pendulum-v1", *options, "--out", "runs/pendulum-1"])
    for copy, name in (("walk", "walk-2"), ("pendulum-0", "pendulum-1"), ("pendulum-2", "pendulum-1")):
        shutil.copytree(f"runs/{name}", f"runs/{copy}")
    Path("tdmpc2.csv").write_text(
        "task,env_step,seed,return,success\nwalker-walk,0,1,1.0,\nwalker-walk,20,1,2.0,\n"
    )


def run_as_process(command: Sequence[str], folder: Path, name: str, **settings: str) -> str:
    """Run a command with this environment's programs in a folder; the processes that it starts are cut short, too.

    :param settings: of its environment
    :return: what it printed
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": path, "PYTHONPATH": str(CHILDREN), "OMP_NUM_THREADS": "1", **settings}
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
