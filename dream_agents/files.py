"""Files that are whole whenever somebody reads them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


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
