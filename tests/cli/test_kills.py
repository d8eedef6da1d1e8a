"""Runs that are killed at any moment go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "kills.py"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks for processes in /proc")
@pytest.mark.parametrize("agent", ["tdmpc2", "sac"])
def test_killed_runs_lose_nothing_beyond_the_last_checkpoint(agent, tmp_path):
    command = [sys.executable, str(SCRIPT), "--kills", "3", "--agents", agent, "--out", str(tmp_path)]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{agent} " in result.stdout
