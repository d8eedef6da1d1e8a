"""What ``train --resume`` checks before it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.sac import SAC
    from dream_agents.runs import RunSettings


def is_finished(folder: Path, settings: RunSettings) -> bool:
    """Tell whether a run has come to its end, so that there is nothing to go on with.

    :param folder: the run's folder
    :param settings: what it is asked for now
    :raises ValueError: if it has a final model that is newer than every good checkpoint: what came between would be
        done again, and end in another model
    """
    from dream_agents.agents.checkpoint import newest_good_checkpoint
    from dream_agents.runs import CHECKPOINTS, FINAL
    from dream_agents.runs.loading import decisions_of, saved_decisions

    final = folder / FINAL
    if not final.is_file():
        return False
    done = saved_decisions(final)
    if done >= settings.decisions:
        return True
    try:
        newest = decisions_of(newest_good_checkpoint(folder / CHECKPOINTS))
    except FileNotFoundError:
        newest = 0
    if newest < done:
        raise ValueError(
            f"{final} has {done} decisions, but the newest good checkpoint has {newest or 'none'}: to go on from there "
            f"would make another model. Move {FINAL} out of {folder} to do that, or start another run with another "
            "--out"
        )
    return False


def check_same_run(folder: Path, settings: RunSettings, agent: WorldModelAgent | SAC) -> None:
    """Compare what ``args.json`` says with what the checkpoint holds.

    :param folder: the run's folder
    :param settings: what ``args.json`` says
    :param agent: what was loaded from the checkpoint
    :raises ValueError: naming what differs: one of them is another run's
    """
    from dream_agents.runs import ARGS, CHECKPOINTS

    differing = [
        f"{name} {said}, the checkpoint {held}"
        for name, (said, held) in _pairs(settings, agent).items()
        if said != held
    ]
    if differing:
        raise ValueError(
            f"{folder / ARGS} and {folder / CHECKPOINTS} are not of the same run: {ARGS} says {'; '.join(differing)}. "
            "Put back the one that was replaced, or start another run with another --out"
        )


def _pairs(settings: RunSettings, agent: WorldModelAgent | SAC) -> dict[str, tuple[Any, Any]]:
    """By option, what the settings say and what the agent has, where both can be compared."""
    from dream_agents.cli.options import agent_keywords

    pairs: dict[str, tuple[Any, Any]] = {
        "ENV": (settings.env, agent.task.env),
        "--seed": (settings.seed, agent.seed),
        "--n-envs": (settings.n_envs, agent.n_envs),
    }
    if settings.model_size is not None:
        pairs["--model-size"] = (settings.model_size, getattr(agent, "model_size", None))
    for name, value in agent_keywords(settings.agent, settings.options, settings.planner).items():
        for key, said, held in _options(agent, name, value):
            if isinstance(said, bool | int | float | str) and isinstance(held, bool | int | float | str):
                pairs[f"--set {key}"] = (said, held)
    return pairs


def _options(agent: WorldModelAgent | SAC, name: str, value: Any) -> list[tuple[str, Any, Any]]:
    """Options of a group, or the one option, with what the agent has."""
    groups = {
        "env_kwargs": agent.task.env_kwargs,
        "learner_kwargs": vars(getattr(agent, "learner_config", agent)),
        "planner_kwargs": vars(getattr(agent, "planner", agent)),
    }
    if name in groups and isinstance(value, dict):
        return [(f"{name}.{key}", said, groups[name].get(key)) for key, said in value.items()]
    return [(name, value, getattr(agent, name, None))]
