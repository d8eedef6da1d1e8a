"""Files from elsewhere: downloaded once, checked, and kept in the cache with a note of their checksum."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dream_agents.zoo import hub
from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.files import BoundedFile, cache_folder, file_checksum, workplace, write_aside
from dream_agents.zoo.sources import HubAddress, WebAddress, parse_address

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SECONDS = 30.0  # that a web server may be silent

#: Bytes of weights whose size no card says; the largest published models of one task take a hundredth.
MOST_BYTES = 4 * 1024**3


class Pin(NamedTuple):
    """What is known of a file since its first download; another one is refused later."""

    source: str
    #: commit of a repository; empty for what a web server gave
    commit: str
    sha256: str
    size: int


class Fetched(NamedTuple):
    """A file in the cache."""

    path: Path
    pin: Pin


def cached_pin(source: str) -> Pin | None:
    """What is known of an address' file; None if it was never downloaded. The file itself is not read.

    :raises ZooError: if the source is no address, or the note about it can't be read
    """
    path = cached_path(source)
    note = _note(path)
    if not (path.is_file() and note.is_file()):
        return None
    return _read_pin(note)


def cached_path(source: str) -> Path:
    """Where an address' file is kept, whether it is there or not.

    :raises ZooError: if the source is no address
    """
    return cache_folder() / parse_address(source).cache_path


def fetch(
    source: str,
    check: Callable[[Path], object],
    *,
    sha256: str | None = None,
    size: int | None = None,
    most: int = MOST_BYTES,
    name: str | None = None,
    download: bool = True,
    again: bool = False,
) -> Fetched:
    """Return the file of an address from the cache, where it is downloaded to if it is not there.

    :param source: the address
    :param check: raises a :class:`ZooError` for a file that must not get into the cache
    :param sha256: the checksum that it must have; None for that of the first download
    :param size: the size that it must have, likewise
    :param most: bytes after which a download is given up, where ``size`` does not say it
    :param name: of what the file belongs to, as ``zoo.download`` takes it; None for the address
    :param download: whether to use the network where the file is not there
    :param again: download it even if it is there
    :raises ZooError: if it can't be had, or is not what it should be
    """
    path = cached_path(source)
    try:
        pin = cached_pin(source)
        if pin is not None and not again:
            return Fetched(path, _verified(path, pin))
        if not download:
            raise ZooError(
                f'{source} was never downloaded here; dream_agents.zoo.download("{name or source}") does that'
            )
        with workplace(path) as folder:
            others = cached_pin(source)
            if others is not None and not again:  # another process was first
                return Fetched(path, others)
            found, pin = _download(source, folder, most if size is None else size)
            _compare(pin, path, sha256, size)
            _accept(found, source, check)
            write_aside(_note(path), json.dumps(pin._asdict(), indent=1).encode())
            found.replace(path)
    except OSError as error:
        raise ZooError(
            f"{cache_folder()} cannot be used as cache ({error}); make it writable, or set DREAM_AGENTS_CACHE to a "
            "folder that is"
        ) from error
    return Fetched(path, pin)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.pin.json")


def _read_pin(note: Path) -> Pin:
    try:
        pin = Pin(**json.loads(note.read_text(encoding="utf-8")))
        if _SHA256.fullmatch(pin.sha256) is None or type(pin.size) is not int:
            raise ValueError(f"sha256={pin.sha256!r}, size={pin.size!r}")
    except (TypeError, ValueError) as error:
        raise ZooError(f"{note} is damaged ({error}); delete it to download its file again") from error
    return pin


def _verified(path: Path, pin: Pin) -> Pin:
    found = file_checksum(path)
    if found != pin.sha256:
        raise ZooError(
            f"{path} has the SHA-256 {found}; it had {pin.sha256} when it was downloaded. Delete it, and {pin.source} "
            "is downloaded again"
        )
    return pin


def _download(source: str, folder: Path, most: int) -> tuple[Path, Pin]:
    """Download into a folder; return the file and what it is."""
    address, path = parse_address(source), folder / "file"
    commit, published = "", None
    if isinstance(address, HubAddress):
        commit, published = hub.download_file(address, path, most)
    else:
        _from_web(address, path, most)
    pin = Pin(source, commit, file_checksum(path), path.stat().st_size)
    if published is not None and published != pin.sha256:
        raise ZooError(
            f"{source} arrived with the SHA-256 {pin.sha256}; the hub says {published}. It was damaged or changed on "
            "the way; try again"
        )
    return path, pin


def _compare(pin: Pin, path: Path, sha256: str | None, size: int | None) -> None:
    """Compare what arrived with what its card says, and with what arrived the first time."""
    note = _note(path)
    first = _read_pin(note).sha256 if note.is_file() else pin.sha256
    if first != pin.sha256:
        raise ZooError(
            f"{pin.source} has the SHA-256 {pin.sha256}; when it was first downloaded here it had {first}. If you "
            f"trust the new file, delete {note}"
        )
    if size is not None and size != pin.size:
        raise ZooError(
            f"{pin.source} has {pin.size} bytes, its card says {size}: it was replaced; ask its authors"
        )
    if sha256 is not None and sha256 != pin.sha256:
        raise ZooError(
            f"{pin.source} has the SHA-256 {pin.sha256}, its card says {sha256}: it was replaced; ask its authors"
        )


def _accept(found: Path, source: str, check: Callable[[Path], object]) -> None:
    """Check a file that arrived; what is said about it names its source."""
    try:
        check(found)
    except ZooError as error:
        raise ZooError(str(error).replace(str(found), source)) from error


def _from_web(address: WebAddress, path: Path, most: int) -> None:
    """Download from a web server.

    :param most: bytes after which the transfer is given up
    :raises ZooError: if it can't be had
    """
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_SECONDS)
    try:
        with BoundedFile(path, most, address.url) as file:
            downloader(address.url, file, None)
    except ZooError:
        raise
    except Exception as error:  # odd headers and redirections raise whatever the client does with them
        raise ZooError(
            f"{address.url} could not be downloaded ({error}); check the address and the connection, and try again"
        ) from error
