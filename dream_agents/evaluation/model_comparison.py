"""Several models with the same settings: all of them are tried first, then each is measured."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dream_agents.evaluation.compare import compare, recorded, weights_checksum
from dream_agents.evaluation.environments import processes_pay, try_environment
from dream_agents.evaluation.planners import planner_name
from dream_agents.evaluation.settings import EvaluationSettings
from dream_agents.runs.loading import load_model
from dream_agents.wrappers import task_info

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.sac import SAC
    from dream_agents.evaluation.record import EvaluationRecord
    from dream_agents.evaluation.result import EvaluationResult
    from dream_agents.planners import Planner

#: Called with a model's source, the planner's name, and the share of its decisions that is done.
Progress = Callable[[str, str, float], None]


def own_planner(model: WorldModelAgent | SAC) -> dict[str, Planner | None]:
    """Return the planner that a model acts with, by its name; ``"policy"`` for agents that have none.

    :param model: an agent
    """
    planner = getattr(model, "planner", None)
    return {"policy" if planner is None else planner_name(planner): planner}


@dataclasses.dataclass(frozen=True)
class CheckedModel:
    """A model that can be evaluated as it is asked for.

    :param source: what the user calls it
    :param settings: how it is evaluated; whether in processes is decided
    :param model: the model itself, where there is only one; others are loaded again when it is their turn
    """

    source: str
    settings: EvaluationSettings
    model: WorldModelAgent | SAC | None = None


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """Models by what they are called, each with its planners, on the same episodes.

        >>> comparison = ModelComparison(EvaluationSettings(episodes=100))
        >>> results = comparison.evaluate(comparison.check(["runs/walk", "tdmpc2-walker-walk"]))

    One model at a time is in memory. Mistakes come to light in :meth:`check`, before anything is measured.

    :param settings: episodes, seed and environments; ``in_processes`` decides in place of ``vec_env_cls``
    :param env: the environment's id; None for each model's own
    :param planners: says which planners act for a model, by the names that the results have; by default its own
    :param load: loads a model, given what the user calls it and ``env``
    :param in_processes: whether environments are stepped in processes; None for where it saves time
    :param record: where finished episodes go; those that it holds already are not played again
    :param notice: told where processes are chosen, and why
    """

    settings: EvaluationSettings
    env: str | None = None
    planners: Callable[[WorldModelAgent | SAC], Mapping[str, Planner | None]] = own_planner
    load: Callable[[str, str | None], WorldModelAgent | SAC] = load_model
    in_processes: bool | None = None
    record: EvaluationRecord | None = None
    notice: Callable[[str], Any] = warnings.warn

    def check(self, sources: Sequence[str]) -> list[CheckedModel]:
        """Load each model and try its planners, its environment and the record.

        :param sources: what the user calls the models
        :raises ValueError: for what can't be evaluated; loading and environments may raise anything
        """
        unique = list(dict.fromkeys(sources))
        return [self._check(source, is_only_one=len(unique) == 1) for source in unique]

    def evaluate(
        self, models: Sequence[CheckedModel], progress: Progress | None = None
    ) -> list[EvaluationResult]:
        """Evaluate each model with each of its planners; what the record holds already is not done again.

        :param models: what :meth:`check` returned
        :param progress: called with the model's source, the planner's name and the share of its decisions that is done
        """
        results = []
        for checked in models:
            model = self.model_of(checked)
            results += compare(
                model,
                self.planners(model),
                self.env,
                settings=checked.settings,
                progress=None if progress is None else partial(progress, checked.source),
                name=checked.source,
                record=self.record,
            )
        return results

    def model_of(self, checked: CheckedModel) -> WorldModelAgent | SAC:
        """Return a checked model, loaded again where it was not kept.

        :param checked: one of those that :meth:`check` returned
        """
        return self.load(checked.source, self.env) if checked.model is None else checked.model

    def _check(self, source: str, is_only_one: bool) -> CheckedModel:
        model = self.load(source, self.env)
        planners = self.planners(model)
        step_seconds = try_environment(model, self.env, self.settings.env_kwargs)
        if self.record is not None:
            checksum = weights_checksum(model)
            recorded(self.record, model, planners, self.env, source, self.settings, checksum)
        in_processes = self.in_processes
        if in_processes is None:
            in_processes = self._processes_pay(model, len(planners), step_seconds)
        settings = self.settings.but(vec_env_cls="subproc" if in_processes else "dummy")
        return CheckedModel(source, settings, model if is_only_one else None)

    def _processes_pay(self, model: WorldModelAgent | SAC, planners: int, step_seconds: float) -> bool:
        """Tell whether processes save time; if so, it is said why."""
        from dream_agents.evaluation.processes import usable_processors

        n_envs = self.settings.side_by_side
        length = None if model.env is None else task_info(model.env).max_episode_steps
        decisions = planners * self.settings.episodes * (length or 1000)
        pays = processes_pay(step_seconds, n_envs, decisions, usable_processors())
        if pays:
            self.notice(
                f"a step of the environment takes {1e3 * step_seconds:.1f} ms: {n_envs} of them are stepped in "
                f"{min(n_envs, usable_processors())} processes"
            )
        return pays
