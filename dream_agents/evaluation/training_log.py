"""The tables of a run, written while it learns."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.base import WorldModelAgent
from dream_agents.agents.sac import SAC
from dream_agents.evaluation.environments import check_ends, evaluation_env_of
from dream_agents.evaluation.evaluate import evaluate
from dream_agents.evaluation.settings import EvaluationSettings
from dream_agents.runs.folder import EPISODES, EVALUATIONS
from dream_agents.runs.settings import RunSettings
from dream_agents.runs.tables import EPISODE_COLUMNS, EVALUATION_COLUMNS, RunTable


class TrainingLog(BaseCallback):
    """Writes ``episodes.csv``, evaluates the agent between decisions, and writes ``evaluations.csv``.

    :param folder: the run's folder
    :param settings: the run's settings
    :param decisions: decisions so far
    :param evaluating: called before each evaluation
    """

    model: WorldModelAgent | SAC

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        decisions: int = 0,
        evaluating: Callable[[], None] = lambda: None,
    ):
        super().__init__()
        self.settings, self.evaluating = settings, evaluating
        self.episodes = RunTable(folder / EPISODES, EPISODE_COLUMNS, decisions)
        self.evaluations: RunTable | None = None
        self._evaluated = decisions
        if settings.eval_every:
            self.evaluations = RunTable(folder / EVALUATIONS, EVALUATION_COLUMNS, decisions)
            self._evaluated = int(self.evaluations.kept[-1]["decisions"]) if self.evaluations.kept else 0
        self._eval_settings = EvaluationSettings(episodes=settings.eval_episodes, seed=settings.seed)
        self._eval_env: VecEnv | None = None
        earlier = float(self.episodes.kept[-1]["seconds"]) if self.episodes.kept else 0.0
        self._began = time.perf_counter() - earlier

    def _on_training_start(self) -> None:
        """Ask for a limit before hours of learning, where an evaluation would not end."""
        if self.settings.eval_every:
            check_ends(self.training_env)

    def _on_rollout_start(self) -> None:
        """Evaluate, if it is time and all updates are done."""
        every = self.settings.eval_every
        if self.model.updates_left > 0:
            return
        if every and self.model.num_timesteps // every > self._evaluated // every:
            self._evaluate()

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self._log_episode(info["episode"])
        return True

    def _on_training_end(self) -> None:
        if self.settings.eval_every and self.model.num_timesteps > self._evaluated:
            self._evaluate()

    def _log_episode(self, episode: dict[str, Any]) -> None:
        self.episodes.write(
            **self._now(),
            **{"return": episode["r"]},
            length=episode["l"],
            seconds=round(time.perf_counter() - self._began, 3),
        )

    def _evaluate(self) -> None:
        assert self.evaluations is not None
        self._evaluated = self.model.num_timesteps
        self.evaluating()
        if self._eval_env is None:
            self._eval_env = evaluation_env_of(self.model, None, self._eval_settings)
        result = evaluate(self.model, self._eval_env, settings=self._eval_settings)
        self.evaluations.write(
            **self._now(),
            planner=result.planner,
            mean=result.mean,
            std=result.std,
            episodes=result.episodes,
            success_rate="" if result.success_rate is None else result.success_rate,
        )
        self.logger.record("eval/mean_reward", result.mean)
        self.logger.record("eval/std_reward", result.std)
        # Otherwise they would be written at a later decision, and the last ones never.
        self.logger.dump(self.num_timesteps)

    def _now(self) -> dict[str, int]:
        return {"decisions": self.num_timesteps, "frames": self.model.env_frames}

    def close(self) -> None:
        """Close the environments of the evaluations."""
        if self._eval_env is not None:
            self._eval_env.close()
