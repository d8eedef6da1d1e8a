"""Reads the tables of numbers that the builtin robots are made of.

A table is a TOML file in MJCF's terms: `body`, `actuator`, `tendon`, `exclude` and `sensor` entries, whose keys
are MJCF's attributes. With `extends`, it says what another robot's table lacks: a body of the same name replaces
that one's, and an actuator stands `after` another.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "robots"
"""Where the package's tables are, and the models made from them."""

Table = dict[str, Any]


def read_table(robot: str, folder: Path = FOLDER) -> Table:
    """Return a robot's whole table, what it extends included.

    :param robot: the table's name: ``"h1hand"``
    :param folder: where the table is; what it extends may also be one of the package's
    :raises FileNotFoundError: if there is none
    """
    table = tomllib.loads((folder / f"{robot}.toml").read_text())
    if "extends" not in table:
        return {"tendon": [], "exclude": [], "sensor": []} | table
    base_name = table.pop("extends")
    base = read_table(base_name, folder if (folder / f"{base_name}.toml").is_file() else FOLDER)
    return {
        "body": _with_bodies(base["body"], table.get("body", [])),
        "actuator": _with_actuators(base["actuator"], table.get("actuator", [])),
        **{key: base[key] + table.get(key, []) for key in ("tendon", "exclude", "sensor")},
    }


def _with_bodies(base: list[Table], more: list[Table]) -> list[Table]:
    """Return the bodies of both, where `more`'s replace others of the same name."""
    bodies = {body["name"]: body for body in base}
    return list((bodies | {body["name"]: body for body in more}).values())


def _with_actuators(base: list[Table], more: list[Table]) -> list[Table]:
    """Return the actuators of both in order: `more`'s stand after the one they name, or at the end."""
    actuators = list(base)
    for actuator in more:
        actuator = dict(actuator)
        after = actuator.pop("after", None)
        names = [known["name"] for known in actuators]
        actuators.insert(names.index(after) + 1 if after is not None else len(names), actuator)
    return actuators
