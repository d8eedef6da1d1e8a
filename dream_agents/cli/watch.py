"""``dream-agents watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dream_agents.cli.console import say

Source = Annotated[
    str, typer.Argument(help="A zoo entry, a run's folder, or a saved agent.", metavar="MODEL")
]
Planner = Annotated[str | None, typer.Option(help="Planner to begin with. Default: the agent's own.")]
Env = Annotated[str | None, typer.Option(help="Environment's id where MODEL does not say it.")]
Port = Annotated[int, typer.Option(help="Port of the page.")]
Host = Annotated[str, typer.Option(help="Address to listen on: 0.0.0.0 lets other machines look, and steer.")]
Seed = Annotated[int, typer.Option(help="Seed of the episodes.")]
Record = Annotated[Path | None, typer.Option(help="Write a film (.mp4) of one episode in place of a page.")]
Decisions = Annotated[
    int | None, typer.Option(min=1, help="Decisions of the film. Default: the whole episode.")
]
Seconds = Annotated[
    float | None, typer.Option(min=0, help="Close the page after so long. Default: on Ctrl-C.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]


def watch(
    source: Source,
    planner: Planner = None,
    env: Env = None,
    port: Port = 8080,
    host: Host = "127.0.0.1",
    seed: Seed = 0,
    record: Record = None,
    decisions: Decisions = None,
    seconds: Seconds = None,
    device: Device = "auto",
) -> None:
    """Open a page that shows what a planner thinks: its candidates, their imagined returns, and its plan as a ghost.

    Switch planners and their options while it runs, push the robot, and see where the simulator takes the plan.
    """
    from dream_agents.evaluation.environments import task_of
    from dream_agents.evaluation.video import check_video_available, check_video_path
    from dream_agents.runs.loading import load_model
    from dream_agents.watch.page import import_viser
    from dream_agents.watch.session import Session
    from dream_agents.wrappers import make_env

    if record is None:
        import_viser()
    else:
        check_video_path(record)
        check_video_available()
    model = load_model(source, env=env, device=device, notice=say)
    place, options = task_of(model, env, None)
    if record is not None and isinstance(place, str):
        options["render_mode"] = "rgb_array"
    session = Session(model, lambda: make_env(place, **options), seed)
    try:
        if planner is not None:
            session.set_planner(planner)
        if record is None:
            _show(session, host, port, seconds)
        else:
            _film(session, record, decisions)
    finally:
        session.close()


def _show(session: object, host: str, port: int, seconds: float | None) -> None:
    from dream_agents.watch.page import Page

    page = Page(session, host, port)  # type: ignore[arg-type]
    try:
        say(
            f"{page.url}  (Ctrl-C ends it; from another machine: ssh -L {page.port}:127.0.0.1:{page.port} HOST)"
        )
        page.run(seconds)
    except KeyboardInterrupt:
        say("closed")
    finally:
        page.close()


def _film(session: object, path: Path, decisions: int | None) -> None:
    from dream_agents.watch.film import record

    total = record(session, path, decisions)  # type: ignore[arg-type]
    say(f"{path} (return {total:.1f})")
