"""``dream-agents eval``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream_agents.cli.console import console, progress_bars, say

if TYPE_CHECKING:
    from dream_agents.cli.bulk import Settings, Task
    from dream_agents.evaluation import EvaluationRecord, EvaluationResult

Sources = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Names in the zoo, runs' folders, saved .zips, or checkpoints."),
]
Env = Annotated[str | None, typer.Option(help="Environment's id. Default: what each model was trained in.")]
Planners = Annotated[
    str | None,
    typer.Option("--planner", help="Planners to compare: dream,mppi,policy. Default: the model's."),
]
Episodes = Annotated[int, typer.Option(min=1, help="Episodes for each model and planner.")]
NEnvs = Annotated[
    int | None, typer.Option(min=1, help="Environments side by side. Default: one an episode, ten at most.")
]
Subproc = Annotated[
    bool | None,
    typer.Option(
        "--subproc/--no-subproc",
        help="Step environments in processes, one a processor. Default: where that saves time.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the episodes, the same ones for each planner.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Agent = Annotated[str | None, typer.Option(help="Agent of a .zip that does not say it.")]
Stochastic = Annotated[bool, typer.Option("--stochastic", help="Keep the exploration noise.")]
Video = Annotated[Path | None, typer.Option(help="Film the first planner's first episode as an .mp4.")]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder for results.json and episodes.csv; the same command goes on from what is there."
    ),
]
Json = Annotated[Path | None, typer.Option("--json", help="Results as JSON; goes on from what is there.")]
Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv", help="A row an episode as CSV. Without --json or --out, a .json is written beside it."
    ),
]
UpdateCard = Annotated[bool, typer.Option("--update-card", help="Write the results into each model's card.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="An option of planners or of the environment, e.g. samples=128, dream.iterations=2, "
        "env_kwargs.height=480.",
    ),
]


def eval(
    models: Sources,
    env: Env = None,
    planner: Planners = None,
    episodes: Episodes = 10,
    n_envs: NEnvs = None,
    subproc: Subproc = None,
    seed: Seed = 0,
    device: Device = "auto",
    agent: Agent = None,
    stochastic: Stochastic = False,
    video: Video = None,
    out: Out = None,
    json: Json = None,
    csv: Csv = None,
    update_card: UpdateCard = False,
    set: Set = None,
) -> None:
    """Compare planners on one model or several: return with its 95% interval, times, decisions a second.

    Environments are stepped side by side and planned for in one batch. With --out, --json or --csv, episodes are
    written as they finish, and the same command goes on where it was stopped.
    """
    from dream_agents.cli.bulk import Settings, check_cards, evaluate_task, make_tasks, update_cards
    from dream_agents.cli.options import naming_unchecked_options, planner_options, split_environment_options
    from dream_agents.evaluation import EvaluationRecord

    names = [name.strip() for name in planner.split(",") if name.strip()] if planner else []
    env_kwargs, assignments = split_environment_options(set or ())
    settings = Settings(
        env, episodes, n_envs, subproc, seed, device, agent, not stochastic, env_kwargs, names, assignments
    )
    sources = list(dict.fromkeys(models))
    # Mistakes come to light before anything is loaded, or at least before anything is measured.
    if names:
        planner_options(assignments, names)
    if update_card:
        check_cards(sources, settings)
    if video is not None:
        _check_video(video, sources)
    files = _result_files(out, json, csv)
    record = EvaluationRecord(*files) if files else None
    results: list[EvaluationResult] = []
    with naming_unchecked_options(set or ()):
        tasks = make_tasks(sources, settings, record)
        with _stopping_in_order(record), progress_bars() as update:
            for task in tasks:
                label = "" if len(tasks) == 1 else f"{task.source} "
                results += evaluate_task(task, settings, record, _labelled(update, label))
    _show(sources, results)
    if files:
        say(f"results: {', '.join(str(file) for file in files if file is not None)}")
    if update_card:
        update_cards(results)
    if video is not None:
        _film(video, tasks[0], settings)


def _result_files(out: Path | None, json: Path | None, csv: Path | None) -> tuple[Path, Path | None] | None:
    """The JSON file that results go to, and the CSV file, where they are asked for.

    :raises OSError: if they can't be written
    """
    from dream_agents.cli.options import check_output

    if out is not None:
        json, csv = json or out / "results.json", csv or out / "episodes.csv"
    if json is None and csv is not None:
        json = csv.with_suffix(".json")
    if json is None:
        return None
    for path in (json, csv):
        if path is not None:
            check_output(path)
    return json, csv


def _labelled(update: Callable[[str, float], None], label: str) -> Callable[[str, float], None]:
    return lambda name, done: update(label + name, done)


@contextmanager
def _stopping_in_order(record: EvaluationRecord | None) -> Iterator[None]:
    """Say after Ctrl-C what there is and how to go on.

    :raises typer.Exit: with the exit code that shells give to what was interrupted
    """
    try:
        yield
    except KeyboardInterrupt:
        if record is None:
            say("stopped; with --out FOLDER, results would have been kept", style="yellow")
        else:
            count = sum(result.episodes for result in record.results)
            say(
                f"stopped; {record.path} holds {count} episodes, and the same command goes on from there",
                style="yellow",
            )
        raise typer.Exit(130) from None


def _show(sources: list[str], results: list[EvaluationResult]) -> None:
    from dream_agents.evaluation import results_table

    if len(sources) == 1:
        console.print(sources[0], markup=False, highlight=False, soft_wrap=True)
    console.print(results_table(results))


def _check_video(video: Path, sources: list[str]) -> None:
    """Check that there can be a video.

    :raises ValueError: for another format, and more than one model
    :raises ImportError: if a package for videos is missing
    """
    from dream_agents.cli.options import check_output
    from dream_agents.evaluation.video import check_video_available, check_video_path

    if len(sources) > 1:
        raise ValueError(f"--video films one model; {len(sources)} are named: {', '.join(sources)}")
    check_video_path(video)
    check_video_available()
    check_output(video)


def _film(video: Path, task: Task, settings: Settings) -> None:
    """Film the first planner in episode 0."""
    from dream_agents.cli.bulk import make_planners
    from dream_agents.evaluation import record_video

    model = settings.load(task.source) if task.model is None else task.model
    name, planner = next(iter(make_planners(model, settings.planners, settings.assignments).items()))
    total = record_video(
        model, video, settings.env, planner, seed=settings.seed, env_kwargs=settings.env_kwargs
    )
    say(f"video: {video} ({name}, return {total:.1f})")
