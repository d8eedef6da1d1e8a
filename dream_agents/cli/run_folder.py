"""The folder of a training run: its settings, and what is written while it goes on."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dream_agents.files import replacing, write_json
from dream_agents.versions import package_versions

ARGS, CHECKPOINTS, FINAL = "args.json", "checkpoints", "final.zip"
EPISODES, EVALUATIONS, TENSORBOARD, CURVE = "episodes.csv", "evaluations.csv", "tensorboard", "curve.png"

_CHANGEABLE = ("decisions", "device", "eval_every", "eval_episodes", "checkpoint_every")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What ``dream-agents train`` was asked for.

    :param env: the environment's id, with the module that registers it where it was given: "module:id"
    :param agent: the agent's name
    :param decisions: decisions in all
    :param seed: seed of everything
    :param n_envs: environments side by side
    :param device: PyTorch's device, or "auto"
    :param model_size: size of the networks; None for the agent's default
    :param planner: planner to act with; None for the agent's default
    :param eval_every: decisions between evaluations; 0 for none
    :param eval_episodes: episodes of an evaluation
    :param checkpoint_every: decisions between checkpoints; 0 for none
    :param options: texts of ``--set``
    """

    env: str
    agent: str = "dream_mpc"
    decisions: int = 500_000
    seed: int = 0
    n_envs: int = 1
    device: str = "auto"
    model_size: str | None = None
    planner: str | None = None
    eval_every: int = 0
    eval_episodes: int = 10
    checkpoint_every: int = 25_000
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("decisions", "n_envs", "eval_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1 is needed")
        for name in ("eval_every", "checkpoint_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 for never, or more")

    def default_folder(self) -> Path:
        """Where the run goes unless the user says otherwise."""
        return Path("runs") / f"{self.agent}-{re.sub('[^A-Za-z0-9_.-]', '_', self.env)}-{self.seed}"

    def command(self, folder: Path) -> str:
        """The command that makes this run, every setting written out."""
        words = ["dream-agents", "train", self.env]
        for name, value in dataclasses.asdict(self).items():
            if name not in ("env", "options") and value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        for option in self.options:
            words += ["--set", option]
        return shlex.join([*words, "--out", str(folder)])


def resume_command(folder: Path) -> str:
    """The command that continues a run."""
    return shlex.join(["dream-agents", "train", "--resume", "--out", str(folder)])


def write_settings(folder: Path, settings: RunSettings) -> None:
    """Write ``args.json``: settings, the command that makes the run, versions."""
    content = {"command": settings.command(folder), "settings": dataclasses.asdict(settings)}
    write_json(folder / ARGS, {**content, "versions": package_versions()})


def read_settings(folder: Path) -> RunSettings:
    """Read ``args.json``.

    :raises FileNotFoundError: if the folder holds no run
    :raises ValueError: if the file is damaged
    """
    path = folder / ARGS
    if not path.is_file():
        raise FileNotFoundError(f"there is no run in {folder}: it has no {ARGS}")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        return RunSettings(**settings | {"options": tuple(settings["options"])})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} can't be read: {error!r}") from error


def settings_to_resume(folder: Path, given: Mapping[str, Any]) -> RunSettings:
    """Return a run's settings, with those that may change while it goes on replaced by what is given.

    :raises ValueError: if another setting is given with another value
    """
    saved = read_settings(folder)
    for name, value in given.items():
        if name not in _CHANGEABLE and value != getattr(saved, name):
            option = {"env": "ENV", "options": "--set"}.get(name, f"--{name.replace('_', '-')}")
            raise ValueError(
                f"the run in {folder} has {option} {getattr(saved, name)}, not {value}; a resumed run keeps its "
                "settings: leave the option out, or start another run with another --out"
            )
    return dataclasses.replace(saved, **{name: given[name] for name in _CHANGEABLE if name in given})


class CsvLog:
    """A table that grows a row at a time; every row is on its way to the disk when :meth:`write` returns.

    Rows of an earlier part of the run stay up to ``decisions``: what a resumed run does again is written again.

    :param path: the file
    :param columns: its columns; ``decisions`` must be one of them
    :param decisions: where the run goes on
    """

    def __init__(self, path: Path, columns: tuple[str, ...], decisions: int):
        self.path, self.columns = path, columns
        self.kept = [row for row in self._read() if int(row["decisions"]) <= decisions]
        with replacing(path) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.kept)

    def _read(self) -> list[dict[str, str]]:
        """Read whole rows; a run that was killed may have left a part of one at the end."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        return list(csv.DictReader(line for line in lines if line.endswith("\n")))

    def write(self, **row: Any) -> None:
        """Append a row."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
