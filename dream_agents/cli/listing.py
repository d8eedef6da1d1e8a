"""Tables of registered things and their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from inspect import Parameter
from typing import Any

from rich.table import Table
from rich.text import Text

from dream_agents.cli.console import console, say
from dream_agents.cli.signatures import Keyword, describe_hint, keywords_of, summary
from dream_agents.registry import PluginError, Registry


def things_table(registry: Registry[Any], defaults_of: Mapping[str, str] | None = None) -> Table:
    """Make a table of what a registry holds: names, what they are, options and their defaults.

    :param registry: the registry
    :param defaults_of: keywords to show, with their headings; every keyword by default
    """
    table = Table()
    table.add_column(registry.kind, no_wrap=True)
    table.add_column("what it is")
    for heading in (defaults_of or {"": "options and defaults"}).values():
        table.add_column(heading)
    for name in registry.names():
        try:
            cls = registry.get(name)
        except PluginError as error:
            say(str(error), style="yellow")
            continue
        keywords = keywords_of(cls)
        if defaults_of is None:
            cells = [", ".join(f"{key}={_default(keyword)}" for key, keyword in keywords.items()) or "none"]
        else:
            cells = [_default(keywords[key]) if key in keywords else "-" for key in defaults_of]
        table.add_row(Text(name), Text(summary(cls)), *map(Text, cells))
    return table


def print_options(title: str, cls: type, prefix: str = "", defaults: Mapping[str, Any] | None = None) -> None:
    """Print a table of one class's options.

    :param defaults: those that stand above the signature's
    """
    changed = defaults or {}
    table = Table(title=title, title_justify="left")
    table.add_column("option", no_wrap=True)
    for heading in ("default", "type", "meaning"):
        table.add_column(heading)
    for name, keyword in keywords_of(cls).items():
        if not name.startswith("_"):
            keyword = replace(keyword, default=changed.get(name, keyword.default))
            cells = (prefix + name, _default(keyword), describe_hint(keyword.hint), keyword.text)
            table.add_row(*map(Text, cells))
    console.print(table)


def _default(keyword: Keyword) -> str:
    if keyword.default is Parameter.empty:
        return "-"
    return keyword.default if isinstance(keyword.default, str) else repr(keyword.default)
