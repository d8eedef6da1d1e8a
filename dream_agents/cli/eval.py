"""``dream-agents eval``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream_agents.cli.console import console, progress_bars, say

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.sac import SAC
    from dream_agents.evaluation import EvaluationRecord, EvaluationResult, ModelComparison
    from dream_agents.evaluation.model_comparison import CheckedModel
    from dream_agents.planners import Planner

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Names in the zoo, runs' folders, checkpoints; or .zips that you trust, since they hold pickles.",
    ),
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
        "--csv", help="A row an episode as CSV. Without --json or --out, a .json is written next to it."
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
    from dream_agents.cli.cards import check_cards, update_cards
    from dream_agents.cli.options import (
        check_device,
        naming_unchecked_options,
        planner_options,
        split_environment_options,
    )
    from dream_agents.evaluation import EvaluationRecord, EvaluationSettings, ModelComparison
    from dream_agents.files import only_writer
    from dream_agents.runs import load_model

    names = [name.strip() for name in planner.split(",") if name.strip()] if planner else []
    env_kwargs, assignments = split_environment_options(set or ())
    settings = EvaluationSettings(
        episodes=episodes, seed=seed, n_envs=n_envs, deterministic=not stochastic, env_kwargs=env_kwargs
    )
    sources = list(dict.fromkeys(models))
    # Mistakes come to light before anything is loaded, or at least before anything is measured.
    if names:
        planner_options(assignments, names)
    if update_card:
        check_cards(sources, env, settings)
    if video is not None:
        _check_video(video, sources)
    files = _result_files(out, json, csv)
    check_device(device)
    with nullcontext() if out is None else only_writer(out), naming_unchecked_options(set or ()):
        comparison = ModelComparison(
            settings,
            env,
            planners=partial(_planners_for, names=names, assignments=assignments),
            load=partial(load_model, device=device, agent=agent, notice=say),
            in_processes=subproc,
            record=EvaluationRecord(*files) if files else None,
            notice=lambda text: say(f"{text} (--no-subproc keeps them in this one)"),
        )
        checked = comparison.check(sources)
        with _stopping_in_order(comparison.record), progress_bars() as update:
            results = comparison.evaluate(checked, _labelled(update, len(sources)))
    _show(sources, results)
    if files:
        say(f"results: {', '.join(str(file) for file in files if file is not None)}")
    if update_card:
        update_cards(results)
    if video is not None:
        _film(video, comparison, checked[0])


def _planners_for(
    model: WorldModelAgent | SAC, names: list[str], assignments: list[str]
) -> dict[str, Planner | None]:
    """Make the planners that are asked for; the model's own one keeps the options that it has.

    :raises ValueError: for unknown planners and options, and for planners of an agent that has none
    """
    from dream_agents.cli.options import planner_options
    from dream_agents.evaluation.model_comparison import own_planner
    from dream_agents.evaluation.planners import planner_for

    own = own_planner(model)
    if not names and not assignments:
        return own
    if not hasattr(model, "planner"):
        option, given = ("--planner", names) if names else ("--set", assignments)
        raise ValueError(
            f"{option} {','.join(given)}: {type(model).__name__} has no world model to plan in; leave it out"
        )
    options = planner_options(assignments, names or list(own))
    return {name: planner_for(model, name, **given) for name, given in options.items()}


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


def _labelled(update: Callable[[str, float], None], models: int) -> Callable[[str, str, float], None]:
    """Name a bar after the planner, and where there are several models after both."""

    def show(model: str, planner: str, done: float) -> None:
        update(planner if models == 1 else f"{model} {planner}", done)

    return show


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


def _film(video: Path, comparison: ModelComparison, checked: CheckedModel) -> None:
    """Film the first planner in episode 0."""
    from dream_agents.evaluation import record_video

    model, settings = comparison.model_of(checked), comparison.settings
    name, planner = next(iter(comparison.planners(model).items()))
    total = record_video(
        model, video, comparison.env, planner, seed=settings.seed, env_kwargs=settings.env_kwargs
    )
    say(f"video: {video} ({name}, return {total:.1f})")
