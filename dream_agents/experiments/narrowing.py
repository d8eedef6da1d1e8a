"""A part of an experiment: some of its tasks, agents and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from dream_agents.experiments.spec import Experiment


def narrowed(
    experiment: Experiment,
    tasks: Sequence[str] = (),
    agents: Sequence[str] = (),
    seeds: Sequence[int] = (),
    episodes: int | None = None,
) -> Experiment:
    """Keep some tasks, agents and seeds of an experiment; what is left out is among its changes.

    :param experiment: the whole
    :param tasks: ids that stay; none for all
    :param agents: names that stay; none for all
    :param seeds: seeds in place of the experiment's; none for these
    :param episodes: of an evaluation, in place of the experiment's
    :raises ValueError: for a task or an agent that the experiment does not have
    """
    tasks, agents = list(dict.fromkeys(tasks)), list(dict.fromkeys(agents))
    seeds = list(dict.fromkeys(seeds))
    changed: dict[str, Any] = {}
    changes = list(experiment.changes)
    for name, wanted, known in (
        ("tasks", tasks, experiment.tasks),
        ("agents", agents, list(experiment.agents)),
    ):
        unknown = [item for item in wanted if item not in known]
        if unknown:
            raise ValueError(f"{experiment.name} has no {unknown[0]!r}; its {name} are {', '.join(known)}")
        if wanted and len(wanted) < len(known):
            changes.append(f"{name} {', '.join(wanted)} of {len(known)}")
    if tasks:
        changed["tasks"] = tuple(tasks)
    if agents:
        changed["agents"] = {name: experiment.agents[name] for name in agents}
        columns = [c for c in experiment.report.get("columns", ()) if c["agent"] in agents]
        others = {name: value for name, value in experiment.report.items() if name != "columns"}
        changed["report"] = others | ({"columns": columns} if columns else {})
    if seeds:
        changes.append(
            f"seeds {', '.join(map(str, seeds))} in place of {', '.join(map(str, experiment.seeds))}"
        )
        changed["seeds"] = tuple(seeds)
    if episodes is not None:
        changes.append(f"{episodes} episodes in place of {experiment.evaluation.episodes}")
        changed["evaluation"] = dataclasses.replace(experiment.evaluation, episodes=episodes)
    return dataclasses.replace(experiment, **changed, changes=tuple(changes))
