"""``dream-agents plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dream_agents.cli.console import say
from dream_agents.runs.folder import ARGS

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
Success = Annotated[
    bool, typer.Option("--success", help="Rates of success instead of returns, from evaluations.csv.")
]
Out = Annotated[Path | None, typer.Option(help="The picture. Default: curve.png, or tradeoff.png.")]


#: settings that make runs one agent's on one task; they may differ in seed, length and evaluations
_IDENTITY = ("env", "agent", "n_envs", "model_size", "planner", "options")


def plot(
    sources: Sources,
    published: Published = None,
    task: Environment = None,
    success: Success = False,
    out: Out = None,
) -> None:
    """Draw learning curves over frames, with published ones; or what planners return against what they take.

    Runs that differ only in their seed are one curve, with the mean's 95% interval. Published results are markers.
    """
    if all(source.suffix == ".json" for source in sources):
        if published is not None or task is not None or success:
            raise ValueError(
                "results of evaluations are drawn without --published, --task and --success; leave these out"
            )
        out = out or Path("tradeoff.png")
        _draw_tradeoff(sources, out)
    else:
        out = out or Path("curve.png")
        _draw_curves(sources, published, task, out, success)
    say(f"picture: {out}")


def _draw_tradeoff(sources: list[Path], out: Path) -> None:
    from dream_agents.evaluation import EvaluationRecord, plot_tradeoff

    missing = [source for source in sources if not source.is_file()]
    if missing:
        raise ValueError(f"{missing[0]} is not there; `dream-agents eval ... --json FILE` writes results")
    plot_tradeoff([result for source in sources for result in EvaluationRecord(source).results], out)


def _draw_curves(
    sources: list[Path], published: Path | None, task: str | None, out: Path, success: bool
) -> None:
    from dream_agents.evaluation import plot_learning_curve
    from dream_agents.runs import read_settings

    for run in sources:
        if not run.exists():
            raise FileNotFoundError(
                f"there is no {run}; name runs' folders, as `dream-agents train` makes them, or their "
                "evaluations.csv or episodes.csv"
            )
    if task is None:
        task = read_settings(_folder(sources[0])).env
    plot_learning_curve(_by_agent(sources), out, task, published, success=success)


def _by_agent(sources: list[Path]) -> dict[str, list[Path]]:
    """Runs by their label; those that differ only in their seed are together."""
    from dream_agents.runs import read_settings

    groups: dict[Any, list[Path]] = {}
    for source in dict.fromkeys(sources):
        folder = _folder(source)
        key: Any = str(folder)  # one that is no run's folder stands for itself
        if (folder / ARGS).is_file():
            settings = read_settings(folder)
            key = [getattr(settings, name) for name in _IDENTITY]
        groups.setdefault((source.name if source.is_file() else "", repr(key)), []).append(source)
    labels: dict[str, list[Path]] = {}
    for runs in groups.values():
        one = str(runs[0])  # whole, since folders of one name are runs of different agents
        labels[one if len(runs) == 1 else f"{read_settings(_folder(runs[0])).agent} ({one}, ...)"] = runs
    return labels


def _folder(source: Path) -> Path:
    """The folder of a run, of which this may be a file."""
    return source if source.is_dir() else source.parent
