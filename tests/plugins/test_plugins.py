"""Another package adds a planner through an entry point; see docs/plugins.md."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "example_plugin"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run Python code in a fresh process in which the example plug-in is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(SOURCE, folder / "source")  # building leaves files there
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    install += ["--disable-pip-version-check", "--target", str(folder / "site"), str(folder / "source")]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    env = os.environ | {"PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}

    def run_code(code):
        command = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(
            command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_code


def test_name_is_listed_imported_when_asked_for_and_takes_options(run):
    out = run("""
        import sys
        from dream_agents import make_planner, registry
        print("shooting" in registry.planners.names(), "example_plugin" in sys.modules)
        print(make_planner("shooting", samples=7))
        for options in ({"sample": 7}, {"samples": 0}):
            try:
                make_planner("shooting", **options)
            except ValueError as error:
                print(error)
    """)
    names, made, unknown, senseless = out.splitlines()
    assert names == "True False"
    assert made == "ShootingPlanner(horizon=3, samples=7)"
    assert "its options are horizon, samples" in unknown
    assert "samples must be above 0" in senseless


def test_agents_learn_and_act_with_it_and_keep_it(run):
    out = run("""
        import numpy as np
        from dream_agents import TDMPC2
        from dream_agents.models.tdmpc import TDMPCSize
        agent = TDMPC2("Pendulum-v1", planner="shooting", planner_kwargs={"samples": 20}, seed=0, device="cpu",
                       model_size=TDMPCSize(16, 16, 16, 2, 2), learning_starts=20, batch_size=8)
        agent.learn(25)
        agent.save("agent")
        loaded = TDMPC2.load("agent", device="cpu")
        print(loaded.planner)
        obs = np.zeros((2, 3), np.float32)
        print((agent.predict(obs, deterministic=True)[0] == loaded.predict(obs, deterministic=True)[0]).all())
    """)
    assert out.splitlines() == ["ShootingPlanner(horizon=3, samples=20)", "True"]


def test_nobody_else_sees_it():
    from dream_agents import registry

    assert "shooting" not in registry.planners.names()
