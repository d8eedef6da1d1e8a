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
    device: Annotated[
        str | None, typer.Option(help="measure on this one: cuda, cuda:1, ... Default: the CPU's figures.")
    ] = None,
) -> None:
    """Measure planning, updates, replay and control on this machine, with random weights.

    With --device cuda: plans, updates and bulk evaluation there, and what of it is spent launching kernels.
    """
    import torch
    from rich.table import Table

    from dream_agents.cli.options import check_device, check_output
    from dream_agents.evaluation.batch_benchmark import run_batch_benchmark
    from dream_agents.evaluation.benchmark import as_dict, describe_machine, run_benchmark
    from dream_agents.evaluation.device_benchmark import run_device_benchmark
    from dream_agents.files import write_json

    if json is not None:
        check_output(json)
    if device is not None:
        if bulk:
            raise ValueError(
                f"give --bulk or --device {device}, not both; --device measures plans in bulk, too"
            )
        check_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    machine = describe_machine()
    console.print(
        f"{machine['processor']}, {machine['threads']} threads, Python {machine['python']}, "
        + ", ".join(f"{name} {number}" for name, number in machine["versions"].items()),
        soft_wrap=True,
    )
    with notes.status("measuring") as status:

        def progress(step: str) -> None:
            status.update(f"measuring {step}")

        if device is not None:
            rows = run_device_benchmark(device, repeats, progress=progress)
        else:
            rows = (run_batch_benchmark if bulk else run_benchmark)(repeats, progress=progress)
    table = Table("what", "figure", "unit", "asked for", "reached")
    for row in rows:
        asked = "" if row.target is None else f"{'at least' if row.at_least else 'at most'} {row.target:g}"
        reached = {None: "", True: "yes", False: "no"}[row.reached]
        table.add_row(row.name, f"{row.value:.3g}", row.unit, asked, reached)
    console.print(table)
    if json is not None:
        write_json(json, as_dict(rows))
        say(f"results: {json}")
