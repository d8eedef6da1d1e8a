"""What an experiment's engine has to do: runs to train and evaluate, each in a folder of its own."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dream_agents.experiments.spec import AgentVariant, Experiment, PlannerVariant, agent_takes
from dream_agents.runs import CHECKPOINTS, FINAL, RunSettings

#: folder of the runs, and of their evaluations, in the experiment's folder
RUNS, EVALUATIONS = "runs", "evaluations"


@dataclasses.dataclass(frozen=True)
class Job:
    """An agent on a task with a seed: trained, if it has to be, then evaluated with each planner.

    :param experiment: what it belongs to
    :param variant: the agent
    :param task: id of the environment
    :param seed: of the run; of a trained model's evaluations there is only one, 0
    :param folder: the experiment's
    """

    experiment: Experiment
    variant: AgentVariant
    task: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """The name of its folders."""
        return "/".join((plain(self.variant.name), plain(self.task), str(self.seed)))

    @property
    def run(self) -> Path:
        """The run's folder, as ``dream-agents train`` makes it."""
        return self.folder / RUNS / self.name

    @property
    def source(self) -> str:
        """What is evaluated: the run's folder, or the trained model."""
        return self.variant.model or str(self.run)

    @property
    def planners(self) -> list[PlannerVariant]:
        """The planners that evaluate it."""
        wanted = self.variant.planners
        return [
            planner for name, planner in self.experiment.planners.items() if wanted is None or name in wanted
        ]

    @property
    def action_repeat(self) -> int:
        """Frames a decision."""
        return _action_repeat(self.task)

    @property
    def settings(self) -> RunSettings | None:
        """What the run is asked for; None for a trained model."""
        if self.variant.agent is None:
            return None
        repeat, evaluation = self.action_repeat, self.experiment.evaluation
        return RunSettings(
            env=self.task,
            agent=self.variant.agent,
            decisions=max(1, self.experiment.frames // repeat),
            seed=self.seed,
            model_size=self.variant.model_size,
            planner=self.variant.planner,
            eval_every=evaluation.every_frames // repeat,
            eval_episodes=evaluation.every_episodes,
            checkpoint_every=max(1, self.experiment.checkpoint_frames // repeat),
            keep_checkpoints=self.experiment.keep_checkpoints,
            options=tuple(f"{name}={value}" for name, value in self.variant.options.items()),
        )

    # --------------------------------------------------------------------------- commands

    def training(self) -> list[str] | None:
        """Words of ``dream-agents`` that train it, or go on; None where it is trained."""
        if self.is_trained():
            return None
        settings = self.settings
        assert settings is not None
        if (self.run / "args.json").is_file():
            return ["train", "--resume", "--out", str(self.run), "--decisions", str(settings.decisions)]
        words = ["train", settings.env, "--agent", settings.agent, "--out", str(self.run)]
        for name in (
            "decisions",
            "seed",
            "model_size",
            "planner",
            "eval_every",
            "eval_episodes",
            "checkpoint_every",
            "keep_checkpoints",
        ):
            value = getattr(settings, name)
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        for option in settings.options:
            words += ["--set", option]
        return words

    def evaluations(self) -> Iterator[list[str]]:
        """Words of ``dream-agents`` that evaluate it, or go on, for each planner that has not finished."""
        for planner in self.planners:
            if not self.is_evaluated(planner):
                yield self._evaluation(planner)

    def _evaluation(self, planner: PlannerVariant) -> list[str]:
        evaluation = self.experiment.evaluation
        words = ["eval", self.source, "--episodes", str(evaluation.episodes), "--seed", str(evaluation.seed)]
        if self.variant.model is not None:
            words += ["--env", self.task]
        if evaluation.n_envs is not None:
            words += ["--n-envs", str(evaluation.n_envs)]
        if planner.planner is not None:
            words += ["--planner", planner.planner]
        for name, value in planner.options.items():
            words += ["--set", f"{name}={value}"]
        return [*words, "--no-subproc", "--out", str(self.evaluation_folder(planner))]

    # ------------------------------------------------------------------------ what there is

    def evaluation_folder(self, planner: PlannerVariant) -> Path:
        """Where the evaluation with a planner goes."""
        return self.folder / EVALUATIONS / self.name / plain(planner.name)

    def is_trained(self) -> bool:
        """Whether the run is finished, or there is nothing to train."""
        settings = self.settings
        if settings is None:
            return True
        made = self._final_decisions()
        return made is not None and made >= settings.decisions

    def is_outdated(self) -> bool:
        """Whether its final model, and what it was evaluated to, is an earlier, shorter run's."""
        return self._final_decisions() is not None and not self.is_trained()

    def decisions_made(self) -> int:
        """Decisions of its final model or of a checkpoint, whichever has most."""
        from dream_agents.runs.loading import decisions_of

        checkpoints = (self.run / CHECKPOINTS).glob("checkpoint_*")
        return max([self._final_decisions() or 0, *map(decisions_of, checkpoints)])

    def _final_decisions(self) -> int | None:
        from dream_agents.runs.loading import saved_decisions

        final = self.run / FINAL
        return saved_decisions(final) if final.is_file() else None

    def result(self, planner: PlannerVariant) -> dict[str, Any] | None:
        """What the evaluation with a planner has found so far, as ``dream-agents eval`` writes it; None for nothing."""
        path = self.evaluation_folder(planner) / "results.json"
        if not path.is_file():
            return None
        try:
            results: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
        except (ValueError, KeyError, TypeError):
            return None  # ``dream-agents eval`` refuses such a file, and says what to do
        # A folder that was moved, or is named in another way, begins another result.
        return max(results, key=lambda result: len(result["returns"]), default=None)

    def is_evaluated(self, planner: PlannerVariant) -> bool:
        """Whether the evaluation with a planner is finished."""
        found = self.result(planner)
        return found is not None and len(found["returns"]) >= self.experiment.evaluation.episodes

    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.is_trained() and all(self.is_evaluated(planner) for planner in self.planners)

    def drop_outdated_evaluations(self) -> None:
        """Remove evaluations of a run that has not ended yet: they are an earlier, shorter run's."""
        if not self.is_trained():
            shutil.rmtree(self.folder / EVALUATIONS / self.name, ignore_errors=True)


def jobs_of(experiment: Experiment, folder: Path) -> list[Job]:
    """All that an experiment has to do, seed by seed, so that every agent has one seed before any has two.

    :param folder: the experiment's
    """
    jobs = []
    trained = [variant for variant in experiment.agents.values() if variant.agent is not None]
    ready = [variant for variant in experiment.agents.values() if variant.agent is None]
    jobs += [Job(experiment, variant, task, 0, folder) for variant in ready for task in experiment.tasks]
    for seed in experiment.seeds:
        for task in experiment.tasks:
            jobs += [Job(experiment, variant, task, seed, folder) for variant in trained]
    return jobs


def check_jobs(experiment: Experiment) -> None:
    """Find mistakes before anything starts; ``dream-agents experiment run`` checks agents' options, too.

    :raises ValueError: for unknown tasks, agents and planners, planners' options, and planners of agents without any
    """
    from dream_agents.planners import make_planner
    from dream_agents.registry import agents

    for task in experiment.tasks:
        _action_repeat(task)
    named = set()
    for name, planner in experiment.planners.items():
        if planner.planner is None:
            continue
        named.add(name)
        try:
            make_planner(planner.planner, **planner.options)
        except ValueError as error:
            raise ValueError(f"planners.{name}: {error}") from error
    for variant in experiment.agents.values():
        if variant.agent is None:
            continue
        agents.get(variant.agent)
        refused = named.intersection(experiment.planners if variant.planners is None else variant.planners)
        if refused and not agent_takes(variant.agent, "planner"):
            raise ValueError(
                f"agents.{variant.name}: the agent {variant.agent!r} has no world model to plan in, so that the "
                f"planner {min(refused)!r} can't evaluate it; give it `planners = [...]`, with a planner of the "
                "experiment that names no `planner`, which is the agent's own way to act"
            )


@functools.cache
def _action_repeat(task: str) -> int:
    """Frames a decision; kept, since an environment is made to tell, and progress is shown every second.

    :raises ValueError: for an unknown task
    """
    from dream_agents.wrappers import describe

    return describe(task).action_repeat or 1


def plain(name: str) -> str:
    """A name that a file can have."""
    return re.sub(r"[^A-Za-z0-9_.,=-]", "_", name)
