"""``dream-agents planners``."""

from __future__ import annotations

from typing import Annotated

import typer

from dream_agents.cli.console import console, say

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain the options of this planner.")]


def planners(name: Name = None) -> None:
    """List planners and their options."""
    from dream_agents.cli.listing import print_options, things_table
    from dream_agents.registry import planners as registered

    if name is not None:
        print_options(f'Options of the planner "{name}"', registered.get(name))
        return
    console.print(things_table(registered))
    say("`dream-agents planners NAME` explains a planner's options.")
