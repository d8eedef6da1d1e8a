"""Several planners on one world model and the same episodes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dream_agents.evaluation.environments import environment_name, environment_options, evaluation_env_of
from dream_agents.evaluation.evaluate import evaluate
from dream_agents.evaluation.planners import options_of, planner_for
from dream_agents.evaluation.result import EvaluationResult
from dream_agents.evaluation.settings import EvaluationKeywords, EvaluationSettings
from dream_agents.wrappers.make import EnvLike

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv
    from typing_extensions import Unpack

    from dream_agents.evaluation.record import EvaluationRecord
    from dream_agents.planners import Planner


def compare(
    model: BaseAlgorithm,
    planners: Sequence[str] | Mapping[str, str | Planner | None],
    env: EnvLike | VecEnv | None = None,
    *,
    settings: EvaluationSettings | None = None,
    progress: Callable[[str, float], None] | None = None,
    name: str = "",
    record: EvaluationRecord | None = None,
    **keywords: Unpack[EvaluationKeywords],
) -> list[EvaluationResult]:
    """Evaluate each planner on the same model and the same episodes.

    :param model: a world-model agent; its own planner is what it was afterwards
    :param planners: names, or planners by the names that they are to have in the results; the name of the agent's
        own planner means that one, with the options that it has, and so does None, for agents without a planner, too
    :param env: as for :func:`evaluate`
    :param settings: episodes, seed and environments; None for the defaults
    :param progress: called with the planner's name and the share of its decisions that is done
    :param name: what the results are to call the model
    :param record: where finished episodes go as soon as they are finished; those that it holds already are not played
        again. Episodes that are added later start from the states that they would have started from, but a planner
        that draws random numbers draws others for them than it would have in one go.
    :param keywords: fields of :class:`~dream_agents.evaluation.settings.EvaluationSettings`, e.g. ``episodes=20``;
        they come before ``settings``
    :raises ValueError: for no planner, an unknown one, whatever :func:`evaluate` refuses, and a record of the same
        model and planner with other weights or settings
    """
    from stable_baselines3.common.vec_env import VecEnv

    settings = (settings or EvaluationSettings()).but(**keywords)
    if not planners:
        raise ValueError("there is no planner to compare")
    named = planners if isinstance(planners, Mapping) else {planner: planner for planner in planners}
    ready = {
        label: None if planner is None else planner_for(model, planner) for label, planner in named.items()
    }
    checksum = "" if record is None else weights_checksum(model)
    env_kwargs = environment_options(model, env, settings.env_kwargs)
    results: dict[str, EvaluationResult | None] = dict.fromkeys(ready)
    if record is not None:
        results = recorded(record, model, ready, env, name, settings, checksum)
    missing = {label: settings.episodes - (one.episodes if one else 0) for label, one in results.items()}
    if max(missing.values()) > 0:
        vec_env = evaluation_env_of(model, env, settings.but(episodes=max(missing.values())))
        try:
            for label in [label for label, count in missing.items() if count > 0]:
                about = {"model": name, "checksum": checksum, "planner": label, "env_kwargs": env_kwargs}
                part = _Part(results[label], about, record)
                result = evaluate(
                    model,
                    vec_env,
                    ready[label],
                    settings=settings.but(episodes=missing[label]),
                    progress=None if progress is None else partial(progress, label),
                    first_episode=settings.episodes - missing[label],
                    finished=None if record is None else part.keep,
                )
                results[label] = part.whole(result)
        finally:
            if not isinstance(env, VecEnv):
                vec_env.close()
    return [one.first(settings.episodes) for one in results.values() if one is not None]


class _Part:
    """Episodes of one planner that follow what a record holds already."""

    def __init__(
        self, before: EvaluationResult | None, about: dict[str, Any], record: EvaluationRecord | None
    ):
        self._before, self._about, self._record = before, about, record

    def whole(self, result: EvaluationResult) -> EvaluationResult:
        """All episodes, with the names that they are to have."""
        result = dataclasses.replace(result, **self._about)
        return result if self._before is None else self._before.followed_by(result)

    def keep(self, result: EvaluationResult) -> None:
        """Write all episodes to the record."""
        assert self._record is not None
        self._record.keep(self.whole(result))


def recorded(
    record: EvaluationRecord,
    model: BaseAlgorithm,
    planners: Mapping[str, Planner | None],
    env: EnvLike | VecEnv | None,
    name: str,
    settings: EvaluationSettings,
    checksum: str,
) -> dict[str, EvaluationResult | None]:
    """Find what a record holds of each planner.

    :param record: the record
    :param model: an agent
    :param planners: planners by the names that they have in the results; None for the agent's own, or none at all
    :param env: as for :func:`compare`
    :param name: what the results call the model
    :param settings: as for :func:`compare`
    :param checksum: of the model's weights
    :raises ValueError: if it holds one with other settings
    """
    expected = {
        "checksum": checksum,
        "env_kwargs": environment_options(model, env, settings.env_kwargs),
        "seed": settings.seed,
        "deterministic": settings.deterministic,
    }
    if env is None or isinstance(env, str):
        expected["env"] = environment_name(model, env)
    own = getattr(model, "planner", None)
    return {
        label: record.find(name, label, options_of(own if planner is None else planner), **expected)
        for label, planner in planners.items()
    }


def weights_checksum(model: BaseAlgorithm) -> str:
    """SHA-256 over names, types, shapes and values of what an agent acts with, wherever it was loaded from."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in model.policy.state_dict().items():
        if not isinstance(tensor, torch.Tensor):
            continue
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
