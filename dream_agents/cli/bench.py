"""``dream-agents bench``: the speed of planners, updates and replay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream_agents.cli.console import console, notes, say

if TYPE_CHECKING:
    from rich.table import Table

    from dream_agents.evaluation.benchmark import Measurement


def bench(
    json: Annotated[Path | None, typer.Option(help="write machine and figures to this file")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="rounds that medians are taken over")] = 15,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; PyTorch's choice by default")
    ] = None,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="measure evaluation in many environments, and nothing else")
    ] = False,
    deploy: Annotated[
        bool,
        typer.Option(
            "--deploy", help="measure whole decisions: eager, compiled, exported (takes some ten minutes)"
        ),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="measure on this one: cuda, cuda:1, ... Default: the CPU's figures.")
    ] = None,
) -> None:
    """Measure planning, updates, replay and control on this machine, with random weights.

    With --device cuda: plans, updates and bulk evaluation there, and what of it is spent launching kernels.

    With --deploy: decisions a second and their latencies, one thread (and two at 5M), by predict, compiled, in ONNX
    Runtime and as PyTorch's package. The models are untrained, which serves for speed.
    """
    import torch

    from dream_agents.cli.options import check_device, check_output
    from dream_agents.evaluation.batch_benchmark import run_batch_benchmark
    from dream_agents.evaluation.benchmark import as_dict, describe_machine, run_benchmark
    from dream_agents.evaluation.deploy_benchmark import run_deploy_benchmark
    from dream_agents.evaluation.device_benchmark import run_device_benchmark
    from dream_agents.files import write_json

    if json is not None:
        check_output(json)
    if deploy and (bulk or device is not None or threads is not None):
        raise ValueError("--deploy measures on the CPU, by one thread and two; give it without other choices")
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
            run = run_deploy_benchmark if deploy else run_batch_benchmark if bulk else run_benchmark
            rows = run(repeats, progress=progress)
    console.print(_table(rows))
    if json is not None:
        write_json(json, as_dict(rows))
        say(f"results: {json}")


def _table(rows: list[Measurement]) -> Table:
    from rich.table import Table

    from dream_agents.evaluation.deploy_benchmark import Latency

    latencies = ("50%, ms", "99%, ms", "largest") if isinstance(rows[0], Latency) else ()
    table = Table("what", "figure", "unit", *latencies, "asked for", "reached")
    for row in rows:
        asked = "" if row.target is None else f"{'at least' if row.at_least else 'at most'} {row.target:g}"
        reached = {None: "", True: "yes", False: "no"}[row.reached]
        times: tuple[float, ...] = ()
        if isinstance(row, Latency):
            times = row.p50, row.p99, row.largest
            asked += "" if row.p99_target is None else f", 99% in {row.p99_target:g} ms"
        table.add_row(row.name, f"{row.value:.3g}", row.unit, *(f"{ms:.2f}" for ms in times), asked, reached)
    return table
