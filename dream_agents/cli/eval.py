"""``dream-agents eval``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream_agents.cli.console import console, progress_bars, say

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.sac import SAC
    from dream_agents.evaluation import EvaluationResult
    from dream_agents.planners import Planner

Source = Annotated[
    str, typer.Argument(metavar="MODEL", help="Name in the zoo, run's folder, saved .zip, or checkpoint.")
]
Env = Annotated[str | None, typer.Option(help="Environment's id. Default: what the model was trained in.")]
Planners = Annotated[
    str | None,
    typer.Option("--planner", help="Planners to compare: dream,mppi,policy. Default: the model's."),
]
Episodes = Annotated[int, typer.Option(min=1, help="Episodes for each planner.")]
NEnvs = Annotated[
    int | None, typer.Option(min=1, help="Environments side by side. Default: one an episode, ten at most.")
]
Subproc = Annotated[bool, typer.Option("--subproc", help="Give each environment a process of its own.")]
Seed = Annotated[int, typer.Option(help="Seed of the episodes, the same ones for each planner.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Agent = Annotated[str | None, typer.Option(help="Agent of a .zip that does not say it.")]
Stochastic = Annotated[bool, typer.Option("--stochastic", help="Keep the exploration noise.")]
Video = Annotated[Path | None, typer.Option(help="Film the first planner's first episode as an .mp4.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")]
CardFolder = Annotated[
    Path | None, typer.Option("--card", help="Write the results into the model card in this folder.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="An option of a planner or of the environment, e.g. dream.iterations=2, env_kwargs.height=480.",
    ),
]


def eval(
    model: Source,
    env: Env = None,
    planner: Planners = None,
    episodes: Episodes = 10,
    n_envs: NEnvs = None,
    subproc: Subproc = False,
    seed: Seed = 0,
    device: Device = "auto",
    agent: Agent = None,
    stochastic: Stochastic = False,
    video: Video = None,
    json: Json = None,
    card: CardFolder = None,
    set: Set = None,
) -> None:
    """Compare planners on one model: return with its 95% interval, and milliseconds a decision."""
    from dream_agents.cli.loading import load_model
    from dream_agents.cli.options import (
        blaming_options,
        check_output,
        planner_options,
        split_environment_options,
    )
    from dream_agents.evaluation import compare, record_video, results_table, write_results

    names = [name.strip() for name in planner.split(",") if name.strip()] if planner else []
    if card is not None and set:
        raise ValueError("--card takes results of planners and environments as they are; leave --set out")
    env_kwargs, assignments = split_environment_options(set or ())
    _check_targets(video, card)  # mistakes come to light before anything is loaded
    if names:
        planner_options(assignments, names)
    loaded = load_model(model, env, device, agent)
    planners = _make_planners(loaded, names, assignments)
    for path in (json, video):
        if path is not None:
            check_output(path)
    with blaming_options(set or ()), progress_bars() as update:
        results = compare(
            loaded,
            planners,
            env,
            episodes=episodes,
            seed=seed,
            n_envs=n_envs,
            deterministic=not stochastic,
            vec_env_cls="subproc" if subproc else "dummy",
            env_kwargs=env_kwargs,
            progress=update,
        )
    console.print(model, markup=False, highlight=False, soft_wrap=True)
    console.print(results_table(results))
    if json is not None:
        write_results(json, results, model=model)
        say(f"results: {json}")
    if card is not None:
        _write_card(card, results)
    if video is not None:
        shown = planners[results[0].planner]
        total = record_video(loaded, video, env, shown, seed=seed, env_kwargs=env_kwargs)
        say(f"video: {video} ({results[0].planner}, return {total:.1f})")


def _check_targets(video: Path | None, card: Path | None) -> None:
    """Check that there can be a video, and that there is a card.

    :raises ValueError: if the video has another format, or the folder holds no card
    :raises ImportError: if a package for videos is missing
    """
    from dream_agents import zoo
    from dream_agents.evaluation.video import check_video_available, check_video_path

    if video is not None:
        check_video_path(video)
        check_video_available()
    if card is not None:
        zoo.card(card)


def _make_planners(
    model: WorldModelAgent | SAC, names: list[str], assignments: list[str]
) -> dict[str, Planner | None]:
    """Make the planners that are asked for; the model's own one keeps the options that it has.

    :raises ValueError: for planners of an agent that has none, beside what an unknown one raises
    """
    from dream_agents.cli.options import planner_options
    from dream_agents.evaluation.planners import planner_for, planner_name

    if not hasattr(model, "planner"):
        for option, given in (("--planner", names), ("--set", assignments)):
            if given:
                raise ValueError(
                    f"{option} {','.join(given)}: {type(model).__name__} has no world model to plan in; leave it out"
                )
        return {"policy": None}
    own = planner_name(model.planner)
    if not names and not assignments:
        return {own: model.planner}
    options = planner_options(assignments, names or [own])
    return {name: planner_for(model, name, **given) for name, given in options.items()}


def _write_card(folder: Path, results: list[EvaluationResult]) -> None:
    import numpy as np

    from dream_agents import zoo

    measured = []
    for result in results:
        returns = zoo.Result.from_evaluation(result)
        measured.append(returns)
        if result.successes is not None:
            mean, std = float(np.mean(result.successes)), float(np.std(result.successes))
            measured.append(dataclasses.replace(returns, mean=mean, std=std, measure="success"))
    zoo.record_results(folder, measured)
    say(f"results are in the model card in {folder}")
