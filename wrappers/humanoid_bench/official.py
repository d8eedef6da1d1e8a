"""Finds HumanoidBench's public MuJoCo files, or downloads them once into the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pooch

_VARIABLE = "DREAM_AGENTS_HUMANOID_BENCH"
_REPOSITORY = "https://github.com/carlosferrazza/humanoid-bench"
_COMMIT = "791405f5eacf879adbc99105adb3fee73f5a49fc"
_URL = f"https://raw.githubusercontent.com/carlosferrazza/humanoid-bench/{_COMMIT}"
_ASSETS = "humanoid_bench/assets"
_REGISTRY = Path(__file__).with_name("official_files.txt")
_LICENSE = "LICENSE"
_CONNECTIONS = 4
_RETRIES = 2
_BY_HAND = f"clone {_REPOSITORY} and set {_VARIABLE} to its {_ASSETS}"


class AssetsUnavailableError(RuntimeError):
    """HumanoidBench's public MuJoCo files are neither where they should be nor can they be downloaded."""


def official_folder() -> Path:
    """Return the folder of HumanoidBench's public MuJoCo files: its ``envs/h1_pos_walk.xml`` and the rest.

    The environment variable `DREAM_AGENTS_HUMANOID_BENCH` names it: ``humanoid_bench/assets`` of a clone, whose
    files have to be there and may be changed. Where it is unset, the files that the environments need (19 MB)
    are in the user's cache, where those that are missing or damaged are downloaded. Of the cache, only files with
    the right SHA-256 checksums are used, as in commit 791405f of HumanoidBench's repository.

    :raises AssetsUnavailableError: if the variable names no such folder, or a file cannot be downloaded
    """
    given = os.environ.get(_VARIABLE)
    return _checked(given) if given else _downloaded()


def _checked(given: str) -> Path:
    """Return the folder that the user gave if all files are there, licences aside: clones keep one elsewhere.

    :raises AssetsUnavailableError: if it is no folder or files are missing
    """
    folder = Path(given).expanduser()
    advice = f"name {_ASSETS} of a clone of {_REPOSITORY}, or unset it and let the files be downloaded"
    if not folder.is_dir():
        raise AssetsUnavailableError(f"{_VARIABLE}={given} is not a folder; {advice}")
    names = [name for name in _registry(folder).registry if Path(name).name != _LICENSE]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise AssetsUnavailableError(
            f"{_VARIABLE}={given} lacks {len(missing)} of {len(names)} files: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}; {advice}"
        )
    return folder


def _downloaded() -> Path:
    """Return the cache's folder, with all files in it.

    :raises AssetsUnavailableError: if one cannot be downloaded
    """
    import pooch

    folder = Path(pooch.os_cache("dream-agents")) / "humanoid_bench" / _COMMIT
    files = _registry(folder)
    try:
        if _wanted(files):
            for name in files.registry:  # here, because pooch fails where two make one folder at once
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(folder):
                _download(files, _wanted(files))
    except OSError as error:
        raise AssetsUnavailableError(
            f"{folder} cannot be used as cache ({error}); make it writable, or {_BY_HAND}"
        ) from error
    return folder


def _registry(folder: Path) -> pooch.Pooch:
    """Return the files' names, checksums and addresses, and `folder` as where they belong."""
    import pooch

    files = pooch.create(
        path=folder,
        base_url=f"{_URL}/{_ASSETS}/",
        urls={_LICENSE: f"{_URL}/{_LICENSE}"},  # the repository's own, which is not among the assets
        retry_if_failed=_RETRIES,
    )
    files.load_registry(_REGISTRY)
    return files


def _wanted(files: pooch.Pooch) -> list[str]:
    """Return the names of the files that are missing or damaged."""
    import pooch

    def is_right(name: str, checksum: str) -> bool:
        path = files.abspath / name
        return path.is_file() and checksum == f"sha256:{pooch.file_hash(str(path), alg='sha256')}"

    return [name for name, checksum in files.registry.items() if not is_right(name, checksum)]


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process in at a time, so that not each of a `SubprocVecEnv`'s workers downloads everything.

    Where the system cannot lock files they all do, which is only slower: a file takes its name when it is
    complete.
    """
    with (folder / ".lock").open("w") as lock:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(files: pooch.Pooch, names: Iterable[str]) -> None:
    """Download files, a few at a time, under a progress bar on standard error.

    :raises AssetsUnavailableError: if one cannot be downloaded; those that are complete are kept
    """
    import pooch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    names = list(names)
    if not names:  # another process was first
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # it would print two lines a file into the bar
    try:
        with (
            Progress(*columns, console=Console(stderr=True)) as progress,
            ThreadPoolExecutor(_CONNECTIONS) as pool,
        ):
            bar = progress.add_task("HumanoidBench's files", total=len(names))
            downloads = [pool.submit(_download_one, files, name) for name in names]
            try:
                for download in as_completed(downloads):
                    download.result()
                    progress.advance(bar)
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        logger.setLevel(level)


def _download_one(files: pooch.Pooch, name: str) -> None:
    """Download one file; pooch gives it its name once its checksum is right, and removes it otherwise.

    :raises AssetsUnavailableError: if it cannot be downloaded
    """
    try:
        files.fetch(name)
    except OSError as error:  # all of requests' errors are; some of them are ValueErrors too
        raise AssetsUnavailableError(
            f"{files.get_url(name)} could not be downloaded to {files.abspath} ({error}); "
            f"try again, what is complete is kept; or {_BY_HAND}"
        ) from error
    except ValueError as error:  # names the file and both checksums
        raise AssetsUnavailableError(
            f"{files.get_url(name)} is not what was published ({error}); try again, or {_BY_HAND}"
        ) from error
