"""``dream-agents demo``."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream_agents.cli.console import console, progress_bars, say

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent

Name = Annotated[str, typer.Option(help="An entry of the zoo, as `dream-agents zoo list` names it.")]
Episodes = Annotated[
    int | None,
    typer.Option(min=1, help="Episodes for each planner. Default: 1 to 5, by this machine's speed."),
]
Seed = Annotated[int, typer.Option(help="Seed of the episodes.")]
Video = Annotated[Path, typer.Option(help="Where the video goes.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]

_PLANNERS = ("policy", "mppi", "dream")
_BUDGET_SECONDS = 90.0
_TIMED_DECISIONS = 3
_MOST_EPISODES = 5


def demo(
    name: Name = "dream_mpc-walker-walk",
    episodes: Episodes = None,
    seed: Seed = 0,
    video: Video = Path("demo.mp4"),
    device: Device = "auto",
) -> None:
    """Let a trained model act with three planners on its real task: no download, about two minutes."""
    from dream_agents import zoo
    from dream_agents.cli.options import check_device
    from dream_agents.evaluation import compare, results_table
    from dream_agents.evaluation.video import check_video_path

    check_video_path(video)
    check_device(device)
    card = zoo.card(name)
    say(f"{card.name}: {card.agent}, trained in {card.environment} for {card.decisions} decisions")
    model = zoo.load(name, device=device)
    count = episodes or _affordable_episodes(model)
    with progress_bars() as update:
        results = compare(model, _PLANNERS, episodes=count, seed=seed, progress=update)
    console.print(results_table(results))
    _film(model, video, seed)
    say("")
    say(
        f"Train one yourself:  dream-agents train {shlex.quote(card.environment)} --model-size 1M --eval-every 5000"
    )
    say(
        f"Compare planners:    dream-agents eval {shlex.quote(name)} --planner dream,policy --set dream.iterations=2"
    )
    say("Read on:             docs/quickstart.md, docs/planners.md, and `dream-agents --help`")


def _affordable_episodes(model: WorldModelAgent) -> int:
    """As many episodes as all planners together can play here in the time that a demo may take."""
    import numpy as np

    from dream_agents.evaluation.planners import acting_with

    assert model.env is not None
    length = model.env.get_attr("spec", indices=[0])[0].max_episode_steps or 1000
    obs = model.env.reset()
    assert isinstance(obs, np.ndarray)
    seconds = 0.0
    for planner in _PLANNERS:
        with acting_with(model, planner):
            model.predict(obs, deterministic=True)  # the first call is slower
            began = time.perf_counter()
            for _ in range(_TIMED_DECISIONS):
                model.predict(obs, deterministic=True)
            seconds += (time.perf_counter() - began) / _TIMED_DECISIONS
    return max(1, min(_MOST_EPISODES, int(_BUDGET_SECONDS / (seconds * length))))


def _film(model: WorldModelAgent, video: Path, seed: int) -> None:
    """Film Dream-MPC, or say what is missing: the demo is worth running without a video, too."""
    from gymnasium.error import DependencyNotInstalled

    from dream_agents.evaluation import VideoUnavailableError, record_video
    from dream_agents.wrappers import RenderingUnavailableError

    try:
        total = record_video(model, video, planner="dream", seed=seed)
    except (RenderingUnavailableError, VideoUnavailableError, DependencyNotInstalled) as error:
        say(f"no video: {error}", style="yellow")
    else:
        say(f"video: {video} (dream, return {total:.1f})")
