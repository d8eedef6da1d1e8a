"""The experiments that come with the package, by name."""

from __future__ import annotations

import difflib
from pathlib import Path

_HERE = Path(__file__).parent


def packaged_experiments() -> dict[str, Path]:
    """The packaged experiments' files by name: ``"evidence"``, ``"paper/table-8"``."""
    files = sorted([*_HERE.glob("*.toml"), *_HERE.glob("paper/*.toml")], key=lambda path: _in_order(path))
    return {path.relative_to(_HERE).with_suffix("").as_posix(): path for path in files}


def find_experiment(name: str | Path) -> tuple[str, Path]:
    """Name and file of a packaged experiment, or of a file of one's own.

    :param name: a packaged experiment's name, or a file's path
    :raises ValueError: if there is neither
    """
    packaged = packaged_experiments()
    if str(name) in packaged:
        return str(name), packaged[str(name)]
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path.stem, path
    close = difflib.get_close_matches(str(name), packaged, n=2)
    hint = f"; did you mean {' or '.join(close)}" if close else ""
    raise ValueError(
        f"{str(name)!r} is no experiment{hint}: `dream-agents experiment list` lists the packaged ones; one of your "
        "own is a file that ends in .toml"
    )


def _in_order(path: Path) -> tuple[str, int, str]:
    """Table 8 before Table 10."""
    kind, _, number = path.stem.rpartition("-")
    return (
        (str(path.parent) + kind, int(number), "") if number.isdigit() else (str(path.parent), 0, path.stem)
    )
