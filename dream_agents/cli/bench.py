"""``dream-agents bench``: the speed of planners, updates and replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dream_agents.cli.console import console, notes, say


def bench(
    json: Annotated[Path | None, typer.Option(help="write machine and figures to this file")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="rounds that medians are taken over")] = 15,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; PyTorch's choice by default")
    ] = None,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="measure evaluation in many environments, and nothing else")
    ] = False,
) -> None:
    """Measure planning, updates, replay and control on this machine, with random weights."""
    import torch
    from rich.table import Table

    from dream_agents.cli.options import check_output
    from dream_agents.evaluation.batch_benchmark import run_batch_benchmark
    from dream_agents.evaluation.benchmark import as_dict, describe_machine, run_benchmark
    from dream_agents.files import write_json

    if json is not None:
        check_output(json)
    if threads is not None:
        torch.set_num_threads(threads)
    machine = describe_machine()
    console.print(
        f"{machine['processor']}, {machine['threads']} threads, Python {machine['python']}, "
        + ", ".join(f"{name} {number}" for name, number in machine["versions"].items()),
        soft_wrap=True,
    )
    with notes.status("measuring") as status:
        measure = run_batch_benchmark if bulk else run_benchmark
        rows = measure(repeats, progress=lambda step: status.update(f"measuring {step}"))
    table = Table("what", "figure", "unit", "asked for", "reached")
    for row in rows:
        asked = "" if row.target is None else f"{'at least' if row.at_least else 'at most'} {row.target:g}"
        reached = {None: "", True: "yes", False: "no"}[row.reached]
        table.add_row(row.name, f"{row.value:.3g}", row.unit, asked, reached)
    console.print(table)
    if json is not None:
        write_json(json, as_dict(rows))
        say(f"results: {json}")
