"""`dream-agents setup`: dm-control where labmaze has no wheel."""

import importlib.util
import subprocess
import sys

from dream_agents.cli.setup import write_absent_labmaze


def test_nothing_to_do_where_dm_control_is_installed(dream_agents_command):
    done = dream_agents_command("setup")
    assert "nothing to do: dm-control" in done.output


def test_the_stand_in_is_a_wheel_that_pip_installs_and_that_explains_itself(tmp_path):
    wheel = write_absent_labmaze(tmp_path)
    target = tmp_path / "site"
    install = [
        *("-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(target)),
        str(wheel),
    ]
    subprocess.run([sys.executable, *install], check=True, timeout=120)
    assert (target / "labmaze-1.0.6+absent.dist-info").is_dir()
    spec = importlib.util.spec_from_file_location("labmaze", target / "labmaze" / "__init__.py")
    done = subprocess.run([sys.executable, spec.origin], capture_output=True, text=True, check=False)
    assert "ImportError: labmaze has no release for this version of Python" in done.stderr
