"""Files that are whole whenever somebody reads them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_LOCK = ".lock"


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Write a text file under another name, and give it its own name when the block ends without an error.

    Line ends are written as they are.

    :param path: the file; its folder is made
    :raises OSError: if it can't be written
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        yield file
    os.replace(unfinished, path)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes to a folder, until the block or the process ends, however it does.

    :param folder: the folder; it is made
    :raises BlockingIOError: if another process writes to it, saying which
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise BlockingIOError(
                f"another process writes to {folder}: {file.read().strip() or 'it does not say which'}. Let it end, or "
                "choose another folder"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield


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
