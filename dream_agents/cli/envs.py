"""``dream-agents envs``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dream_agents.cli.console import console, say

if TYPE_CHECKING:
    from rich.table import Table

    from dream_agents.wrappers.base import Task

Pattern = Annotated[str, typer.Argument(metavar="[FILTER]", help="Part of an id or another name of it.")]
SuiteName = Annotated[
    str | None,
    typer.Option("--suite", help='A suite, e.g. "dmc"; "gymnasium" lists all of Gymnasium\'s ids.'),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_COLUMNS = {
    "observation_size": "obs",
    "action_size": "act",
    "max_episode_steps": "length",
    "action_repeat": "repeat",
    "target_return": "target",
}
"""Figures of an environment → headings: numbers in an observation and an action, decisions an episode, frames a
decision, return that counts as success."""
_WIDE = 100  # columns of a terminal that has room for other names


def envs(pattern: Pattern = "", suite: SuiteName = None, as_json: AsJson = False) -> None:
    """List environments by suite: sizes, decisions an episode, frames a decision, targets, other names."""
    rows = _find(pattern, suite)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    wide = console.width >= _WIDE
    for name in dict.fromkeys(row["suite"] for row in rows):
        console.print(_table(name, [row for row in rows if row["suite"] == name], wide))
    if len(rows) > 1:
        say(f"{len(rows)} environments. Any other Gymnasium id with continuous actions works, too.")


def _table(suite: str, rows: list[dict[str, Any]], with_aliases: bool) -> Table:
    """Tabulate the environments of one suite."""
    from rich.table import Table

    table = Table(title=suite)
    table.add_column("id", no_wrap=True)
    columns = dict(_COLUMNS)
    if all(row["target_return"] is None for row in rows):
        del columns["target_return"]
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    if with_aliases:
        table.add_column("also called")
    for row in rows:
        figures = [_text(row[name]) for name in columns]
        table.add_row(row["id"], *figures, *([", ".join(row["aliases"])] if with_aliases else []))
    return table


def _text(figure: float | None) -> str:
    """Write one figure of the table, without the zero of 700.0."""
    if figure is None:
        return "-"
    return f"{figure:g}" if isinstance(figure, float) else str(figure)


def _find(pattern: str, suite_name: str | None) -> list[dict[str, Any]]:
    """Describe the environments that a pattern fits; if it names one exactly, that one, in full.

    :raises ValueError: if there is none
    """
    from dream_agents.registry import PluginError, suites
    from dream_agents.wrappers import describe, resolve

    rows = []
    names = [name for name in suites.names() if name != "gymnasium"] if suite_name is None else [suite_name]
    for name in names:
        try:
            suite = suites.get(name)
        except PluginError as error:
            say(str(error), style="yellow")
            continue
        for id in suite.ids():
            task = suite.task(id)
            if any(pattern.lower() in spelling.lower() for spelling in (id, *task.aliases)):
                rows.append(_row(name, task))
    if len(rows) > 1 or (rows and not pattern):
        return rows
    suite, id = resolve(rows[0]["id"] if rows else pattern)
    if suite_name is not None and suite.name != suite_name:
        raise ValueError(f'no environment of the suite "{suite_name}" fits "{pattern}"')
    info = describe(id)
    return [{**vars(info), "aliases": list(info.aliases)}]


def _row(suite: str, task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "suite": suite,
        "observation_size": task.observation_size,
        "action_size": task.action_size,
        "max_episode_steps": task.max_episode_steps,
        "action_repeat": task.action_repeat,
        "episodic": task.episodic,
        "aliases": list(task.aliases),
        "target_return": task.target_return,
        "random_return": task.random_return,
    }
