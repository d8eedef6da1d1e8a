"""Files that are whole whenever somebody reads them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

_LOCK = ".lock"


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Write a text file under another name, and give it its own name when the block ends without an error.

    Line ends are written as they are. Several processes may write one file: the last that ends has it.

    :param path: the file; its folder is made
    :raises OSError: if it can't be written
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@dataclass
class _Held:
    """A lock that a process holds, and how often it has entered."""

    file: TextIO
    process: int
    entered: int = 0


_held: dict[Path, _Held] = {}


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes to a folder, until the block or the process ends, however it does.

    A process that holds a folder can enter again. Where the system or the disk can't lock files, nothing is locked.

    :param folder: the folder; it is made
    :raises BlockingIOError: if another process writes to it, saying which, where and since when
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder.resolve()
    held = _held.get(place)
    if held is None or held.process != os.getpid():  # a forked process is another one
        held = _held[place] = _Held(_lock(place), os.getpid())
    held.entered += 1
    try:
        yield
    finally:
        held.entered -= 1
        if held.entered == 0:
            del _held[place]
            held.file.close()


def is_being_written(folder: Path) -> bool:
    """Tell whether a process is the :func:`only_writer` of a folder; True where that can't be told.

    :param folder: the folder
    """
    try:
        import fcntl

        with (folder / _LOCK).open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (ImportError, OSError):  # it is locked, or the system or the disk has no locks
        return True
    return False


def _lock(folder: Path) -> TextIO:
    """Lock a folder for as long as the returned file is open, and say in it who did."""
    file = (folder / _LOCK).open("a+", encoding="utf-8")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        file.flush()
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "it does not say which"
        file.close()
        raise BlockingIOError(
            f"another process writes to {folder}: {owner}. Let it end, or choose another folder"
        ) from error
    except (ImportError, OSError):
        pass  # no locks on this system or disk, or no room to say whose it is
    return file


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON to a temporary name first, so that the file is never there in part.

    :param path: the file; it is replaced in one go
    :param content: what JSON can hold, finite numbers only
    :raises ValueError: for numbers that are not finite
    :raises OSError: if it can't be written
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with replacing(Path(path)) as file:
        file.write(text)
