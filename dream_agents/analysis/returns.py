"""What planners predict against what is obtained then (Section D.3, Fig. 15)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dream_agents.agents.base import WorldModelAgent
from dream_agents.analysis.playing import PlayedEpisode, play
from dream_agents.evaluation.environments import evaluation_env_of
from dream_agents.evaluation.planners import options_of, planner_for, planner_name
from dream_agents.evaluation.settings import EvaluationSettings
from dream_agents.planners import Planner
from dream_agents.runs import CHECKPOINTS, load_model
from dream_agents.runs.loading import decisions_of


@dataclass(frozen=True)
class ReturnRow:
    """One decision: the return that was predicted, and the one that was obtained.

    :param model: what the model is called
    :param seed: seed of the model, where it has one
    :param decisions: decisions that it has learned for
    :param frames: the same in frames of the simulator
    :param planner: name of the planner that acts
    :param episode: number of the episode
    :param step: decision in it
    :param predicted: the planner's objective of its plan, less its penalty where it has one
    :param actual: discounted rewards up to the episode's end, and where that is a time limit the model's value there
    :param bootstrapped: weight of that value in ``actual``
    :param over_horizon: discounted rewards of the next H steps and the model's value of the state reached then; with
        ``predicted`` it has the value function in common, so that only dynamics and rewards are compared
    """

    model: str
    seed: int | None
    decisions: int
    frames: int
    planner: str
    episode: int
    step: int
    predicted: float
    actual: float
    bootstrapped: float
    over_horizon: float


def compare_returns(
    agent: WorldModelAgent,
    planner: str | Planner | None = None,
    env: Any = None,
    *,
    settings: EvaluationSettings | None = None,
    model: str = "",
) -> list[ReturnRow]:
    """Compare predicted with obtained returns at every decision of an evaluation.

    A planner that sums rewards without a value at the end (``terminal_value=False``) predicts an undiscounted sum over
    H steps. Both obtained returns are that sum, too, and states with less than H steps left are passed over.

    :param agent: an agent with a world model
    :param planner: the planner that acts, by name or made; None for the agent's own
    :param env: as for :func:`~dream_agents.evaluation.evaluate`
    :param settings: episodes and their seed; None for the defaults
    :param model: what rows call the model
    :raises ValueError: for agents without a world model, and unknown planners
    """
    if not isinstance(agent, WorldModelAgent):
        raise ValueError(f"{type(agent).__name__} has no world model that could predict returns")
    settings = settings or EvaluationSettings()
    acting = agent.planner if planner is None else planner_for(agent, planner)
    options = options_of(acting)
    environments = evaluation_env_of(agent, env, settings)
    was_training = agent.policy.training
    agent.policy.set_training_mode(False)
    try:
        episodes = play(agent.policy, acting, environments, settings)
    finally:
        agent.policy.set_training_mode(was_training)
        environments.close()
    about = (model, agent.seed, agent.num_timesteps, agent.env_frames, planner_name(acting))
    horizon, discount = options.get("horizon", 0), agent.world_model.discount
    rows = []
    for number, episode in enumerate(episodes):
        if options.get("terminal_value", True):
            returns = discounted_returns(episode, discount, horizon)
        else:
            returns = sums_of_rewards(episode, horizon)
        for step, obtained in enumerate(returns):
            rows.append(ReturnRow(*about, number, step, episode.predicted[step], *obtained))
    return rows


def discounted_returns(
    episode: PlayedEpisode, discount: float, horizon: int
) -> list[tuple[float, float, float]]:
    """For each decision the return to the end, the weight of the value in it, and the return over the horizon."""
    rewards, values = np.array(episode.rewards), np.array(episode.values)
    length = len(rewards)
    discounts = discount ** np.arange(length + 1)
    found = []
    for t in range(length):
        weight = discounts[length - t]
        to_end = discounts[: length - t] @ rewards[t:] + weight * values[length]
        steps = min(horizon, length - t)
        over_horizon = discounts[:steps] @ rewards[t : t + steps] + discounts[steps] * values[t + steps]
        found.append((float(to_end), 0.0 if episode.terminated else float(weight), float(over_horizon)))
    return found


def sums_of_rewards(episode: PlayedEpisode, horizon: int) -> list[tuple[float, float, float]]:
    """The same for planners that sum the rewards of H steps, where as many are left."""
    if len(episode.rewards) < horizon:
        return []
    sums = np.convolve(episode.rewards, np.ones(horizon), "valid")
    return [(float(total), 0.0, float(total)) for total in sums]


def models_over_training(
    run: str | Path, device: str = "auto", notice: Callable[[str], Any] = warnings.warn
) -> Iterator[WorldModelAgent]:
    """Load the models of a run one by one: its checkpoints in the order of decisions, and what it ended with.

    `dream-agents train --keep-checkpoints 100` keeps more of them than the two newest. Damaged ones are passed over.

    :param run: a run's folder; or whatever else `dream-agents eval` takes, which gives one model
    :param device: PyTorch's device, or "auto"
    :param notice: told of what is passed over
    :raises ValueError: if there is no model with a world model
    """
    from dream_agents.agents.checkpoint import find_checkpoints

    checkpoints = {decisions_of(path): path for path in find_checkpoints(Path(run) / CHECKPOINTS)}
    seen = set()
    for decisions, checkpoint in sorted(checkpoints.items()):
        try:
            agent = load_model(checkpoint, device=device, notice=notice)
        except FileNotFoundError as error:  # says which ones are damaged
            notice(str(error))
            continue
        seen.add(decisions)
        yield with_world_model(agent, checkpoint)
    agent = load_model(run, device=device, notice=notice)
    if agent.num_timesteps not in seen:
        yield with_world_model(agent, run)


def with_world_model(agent: Any, source: str | Path) -> WorldModelAgent:
    """Return the agent.

    :param agent: what was loaded
    :param source: from where
    :raises ValueError: if it has no world model
    """
    if not isinstance(agent, WorldModelAgent):
        raise ValueError(f"{source} is a {type(agent).__name__}, which has no world model to analyse")
    return agent


def returns_over_training(
    run: str | Path,
    planner: str | Planner | None = None,
    *,
    settings: EvaluationSettings | None = None,
    device: str = "auto",
    model: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[ReturnRow]:
    """:func:`compare_returns` for every model of a run, see :func:`models_over_training`.

    :param run: a run's folder
    :param planner: as for :func:`compare_returns`
    :param settings: as for :func:`compare_returns`
    :param device: PyTorch's device, or "auto"
    :param model: what rows call the run; None for its path
    :param progress: called with the decisions of each model that has been evaluated
    """
    rows = []
    for agent in models_over_training(run, device):
        rows += compare_returns(agent, planner, settings=settings, model=str(run) if model is None else model)
        if progress is not None:
            progress(agent.num_timesteps)
    return rows
