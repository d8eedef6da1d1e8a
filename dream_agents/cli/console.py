"""Where the commands print."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_WIDTH_OF_FILES = 140


def _make_console(stderr: bool = False) -> Console:
    """A terminal has a width; what is written to a file or a pipe gets one that tables fit in."""
    console = Console(stderr=stderr)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(stderr=stderr, width=_WIDTH_OF_FILES)


console = _make_console()
"""Results, on standard output."""

notes = _make_console(stderr=True)
"""Progress, hints and errors, on standard error."""


def say(text: str, style: str | None = None) -> None:
    """Print a note as it is: nothing in it is markup, and no line is broken."""
    notes.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, float], None]]:
    """Show a bar for each name that the yielded function is called with, and the share of it that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True) as progress:
        tasks = {}

        def update(name: str, done: float) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=1.0)
            progress.update(tasks[name], completed=done)

        yield update
