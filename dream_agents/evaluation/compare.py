"""Several planners on one world model and the same episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dream_agents.evaluation.evaluate import evaluate, evaluation_env_of
from dream_agents.evaluation.planners import planner_for
from dream_agents.evaluation.result import EvaluationResult
from dream_agents.wrappers.make import EnvLike

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

    from dream_agents.planners import Planner


def compare(
    model: BaseAlgorithm,
    planners: Sequence[str] | Mapping[str, str | Planner | None],
    env: EnvLike | VecEnv | None = None,
    *,
    episodes: int = 10,
    seed: int = 0,
    n_envs: int | None = None,
    deterministic: bool = True,
    vec_env_cls: str = "dummy",
    env_kwargs: dict[str, Any] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> list[EvaluationResult]:
    """Evaluate each planner on the same model and the same episodes.

    :param model: a world-model agent; its own planner is what it was afterwards
    :param planners: names, or planners by the names that they are to have in the results; the name of the agent's
        own planner means that one, with the options that it has, and so does None, for agents without a planner, too
    :param env: as for :func:`evaluate`, like every other parameter
    :param progress: called with the planner's name and the share of its decisions that is done
    :raises ValueError: for no planner, an unknown one, and whatever :func:`evaluate` refuses
    """
    from stable_baselines3.common.vec_env import VecEnv

    named = planners if isinstance(planners, Mapping) else {name: name for name in planners}
    if not named:
        raise ValueError("there is no planner to compare")
    ready = {
        name: None if planner is None else planner_for(model, planner) for name, planner in named.items()
    }
    vec_env = evaluation_env_of(model, env, episodes, n_envs, vec_env_cls, env_kwargs)
    results = []
    try:
        for name, planner in ready.items():
            report = None if progress is None else partial(progress, name)
            result = evaluate(
                model,
                vec_env,
                planner,
                episodes=episodes,
                seed=seed,
                deterministic=deterministic,
                progress=report,
            )
            results.append(dataclasses.replace(result, planner=name))
    finally:
        if not isinstance(env, VecEnv):
            vec_env.close()
    return results
