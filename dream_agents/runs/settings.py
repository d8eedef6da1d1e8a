"""What a run was asked for, in its folder as ``args.json``."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dream_agents.files import write_json
from dream_agents.runs.folder import ARGS
from dream_agents.versions import package_versions

#: settings that may change while a run goes on
_CHANGEABLE = ("decisions", "device", "eval_every", "eval_episodes", "checkpoint_every", "keep_checkpoints")


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
    :param keep_checkpoints: checkpoints that are kept, the newest ones
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
    keep_checkpoints: int = 2
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("decisions", "n_envs", "eval_episodes", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1 is needed")
        for name in ("eval_every", "checkpoint_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 for never, or more")

    def default_folder(self) -> Path:
        """Where the run goes unless the user says otherwise."""
        return Path("runs") / f"{self.agent}-{re.sub('[^A-Za-z0-9_.-]', '_', self.env)}-{self.seed}"

    def command(self, folder: Path) -> str:
        """The command that makes this run, every setting written out.

        :param folder: where the run goes
        """
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("env", "options")]
        return shlex.join([*self._words(names), "--out", str(folder)])

    def brief_command(self) -> str:
        """The command that trains the same agent, for a card: without defaults, and wherever the run goes."""
        several = ["n_envs"] if self.n_envs != 1 else []
        return shlex.join(self._words(["agent", "decisions", "seed", *several, "model_size", "planner"]))

    def _words(self, names: Iterable[str]) -> list[str]:
        """The words of a command that gives these settings, and ``--set``."""
        words = ["dream-agents", "train", self.env]
        for name in names:
            if (value := getattr(self, name)) is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        for option in self.options:
            words += ["--set", option]
        return words


def resume_command(folder: Path) -> str:
    """The command that continues a run.

    :param folder: the run's folder
    """
    return shlex.join(["dream-agents", "train", "--resume", "--out", str(folder)])


def write_settings(folder: Path, settings: RunSettings, keywords: Mapping[str, Any] | None = None) -> None:
    """Write ``args.json``: settings, the command that makes the run, versions.

    :param folder: the run's folder
    :param settings: the run's settings
    :param keywords: keyword arguments of the agent that the settings stand for, plain values
    """
    content: dict[str, Any] = {"command": settings.command(folder), "settings": dataclasses.asdict(settings)}
    if keywords is not None:
        content["keywords"] = repr(dict(keywords))  # as Python writes them, since JSON has no tuples
    write_json(folder / ARGS, {**content, "versions": package_versions()})


def read_settings(folder: str | Path) -> RunSettings:
    """Read ``args.json``.

    :param folder: the run's folder
    :raises FileNotFoundError: if the folder holds no run
    :raises ValueError: if the file is damaged
    """
    path = Path(folder) / ARGS
    if not path.is_file():
        raise FileNotFoundError(f"there is no run in {folder}: it has no {ARGS}")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        return RunSettings(**settings | {"options": tuple(settings["options"])})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} can't be read: {error!r}") from error


def read_keywords(folder: str | Path) -> dict[str, Any] | None:
    """Read the agent's keyword arguments; None for a run of version 0.1, which has not written them.

    :param folder: the run's folder
    :raises ValueError: if they are damaged
    """
    path = Path(folder) / ARGS
    text = json.loads(path.read_text(encoding="utf-8")).get("keywords")
    if text is None:
        return None
    try:
        return dict(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: keywords can't be read: {error!r}") from error


def settings_to_resume(folder: Path, given: Mapping[str, Any]) -> RunSettings:
    """Return a run's settings, with those that may change while it goes on replaced by what is given.

    :param folder: the run's folder
    :param given: settings by name
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
