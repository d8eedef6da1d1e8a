"""The ``dream-agents`` command; one module a sub-command, which import what is slow only when they run."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, Any

import gymnasium as gym
import typer
from typer.core import TyperGroup

from dream_agents.cli import (
    agents,
    analyse,
    bench,
    demo,
    envs,
    eval,
    experiment,
    export,
    planners,
    plot,
    setup,
    train,
    watch,
    zoo,
)
from dream_agents.cli.console import say
from dream_agents.cli.threads import set_threads
from dream_agents.wrappers import AssetsUnavailableError, RenderingUnavailableError

#: Errors whose text is meant for the user.
_EXPLAINED = (
    ValueError,
    OSError,
    ImportError,
    AssetsUnavailableError,
    RenderingUnavailableError,
    gym.error.Error,
)


class _Commands(TyperGroup):
    """Prints errors that explain themselves in one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except _EXPLAINED as error:
            if ctx.params.get("debug"):
                raise
            say(f"error: {error}", style="red")
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False
)

Debug = Annotated[
    bool, typer.Option("--debug", envvar="DREAM_AGENTS_DEBUG", help="Show where an error comes from.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from dream_agents import __version__

        typer.echo(f"dream-agents {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave."),
]


@app.callback()
def options(debug: Debug = False, version: Version = False) -> None:
    """World-model reinforcement learning that plans."""


_COMMANDS = (
    train.train,
    eval.eval,
    export.export,
    demo.demo,
    envs.envs,
    planners.planners,
    agents.agents,
    bench.bench,
    plot.plot,
    setup.setup,
    watch.watch,
)
for _command in _COMMANDS:
    app.command()(_command)
app.add_typer(experiment.app, name="experiment")
app.add_typer(analyse.app, name="analyse")
app.add_typer(zoo.app, name="zoo")


def main() -> None:
    """Run the command: the entry point ``dream-agents``. SIGTERM, as batch systems send it, acts like Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    line = set_threads(sys.argv[1:], os.environ)
    if line is not None:
        say(line, style="dim")
    app(prog_name="dream-agents")
