"""``dream-agents plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dream_agents.cli.console import say

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="Runs' folders, or their evaluations.csv or episodes.csv; or .json files of `dream-agents eval`.",
    ),
]
Published = Annotated[
    Path | None,
    typer.Option(help="A .csv file of published results with the columns task,env_step,seed,return."),
]
Environment = Annotated[
    str | None, typer.Option("--task", help="Environment. Default: that of the first run.")
]
Out = Annotated[Path | None, typer.Option(help="The picture. Default: curve.png, or tradeoff.png.")]


def plot(sources: Sources, published: Published = None, task: Environment = None, out: Out = None) -> None:
    """Draw learning curves over frames, with published ones; or what planners return against what they take."""
    if all(source.suffix == ".json" for source in sources):
        if published is not None or task is not None:
            raise ValueError(
                "results of evaluations are drawn without --published and --task; leave these out"
            )
        out = out or Path("tradeoff.png")
        _draw_tradeoff(sources, out)
    else:
        out = out or Path("curve.png")
        _draw_curves(sources, published, task, out)
    say(f"picture: {out}")


def _draw_tradeoff(sources: list[Path], out: Path) -> None:
    from dream_agents.evaluation import EvaluationRecord, plot_tradeoff

    missing = [source for source in sources if not source.is_file()]
    if missing:
        raise ValueError(f"{missing[0]} is not there; `dream-agents eval ... --json FILE` writes results")
    plot_tradeoff([result for source in sources for result in EvaluationRecord(source).results], out)


def _draw_curves(sources: list[Path], published: Path | None, task: str | None, out: Path) -> None:
    from dream_agents.evaluation import plot_learning_curve
    from dream_agents.runs import read_settings

    for run in sources:
        if not run.exists():
            raise FileNotFoundError(
                f"there is no {run}; name runs' folders, as `dream-agents train` makes them, or their "
                "evaluations.csv or episodes.csv"
            )
    if task is None:
        task = read_settings(sources[0] if sources[0].is_dir() else sources[0].parent).env
    labels = {str(source) if source.is_dir() else str(source.parent): source for source in sources}
    plot_learning_curve(labels, out, task, published)
