"""``dream-agents experiment``: the paper's tables and one's own, by one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream_agents.cli.console import console, say

if TYPE_CHECKING:
    from rich.table import Table

    from dream_agents.experiments import Experiment, Job, RunStatus

app = typer.Typer(
    no_args_is_help=True, help="Experiments: agents on tasks with seeds, from one command to a report."
)

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A packaged experiment's name, or a .toml file.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the experiment. Default: experiments/NAME.")]
Scale = Annotated[str, typer.Option(help="paper: as it says; cpu: cut for a laptop, days for large tables.")]
Frames = Annotated[int | None, typer.Option(min=1, help="Frames of each run, in place of the experiment's.")]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--tasks", metavar="ID", help="Only this task; may be given several times."),
]
Agents = Annotated[
    list[str] | None,
    typer.Option("--agents", metavar="NAME", help="Only this agent; may be given several times."),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option("--seeds", help="This seed, in place of its own; may be given several times."),
]
Episodes = Annotated[int | None, typer.Option(min=1, help="Episodes of an evaluation, in place of its own.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes side by side.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each.")]
Ray = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help='A Ray cluster; "auto" for the one this machine is part of.'),
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of an experiment.")]
PublishedFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--published", metavar="FILE", help="Published curves, as for `plot`; may be given several times."
    ),
]
Films = Annotated[bool, typer.Option(help="Film every agent, if the machine can render.")]


@app.command("list")
def list_() -> None:
    """List the packaged experiments."""
    from rich.table import Table

    from dream_agents.experiments import packaged_experiments, read_experiment

    table = Table("name", "title", "agents", "tasks", "seeds", "frames")
    for name, path in packaged_experiments().items():
        experiment = read_experiment(path, name=name)
        counts = (len(experiment.agents), len(experiment.tasks), len(experiment.seeds), experiment.frames)
        table.add_row(name, experiment.title, *map(str, counts))
    console.print(table)


@app.command()
def show(spec: Spec, scale: Scale = "paper", frames: Frames = None) -> None:
    """Say what an experiment does: its runs, planners and evaluations, and what a scale changes."""
    experiment = _read(spec, scale, frames)
    say(f"{experiment.name}: {experiment.title}")
    if experiment.about:
        say(experiment.about)
    for change in experiment.changes:
        say(f"changed: {change}")
    say(f"agents: {', '.join(variant.title for variant in experiment.agents.values())}")
    say(f"tasks: {', '.join(experiment.tasks)}")
    say(f"seeds: {', '.join(map(str, experiment.seeds))}; {experiment.frames} frames each")
    planners = ", ".join(variant.title for variant in experiment.planners.values())
    say(f"evaluated with: {planners}; {experiment.evaluation.episodes} episodes")
    trained = sum(variant.agent is not None for variant in experiment.agents.values())
    say(f"{trained * len(experiment.tasks) * len(experiment.seeds)} runs in all")


@app.command()
def run(
    spec: Spec,
    out: Out = None,
    scale: Scale = "paper",
    frames: Frames = None,
    tasks: Tasks = None,
    agents: Agents = None,
    seeds: Seeds = None,
    episodes: Episodes = None,
    workers: Workers = 2,
    threads: Threads = 1,
    ray: Ray = None,
) -> None:
    """Train and evaluate what an experiment asks for; the same command goes on where it was interrupted."""
    from rich.live import Live

    from dream_agents.experiments import Engine, narrowed, status_of

    experiment = narrowed(_read(spec, scale, frames), tasks or (), agents or (), seeds or (), episodes)
    folder = Path("experiments") / experiment.name if out is None else out
    for change in experiment.changes:
        say(f"changed: {change}")
    engine = Engine(experiment, folder, workers, threads)
    _check_options(engine.jobs)
    with Live(console=console, auto_refresh=False, transient=not console.is_terminal) as live:

        def tick() -> None:
            live.update(_table(status_of(engine.jobs, folder)), refresh=console.is_terminal)

        try:
            if ray is None:
                failures = engine.run(tick)
            else:
                from dream_agents.experiments.on_ray import run_on_ray

                failures = run_on_ray(engine, ray or None, tick)
        except KeyboardInterrupt:
            say(
                f"stopped; the same command goes on. `dream-agents experiment status {folder}` says how far it is"
            )
            raise typer.Exit(130) from None
    for failure in failures:
        say(f"failed: {failure.job}: {failure.error}; all it said: {failure.log}", style="red")
    done = sum(job.is_done() for job in engine.jobs)
    say(f"{done} of {len(engine.jobs)} done; results: {folder / 'results.csv'}")
    if failures:
        raise typer.Exit(1)


@app.command()
def status(folder: Folder) -> None:
    """Say how far an experiment is, while it runs or after."""
    from dream_agents.experiments import jobs_of, status_of
    from dream_agents.experiments.about import experiment_in

    experiment = experiment_in(folder)
    console.print(_table(status_of(jobs_of(experiment, folder), folder)))


@app.command()
def report(folder: Folder, published: PublishedFiles = None, films: Films = True) -> None:
    """Write one page with tables, curves, aggregates and films, and the same as PNG, CSV and Markdown."""
    from dream_agents.experiments.report import write_report

    say(f"report: {write_report(folder, published or (), films)}")


def _read(spec: str, scale: str, frames: int | None) -> Experiment:
    from dream_agents.experiments import find_experiment, read_experiment

    name, path = find_experiment(spec)
    return read_experiment(path, scale, frames, name)


def _check_options(jobs: list[Job]) -> None:
    """Find mistakes in options before anything starts.

    :raises ValueError: for unknown options, and values of another type
    """
    from dream_agents.cli.options import agent_keywords, planner_options

    for job in jobs:
        settings = job.settings
        if settings is not None:
            agent_keywords(settings.agent, settings.options, settings.planner)
        for planner in job.planners:
            if planner.planner is not None:
                planner_options(
                    [f"{name}={value}" for name, value in planner.options.items()], [planner.planner]
                )


def _table(statuses: list[RunStatus]) -> Table:
    from rich.table import Table

    done = sum(status.state == "done" for status in statuses)
    left = [status.seconds_left for status in statuses if status.seconds_left]
    title = f"{done} of {len(statuses)} done"
    if left:
        title += f", the longest run has {_time(max(left))} left"
    table = Table("run", "state", "decisions", "last return", "left", title=title, title_justify="left")
    for status in statuses:
        decisions = f"{status.decisions} of {status.of}" if status.of else ""
        last = "" if status.last_return is None else f"{status.last_return:.1f}"
        table.add_row(status.name, status.error or status.state, decisions, last, _time(status.seconds_left))
    return table


def _time(seconds: float | None) -> str:
    if not seconds:
        return ""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
