"""Tables that grow while a run goes on."""

from __future__ import annotations

import csv
import os
import warnings
from pathlib import Path
from typing import Any

from dream_agents.files import replacing

#: columns of ``episodes.csv``
EPISODE_COLUMNS = ("decisions", "frames", "return", "length", "seconds")

#: columns of ``evaluations.csv``
EVALUATION_COLUMNS = ("decisions", "frames", "planner", "mean", "std", "episodes", "success_rate")


def whole_lines(path: Path) -> list[str]:
    """Lines of a table that are finished; one at the end is not where a run writes it now, or was killed.

    :param path: the file; none have none
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]


class RunTable:
    """A CSV file that grows a row at a time; every row is on its way to the disk when :meth:`write` returns.

    A full disk costs a warning, not the run: rows that can't be written are kept, and written with the next one.

    Rows of an earlier part of the run stay up to ``decisions``: what a resumed run does again is written again.

    :param path: the file
    :param columns: its columns; ``decisions`` must be one of them
    :param decisions: where the run goes on
    """

    def __init__(self, path: Path, columns: tuple[str, ...], decisions: int):
        self.path, self.columns = path, columns
        self._waiting: list[dict[str, Any]] = []
        self.kept = [row for row in csv.DictReader(whole_lines(path)) if int(row["decisions"]) <= decisions]
        with replacing(path) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.kept)

    def write(self, **row: Any) -> None:
        """Append a row.

        :param row: values by column
        """
        self._waiting.append(row)
        size = self.path.stat().st_size
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, lineterminator="\n").writerows(self._waiting)
        except OSError as error:
            os.truncate(self.path, size)  # no part of a row stays
            warnings.warn(
                f"{self.path} can't be written ({error}); its {len(self._waiting)} last rows are kept for the next try",
                stacklevel=2,
            )
        else:
            self._waiting.clear()
