"""``dream-agents analyse``: gradients of planners, and predicted against obtained returns (Section D of the paper)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream_agents.cli.console import console, progress_bars, say

if TYPE_CHECKING:
    from rich.table import Table

    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.analysis import GradientRow, ReturnRow

app = typer.Typer(
    no_args_is_help=True,
    help="What gradients through a model are worth, and what its predictions are (Section D of the paper).",
)

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="What `eval` takes, one model a seed. Default: the true dynamics of Pendulum-v1 alone.",
    ),
]
Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Runs' folders, a run a seed; or models, each at one time."),
]
Horizon = Annotated[int, typer.Option(min=1, help="Longest horizon; every shorter one is measured, too.")]
States = Annotated[int, typer.Option(min=1, help="States for each model.")]
Samples = Annotated[int, typer.Option(min=2, help="Action sequences in each state.")]
Planner = Annotated[str | None, typer.Option(help="Planner that acts. Default: the model's.")]
Episodes = Annotated[int, typer.Option(min=1, help="Episodes for each model.")]
Seed = Annotated[int, typer.Option(help="Seed of episodes, states and action sequences.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Out = Annotated[Path, typer.Option(help="Folder for the rows as CSV and the pictures.")]


@app.command("esnr")
def analyse_esnr(
    models: Models = None,
    horizon: Horizon = 15,
    states: States = 32,
    samples: Samples = 100,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = Path("analysis"),
) -> None:
    """Size, variance and signal-to-noise ratio of Grad-MPC's and Dream-MPC's gradients over horizons (Figs. 13, 14).

    Models of Pendulum-v1 are compared with its true dynamics, whose gradients are checked against finite differences.
    """
    from dream_agents.analysis import (
        check_gradients,
        gradients_of_agents,
        gradients_of_true_dynamics,
        plot_esnr,
        plot_gradients,
        write_rows,
    )
    from dream_agents.cli.options import check_device, check_output

    files = [out / name for name in ("gradients.csv", "gradients.png", "esnr.png")]
    for file in files:
        check_output(file)
    check_device(device)
    horizons = range(1, horizon + 1)
    if models:
        agents = {name: _load(name, device) for name in dict.fromkeys(models)}
        with progress_bars() as update:
            rows = gradients_of_agents(
                agents,
                horizons=horizons,
                states=states,
                samples=samples,
                seed=seed,
                progress=lambda done: update("gradients", done),
            )
    else:
        rows = gradients_of_true_dynamics(horizons=horizons, states=states, samples=samples, seed=seed)
    console.print(_esnr_table(rows))
    if any(row.dynamics == "true" for row in rows):
        worst = max(check.difference for check in check_gradients(horizons, seed=seed))
        console.print(f"true dynamics: gradients are within {worst:.1e} of finite differences in Gymnasium")
    write_rows(files[0], rows)
    plot_gradients(rows, files[1])
    plot_esnr(rows, files[2])
    say(f"results: {', '.join(str(file) for file in files)}")


@app.command("returns")
def analyse_returns(
    runs: Runs,
    planner: Planner = None,
    episodes: Episodes = 10,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = Path("analysis"),
) -> None:
    """Returns that planners predict against those obtained then, over the checkpoints of a training (Fig. 15)."""
    from dream_agents.analysis import plot_returns, returns_over_training, write_rows
    from dream_agents.cli.options import check_device, check_output
    from dream_agents.evaluation import EvaluationSettings

    files = [out / name for name in ("returns.csv", "returns.png")]
    for file in files:
        check_output(file)
    check_device(device)
    settings = EvaluationSettings(episodes=episodes, seed=seed)
    rows: list[ReturnRow] = []
    for run in dict.fromkeys(runs):
        rows += returns_over_training(
            run,
            planner,
            settings=settings,
            device=device,
            progress=lambda decisions, run=run: say(f"{run}: {decisions} decisions"),  # type: ignore[misc]
        )
    console.print(_returns_table(rows))
    write_rows(files[0], rows)
    plot_returns(rows, files[1])
    say(f"results: {', '.join(str(file) for file in files)}")


def _load(source: str, device: str) -> WorldModelAgent:
    """Load a model that has a world model.

    :raises ValueError: for one that has none
    """
    from dream_agents.analysis.returns import with_world_model
    from dream_agents.runs import load_model

    return with_world_model(load_model(source, device=device, notice=say), source)


def _esnr_table(rows: list[GradientRow]) -> Table:
    """ESNR over horizons, a column for each planner and dynamics."""
    import numpy as np
    from rich.table import Table

    columns = list(dict.fromkeys((row.planner, row.dynamics) for row in rows))
    models = len({row.model for row in rows})
    count = f"{models} models, mean ± standard deviation" if models > 1 else "1 model"
    table = Table(title=f"ESNR: {count}; {rows[0].states} states, {rows[0].samples} action sequences each")
    table.add_column("horizon", justify="right")
    for planner, dynamics in columns:
        table.add_column(f"{planner},\n{dynamics}", justify="right")
    for horizon in dict.fromkeys(row.horizon for row in rows):
        cells = []
        for column in columns:
            ratios = [
                row.esnr for row in rows if (row.planner, row.dynamics) == column and row.horizon == horizon
            ]
            spread = f" ± {np.std(ratios):.2g}" if models > 1 else ""
            cells.append(f"{np.mean(ratios):.3g}{spread}")
        table.add_row(str(horizon), *cells)
    return table


def _returns_table(rows: list[ReturnRow]) -> Table:
    """Predicted and obtained returns over frames, means over models and decisions."""
    import numpy as np
    from rich.table import Table

    planners = ", ".join(dict.fromkeys(row.planner for row in rows))
    table = Table("frames", "models", title=f"returns from visited states, {planners}")
    for column in ("predicted", "obtained to the end", "obtained over the horizon,\nthen the model's value"):
        table.add_column(column, justify="right")
    for frames in sorted({row.frames for row in rows}):
        chosen = [row for row in rows if row.frames == frames]
        values = np.mean([(row.predicted, row.actual, row.over_horizon) for row in chosen], 0)
        table.add_row(str(frames), str(len({row.model for row in chosen})), *(f"{v:.2f}" for v in values))
    return table
