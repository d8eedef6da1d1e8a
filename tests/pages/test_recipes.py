"""The scripts of docs/recipes.md run as they stand, where the packages that they are for are installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dream_agents.cli import app

from .processes import run_as_process
from .snippets import blocks, commands

PAGE = "docs/recipes.md"
FILES = {block.title: block.text for block in blocks(PAGE, "python", "yaml", "sh") if block.title}
#: a script, and the package that it is for
SCRIPTS = {"tune.py": "optuna", "track.py": "wandb", "resume.py": "torch"}
#: fewer trials and decisions; the rest is cut as on other pages
FEWER = [(r"n_timesteps: \d+", "n_timesteps: 40"), (r"learning_starts: \d+", "learning_starts: 12")]
FEWER += [(r"n_trials=\d+", "n_trials=2"), (r"range\(5\)", "range(2)")]


def write(folder: Path, *names: str) -> None:
    for name in names:
        text = FILES[name]
        for pattern, replacement in FEWER:
            text = re.sub(pattern, replacement, text)
        (folder / name).write_text(text)


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}, which no extra installs")


def test_every_script_is_run() -> None:
    assert FILES.keys() == SCRIPTS.keys() | {"train_zoo.py", "dream_mpc.yml", "experiment.slurm"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_runs_and_runs_once_more(script: str, tmp_path: Path) -> None:
    need(SCRIPTS[script])
    write(tmp_path, script)
    for _ in range(1 if script == "track.py" else 2):
        run_as_process([sys.executable, script], tmp_path, script, WANDB_SILENT="true")
    left = {"tune.py": "tuning.db", "track.py": "wandb", "resume.py": "pendulum.zip"}[script]
    assert (tmp_path / left).exists()


def test_rl_zoo_trains_and_tunes(tmp_path: Path) -> None:
    need("rl_zoo3")
    write(tmp_path, "train_zoo.py", "dream_mpc.yml")
    lines = [words for block in blocks(PAGE, "sh") for words in commands(block) if "train_zoo.py" in words]
    assert len(lines) == 2
    for words in lines:
        text = " ".join(words).replace("--n-trials 20", "--n-trials 1 --n-evaluations 2")
        run_as_process(text.replace("--eval-freq 5000", "--eval-freq 20").split(), tmp_path, PAGE)
    assert (tmp_path / "logs/dream_mpc/Pendulum-v1_1/Pendulum-v1.zip").exists()


def test_slurm_job_starts_ray_on_every_node_and_then_the_experiment(tmp_path: Path) -> None:
    write(tmp_path, "experiment.slurm")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("srun", "sleep", "dream-agents"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/calls"\n')
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "SCRATCH": str(tmp_path)}
    subprocess.run(["bash", "-eu", "experiment.slurm"], cwd=tmp_path, env=environment, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sum("ray start" in call for call in calls) == 2
    (experiment,) = [call.split() for call in calls if call.startswith("dream-agents")]
    known = CliRunner().invoke(app, ["experiment", "run", "--help"], env={"COLUMNS": "200"}).output
    assert {word for word in experiment if word.startswith("--")} <= set(re.findall(r"--[a-z]+", known))
