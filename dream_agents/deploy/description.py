"""``controller.json``, which says how an exported file is used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dream_agents.deploy.errors import ControllerError

#: name of the description, which lies in the folder of the files that it describes
FILE_NAME = "controller.json"
VERSION = 1
#: what an exported file says about itself: the ``id`` of its description
ID = "dream_agents.id"

_FIELDS = ("id", "files", "n_envs", "inputs", "outputs", "observation", "action", "noise_seed")


@dataclass(frozen=True)
class Array:
    """An input or an output.

    :param name: in the file
    :param role: "observation", "memory", "episode_start", "noise" or "action"
    :param shape: with the number of environments first, but for noise
    :param dtype: NumPy's name
    :param distribution: of noise: "normal", "uniform", "exponential" or "permutation"
    :param lengths: of noise that consists of permutations: how many numbers each has
    :param path: of a part of an observation: keys and numbers that lead to it
    :param feeds: of new memory: the input that it is in the next decision
    """

    name: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    distribution: str = ""
    lengths: tuple[int, ...] = ()
    path: tuple[str | int, ...] = ()
    feeds: str = ""


def read(path: Path) -> dict[str, Any]:
    """Read the description of an exported file and check that it is the file's own.

    :param path: the exported file
    :raises FileNotFoundError: if the file or its description is not there
    :raises ControllerError: if it is the description of another file, or the file has changed
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; `dream-agents export NAME {path}` writes one")
    beside = path.with_name(FILE_NAME)
    if not beside.is_file():
        raise FileNotFoundError(
            f"{beside} is missing, which says how {path.name} is used; export writes both, so copy both"
        )
    try:
        content: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
        version = content["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ControllerError(f"{beside} is not the description of a controller ({error!r})") from error
    if version != VERSION:
        raise ControllerError(
            f"{beside} has format {version}, and this version of dream-agents reads {VERSION}; export again"
        )
    missing = [field for field in _FIELDS if field not in content]
    if missing:
        raise ControllerError(f"{beside} lacks {', '.join(missing)}; export again")
    if path.name not in content["files"]:
        described = ", ".join(content["files"])
        raise ControllerError(
            f"{beside} describes {described}, not {path.name}: files keep their names, and their controller.json"
        )
    return content


def changed(path: Path, content: dict[str, Any]) -> str | None:
    """The checksum of an exported file, where it is not what its description says; None where it is."""
    found = checksum(path)
    return None if found == content["files"][path.name]["sha256"] else found


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _digest(file)
        )


def _digest(file: Any) -> str:
    found = hashlib.sha256()
    while block := file.read(1 << 20):
        found.update(block)
    return found.hexdigest()


def arrays(entries: list[dict[str, Any]]) -> list[Array]:
    """Inputs or outputs of a description."""
    return [Array(**_known(entry)) for entry in entries]


def _known(entry: dict[str, Any]) -> dict[str, Any]:
    """What this version knows of an entry, lists as tuples."""
    known = {name: value for name, value in entry.items() if name in Array.__dataclass_fields__}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
