"""``dream-agents agents``."""

from __future__ import annotations

from typing import Annotated

import typer

from dream_agents.cli.console import console, say

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain the options of this agent.")]
_SHOWN = {"backbone": "backbone", "planner": "planner"}


def agents(name: Name = None) -> None:
    """List agents, and with a name, every option that `train --set` takes."""
    from dream_agents.cli.listing import print_options, things_table
    from dream_agents.cli.signatures import keywords_of
    from dream_agents.learners.base import get_backbone
    from dream_agents.registry import agents as registered

    if name is None:
        console.print(things_table(registered, _SHOWN))
        say("`dream-agents agents NAME` explains an agent's options.")
        return
    agent = registered.get(name)
    keywords = keywords_of(agent)
    backbone = keywords["backbone"].default if "backbone" in keywords else None
    defaults = {} if backbone is None else get_backbone(backbone).agent_defaults
    print_options(f'Options of the agent "{name}"', agent, defaults=defaults)
    if backbone is not None:
        config = get_backbone(backbone).config_class
        print_options(f'Options of the learner of "{backbone}"', config, "learner_kwargs.")
