"""``dream-agents setup``."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from dream_agents.cli.console import say

_ABSENT = "labmaze-1.0.6+absent"
_MODULE = '''"""Stands in for labmaze, which has no release for this Python."""

raise ImportError(
    "labmaze has no release for this version of Python, and `dream-agents setup` installed dm-control without it: "
    "dm_control's mazes are not available, all its other tasks are"
)
'''


def setup() -> None:
    """Install what pip can't on Python 3.13 and newer: dm-control without its mazes. Elsewhere, do nothing."""
    missing = [name for name in ("dm_control", "shimmy") if importlib.util.find_spec(name) is None]
    if not missing:
        say(f"nothing to do: dm-control {importlib.metadata.version('dm-control')} is installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        options = ["--find-links", folder]
        requirements = [
            f"mujoco=={importlib.metadata.version('mujoco')}",
            "shimmy>=2.0.1,<3",
            "dm-control>=1.0.28",
        ]
        if sys.version_info >= (3, 13):
            write_absent_labmaze(Path(folder))
            requirements.append("labmaze==1.0.6+absent")
        command = [*_installer(), *options, *requirements]
        say(f"installing dm-control for mujoco {importlib.metadata.version('mujoco')}, once")
        done = subprocess.run(command, check=False)
    if done.returncode:
        raise OSError(
            f"dm-control was not installed: `{' '.join(command)}` ended with {done.returncode}, see above; "
            "the dmc_* environments need it, all others work without"
        )
    say("dm-control is installed; its mazes, which need labmaze, are left out")


def write_absent_labmaze(folder: Path) -> Path:
    """Write a wheel that stands in for labmaze, so that pip finds dm-control's dependencies complete.

    :param folder: where it goes
    :returns: its path
    """
    information = f"{_ABSENT}.dist-info"
    files = {
        "labmaze/__init__.py": _MODULE,
        f"{information}/METADATA": "Metadata-Version: 2.1\nName: labmaze\nVersion: 1.0.6+absent\n"
        "Summary: Stands in for labmaze where it has no release\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: dream-agents\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = [f"{name},sha256={_digest(text)},{len(text.encode())}" for name, text in files.items()]
    files[f"{information}/RECORD"] = "\n".join([*record, f"{information}/RECORD,,", ""])
    path = folder / f"{_ABSENT}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def _digest(text: str) -> str:
    """A file's hash as a wheel's RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _installer() -> list[str]:
    """The start of a command that installs into this environment: pip's, or uv's where there is no pip.

    :raises OSError: if there is neither
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install"]
    uv = shutil.which("uv")
    if uv is None:
        raise OSError(f"{sys.executable} has no pip, and uv is not on the PATH: install one of them first")
    return [uv, "pip", "install", "--python", sys.executable]
