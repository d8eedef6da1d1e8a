"""``dream-agents plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dream_agents.cli.console import say

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Runs' folders, or their evaluations.csv or episodes.csv."),
]
Published = Annotated[
    Path | None,
    typer.Option(help="A .csv file of published results with the columns task,env_step,seed,return."),
]
Task = Annotated[str | None, typer.Option(help="Environment. Default: that of the first run.")]
Out = Annotated[Path, typer.Option(help="The picture.")]


def plot(runs: Runs, published: Published = None, task: Task = None, out: Out = Path("curve.png")) -> None:
    """Draw learning curves over frames, and a published one beside them."""
    from dream_agents.evaluation import plot_learning_curve
    from dream_agents.runs import read_settings

    for run in runs:
        if not run.exists():
            raise FileNotFoundError(
                f"there is no {run}; name runs' folders, as `dream-agents train` makes them, or their "
                "evaluations.csv or episodes.csv"
            )
    if task is None:
        task = read_settings(runs[0] if runs[0].is_dir() else runs[0].parent).env
    labels = {str(run) if run.is_dir() else str(run.parent): run for run in runs}
    plot_learning_curve(labels, out, task, published)
    say(f"picture: {out}")
