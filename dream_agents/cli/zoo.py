"""``dream-agents zoo``: pretrained models, here and elsewhere."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dream_agents.cli.console import console, say

if TYPE_CHECKING:
    from rich.table import Table

    from dream_agents.zoo.cards import Card

app = typer.Typer(
    no_args_is_help=True, help="Pretrained models: list, show, verify, download, export and push them."
)

Filter = Annotated[str, typer.Argument(metavar="[FILTER]", help="Part of a name.")]
Offline = Annotated[bool, typer.Option("--offline", help="Leave out what was never downloaded here.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="An entry's name, folder or address, or an environment's name.")
]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Entries; all that are here by default."),
]
Again = Annotated[bool, typer.Option("--again", help="Download it even if it is here.")]
Address = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="An entry's name, or an address: hf://REPO@REVISION/PATH or https://..."
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="An entry, or what `eval` takes: a run's folder, a .zip, a checkpoint."
    ),
]
Target = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="A new folder, or a .pt file for TD-MPC2's or BMPC's public code."),
]
Layout = Annotated[
    str, typer.Option("--layout", help='Of a .pt file: "new" for the code since April 2025, "old" before.')
]
Repository = Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the Hugging Face Hub.")]
Private = Annotated[bool, typer.Option("--private", help="Make a repository that only you see.")]
License = Annotated[str | None, typer.Option("--license", help="License of a model that is no entry yet.")]
Author = Annotated[
    list[str] | None,
    typer.Option("--author", help="Who made a model that is no entry yet; may be given again."),
]
Environment = Annotated[
    str | None, typer.Option("--env", help="Its environment, where the model does not say it.")
]


@app.command("list")
def list_entries(pattern: Filter = "", offline: Offline = False, as_json: AsJson = False) -> None:
    """List entries: environment, planner, measured result, and whether they are here."""
    from dream_agents import zoo
    from dream_agents.zoo.catalog import find

    entries = [find(name) for name in zoo.names(pattern, offline)]
    if not entries:
        where = " here" if offline else ""
        raise ValueError(f'no entry{where} has "{pattern}" in its name; `dream-agents zoo list` lists all')
    rows = [_row(entry.card, entry.is_here) for entry in entries]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    console.print(_listing(rows))
    here = sum(entry.is_here for entry in entries)
    say(f"{len(rows)} entries, {here} of them here; `dream-agents zoo show NAME` shows a card.")
    if here < len(rows):
        say("Those elsewhere were never downloaded here; `dream-agents zoo download NAME` does that.")


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show an entry's card."""
    from dream_agents.zoo.catalog import find

    entry = find(name)
    data = {"here": entry.is_here, **dataclasses.asdict(entry.card)}
    if as_json:
        typer.echo(json.dumps(data, indent=2))
        return
    console.print(_details(entry.card, entry.is_here))
    if entry.card.results:
        console.print(_results(entry.card))
    else:
        say("Nothing was measured; `dream-agents eval` does that.")


@app.command()
def verify(names: Names = None) -> None:
    """Check cards, checksums and weights; nothing is downloaded."""
    from dream_agents import zoo

    wrong = []
    for name in names or zoo.names(offline=True):
        try:
            card = zoo.verify(name)
        except (ValueError, OSError) as error:
            wrong.append(name)
            say(f"{name}: {error}", style="red")
        else:
            typer.echo(f"{name}: as its card says, {_bytes(card.size)}, SHA-256 {card.sha256}")
    if wrong:
        raise ValueError(f"{len(wrong)} of {len(names or zoo.names(offline=True))} entries are not in order")


@app.command()
def download(name: Address, again: Again = False) -> None:
    """Download an entry into the cache; it loads without the network from then on."""
    from dream_agents import zoo

    typer.echo(zoo.download(name, again))


@app.command()
def export(
    model: Model,
    path: Target,
    layout: Layout = "new",
    license: License = None,
    author: Author = None,
    env: Environment = None,
) -> None:
    """Write an entry, or a trained model as an entry, to another place."""
    from dream_agents import zoo

    source, options = _source(model, license, author, env)
    typer.echo(zoo.export(source, path, layout, **options))  # type: ignore[arg-type]


@app.command()
def push(
    model: Model,
    repo: Repository,
    private: Private = False,
    license: License = None,
    author: Author = None,
    env: Environment = None,
) -> None:
    """Upload an entry, or a trained model as an entry, to the Hugging Face Hub."""
    from dream_agents import zoo

    source, options = _source(model, license, author, env)
    typer.echo(zoo.push(source, repo, private=private, **options))
    say(f'dream_agents.zoo.load("hf://{repo}") loads it.')


def _source(
    model: str, license: str | None, author: list[str] | None, env: str | None
) -> tuple[Any, dict[str, Any]]:
    """Find what is to go out: an entry by its name, or a loaded agent, and what its card is to say."""
    from dream_agents.runs import ARGS, is_entry, load_model, read_settings

    options: dict[str, Any] = {}
    if license is not None:
        options["license"] = license
    if author:
        options["authors"] = author
    if is_entry(model):
        if options or env:
            raise ValueError(
                f"--license, --author and --env are for models that are no entry yet; {model} has a card"
            )
        return model, {}
    run = Path(model) if Path(model).is_dir() else Path(model).parent
    if (run / ARGS).is_file():
        options["command"] = read_settings(run).brief_command()
    return load_model(model, env=env, device="cpu", notice=say), options


def _row(card: Card, is_here: bool) -> dict[str, Any]:
    measured = card.own_mean if math.isfinite(card.own_mean) else None
    return {
        "name": card.name,
        "environment": card.environment,
        "agent": card.agent,
        "backbone": card.backbone,
        "planner": card.planner,
        "mean": measured,
        "decisions": card.decisions,
        "size": card.size,
        "source": card.source,
        "here": is_here,
    }


def _listing(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="zoo")
    table.add_column("name", no_wrap=True)
    table.add_column("environment", no_wrap=True)
    table.add_column("planner", no_wrap=True)
    for heading in ("measured", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True)
    for row in rows:
        measured = "-" if row["mean"] is None else f"{row['mean']:.1f}"
        where = "package" if row["source"] == "embedded" else "downloaded" if row["here"] else "elsewhere"
        table.add_row(row["name"], row["environment"], row["planner"], measured, _bytes(row["size"]), where)
    return table


def _details(card: Card, is_here: bool) -> Table:
    """A card's fields, without the results and what is empty."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=card.name, title_justify="left", show_header=False)
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    fields = dataclasses.asdict(card)
    del fields["name"], fields["results"]
    fields |= fields.pop("network")
    for name, value in fields.items():
        if value not in (None, "", (), {}):
            table.add_row(name, Text(_value(value)))
        elif name in ("sha256", "size"):
            table.add_row(name, "not known before it is downloaded")
        elif name in ("decisions", "frames"):
            table.add_row(name, "not known")
    table.add_row("here", "yes" if is_here else "never downloaded here")
    return table


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _results(card: Card) -> Table:
    from rich.table import Table

    table = Table(title="measured", title_justify="left")
    table.add_column("planner")
    for heading in ("mean", "std", "of", "episodes", "seed", "ms a decision"):
        table.add_column(heading, justify="right")
    table.add_column("on")
    for result in card.results:
        figures = (f"{result.mean:.1f}", f"{result.std:.1f}", result.measure, str(result.episodes))
        table.add_row(
            result.planner, *figures, str(result.seed), f"{result.ms_per_decision:.2f}", result.device
        )
    return table


def _bytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.1f} MB"
