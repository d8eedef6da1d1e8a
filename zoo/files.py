"""Files that are whole whenever somebody reads them, and the cache."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dream_agents.zoo.errors import ZooError

_VARIABLE = "DREAM_AGENTS_CACHE"


class BoundedFile(io.FileIO):
    """A new file that a download is written to, which gives up when it gets too large.

    :param path: the file
    :param most: bytes that it may have
    :param source: where it is from, for the message
    """

    def __init__(self, path: Path, most: int, source: str):
        super().__init__(path, "x+")
        self._most, self._source = most, source

    def write(self, data: Any) -> int:
        """Write on.

        :param data: bytes
        :raises ZooError: if there are too many
        """
        if self.tell() + len(data) > self._most:
            raise ZooError(
                f"{self._source} has more than {self._most} bytes, the size on its card or the limit without one. "
                "The rest was not downloaded. Ask its authors, or download it by other means and load it by its path"
            )
        return super().write(data)


def cache_folder() -> Path:
    """Return the folder of what was downloaded: ``zoo`` in `DREAM_AGENTS_CACHE`, or else in the platform's cache."""
    given = os.environ.get(_VARIABLE)
    if given:
        return Path(given).expanduser() / "zoo"
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("dream-agents")) / "zoo"


def checksum(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's contents."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_aside(path: Path, data: bytes) -> None:
    """Write a file under another name, then rename it, so that nobody reads half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def workplace(path: Path) -> Iterator[Path]:
    """Give an empty folder in which to make a file, to one process at a time; it is removed afterwards.

    What processes that were killed have left there goes, too. Where the system cannot lock files, processes work side
    by side, each in a folder of its own.

    :param path: the file that is to be made
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    locked = False
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
            locked = True
        folder = path.with_name(f".{path.name}.unfinished" + ("" if locked else f"-{os.getpid()}"))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
