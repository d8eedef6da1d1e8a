"""What ``dream-agents eval`` measures: its settings, its models, and the cards that results go into."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dream_agents.cli.console import say
from dream_agents.cli.options import check_device, planner_options
from dream_agents.runs import is_entry, load_model

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.sac import SAC
    from dream_agents.evaluation import EvaluationRecord, EvaluationResult
    from dream_agents.planners import Planner


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is asked for, the same for each model.

    :param env: the environment's id; None for each model's own
    :param episodes: episodes for each model and planner
    :param n_envs: environments side by side; None for one an episode, ten at most
    :param subproc: whether to step them in processes; None for where it saves time
    :param seed: seed of the episodes
    :param device: PyTorch's device, or "auto"
    :param agent: name of the agent where a file does not say it
    :param deterministic: whether exploration noise is left out
    :param env_kwargs: keyword arguments of the environment
    :param planners: names of planners; none for each model's own
    :param assignments: texts of ``--set`` that are planners' options
    """

    env: str | None
    episodes: int
    n_envs: int | None
    subproc: bool | None
    seed: int
    device: str
    agent: str | None
    deterministic: bool
    env_kwargs: dict[str, Any]
    planners: list[str]
    assignments: list[str]

    def load(self, source: str) -> WorldModelAgent | SAC:
        """Load a model."""
        check_device(self.device)
        return load_model(source, self.env, self.device, self.agent, notice=say)


@dataclasses.dataclass
class Task:
    """A model to evaluate, checked.

    :param source: what the user calls it
    :param in_processes: whether its environments are stepped in processes
    :param model: the model, where there is only one; others are loaded again when it is their turn
    """

    source: str
    in_processes: bool
    model: WorldModelAgent | SAC | None


def make_tasks(sources: Sequence[str], settings: Settings, record: EvaluationRecord | None) -> list[Task]:
    """Load each model and try its planners, its environment and the record, before anything is measured.

    :raises ValueError: for what can't be evaluated, beside whatever loading and environments raise
    """
    from dream_agents.evaluation.compare import recorded, weights_checksum
    from dream_agents.evaluation.environments import environment_options, try_environment

    tasks = []
    for source in sources:
        model = settings.load(source)
        planners = make_planners(model, settings.planners, settings.assignments)
        step_seconds = try_environment(model, settings.env, settings.env_kwargs)
        if record is not None:
            recorded(
                record,
                model,
                planners,
                settings.env,
                source,
                checksum=weights_checksum(model),
                env_kwargs=environment_options(model, settings.env, settings.env_kwargs),
                seed=settings.seed,
                deterministic=settings.deterministic,
            )
        in_processes = _takes_processes(model, settings, len(planners), step_seconds)
        tasks.append(Task(source, in_processes, model if len(sources) == 1 else None))
    return tasks


def _takes_processes(
    model: WorldModelAgent | SAC, settings: Settings, planners: int, step_seconds: float
) -> bool:
    """What the user says, or whether processes save time; then it is said why."""
    from dream_agents.evaluation.environments import processes_pay, side_by_side
    from dream_agents.evaluation.processes import usable_processors
    from dream_agents.wrappers import task_info

    if settings.subproc is not None:
        return settings.subproc
    n_envs = side_by_side(settings.episodes, settings.n_envs)
    length = None if model.env is None else task_info(model.env).max_episode_steps
    decisions = planners * settings.episodes * (length or 1000)
    pays = processes_pay(step_seconds, n_envs, decisions, usable_processors())
    if pays:
        say(
            f"a step of the environment takes {1e3 * step_seconds:.1f} ms: {n_envs} of them are stepped in "
            f"{min(n_envs, usable_processors())} processes (--no-subproc keeps them in this one)"
        )
    return pays


def evaluate_task(
    task: Task,
    settings: Settings,
    record: EvaluationRecord | None,
    progress: Callable[[str, float], None],
) -> list[EvaluationResult]:
    """Evaluate one model with each planner; what the record holds already is not done again."""
    from dream_agents.evaluation import compare

    model = settings.load(task.source) if task.model is None else task.model
    return compare(
        model,
        make_planners(model, settings.planners, settings.assignments),
        settings.env,
        episodes=settings.episodes,
        seed=settings.seed,
        n_envs=settings.n_envs,
        deterministic=settings.deterministic,
        vec_env_cls="subproc" if task.in_processes else "dummy",
        env_kwargs=settings.env_kwargs,
        progress=progress,
        name=task.source,
        record=record,
    )


def make_planners(
    model: WorldModelAgent | SAC, names: list[str], assignments: list[str]
) -> dict[str, Planner | None]:
    """Make the planners that are asked for; the model's own one keeps the options that it has.

    :raises ValueError: for planners of an agent that has none, beside what an unknown one raises
    """
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


def check_cards(sources: Sequence[str], settings: Settings) -> None:
    """Check that every model has a card that can be written, and that it can say how the results came about.

    :raises ValueError: if it can't
    :raises PermissionError: if its folder can't be written to
    """
    if settings.env_kwargs or not settings.deterministic:
        given = "--set env_kwargs" if settings.env_kwargs else "--stochastic"
        raise ValueError(f"{given}: a card has no place to say that; leave it or --update-card out")
    for source in sources:
        card_folder(source, settings.env)


def card_folder(source: str, env: str | None = None) -> Path:
    """Find the folder whose card takes a model's results.

    :param source: what the user calls the model
    :param env: the environment of the results; None for the model's own
    :raises ValueError: if there is no card, or it is of another environment
    :raises PermissionError: if its folder can't be written to
    """
    from dream_agents.wrappers import resolve
    from dream_agents.zoo.catalog import find
    from dream_agents.zoo.sources import is_address

    if not is_entry(source):
        raise ValueError(
            f"--update-card: {source} has no card; make it an entry of the zoo first: dream-agents zoo export {source} "
            "FOLDER"
        )
    entry = find(source)
    if entry.folder is None or is_address(source):
        raise ValueError(
            f"--update-card: the card of {source} is not a file of yours; make a copy: dream-agents zoo export "
            f"{source} FOLDER"
        )
    if env is not None and resolve(env)[1] != entry.card.environment:
        raise ValueError(f"--update-card: the card of {source} is about {entry.card.environment}, not {env}")
    if not os.access(entry.folder, os.W_OK):
        raise PermissionError(
            f"--update-card: nothing can be written to {entry.folder}, where the card of {source} is; make a copy of "
            f"that folder and name it instead of {source}"
        )
    return entry.folder


def update_cards(results: Sequence[EvaluationResult]) -> None:
    """Write results into their models' cards, in place of those of the same planners."""
    from dream_agents import zoo

    for source in dict.fromkeys(result.model for result in results):
        folder, measured = card_folder(source), []
        for result in results:
            if result.model != source:
                continue
            one = zoo.Result.from_evaluation(result)
            measured.append(one)
            if result.success_rate is not None:
                rate = result.success_rate
                spread = (rate * (1 - rate)) ** 0.5
                measured.append(dataclasses.replace(one, mean=rate, std=spread, measure="success"))
        zoo.record_results(folder, measured)
        say(f"results are in the model card in {folder}")
