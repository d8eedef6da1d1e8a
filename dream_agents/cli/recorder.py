"""What ``dream-agents train`` does beside learning: log episodes, evaluate, show progress, stop in good order."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.base import WorldModelAgent
from dream_agents.agents.sac import SAC
from dream_agents.cli.console import say
from dream_agents.cli.display import TrainingDisplay
from dream_agents.cli.run_folder import EPISODES, EVALUATIONS, CsvLog, RunSettings
from dream_agents.evaluation import evaluate
from dream_agents.evaluation.environments import evaluation_env_of

_EPISODE_COLUMNS = ("decisions", "frames", "return", "length", "seconds")
_EVALUATION_COLUMNS = ("decisions", "frames", "planner", "mean", "std", "episodes", "success_rate")


class TrainingStoppedError(Exception):
    """The user asked a run to stop; the agent is between two decisions, with every update done."""


class RunRecorder(BaseCallback):
    """Writes ``episodes.csv`` and ``evaluations.csv``, feeds the display, and stops the run when asked.

    :param folder: the run's folder
    :param settings: the run's settings
    :param decisions: decisions so far
    :param display: where progress is shown
    """

    model: WorldModelAgent | SAC

    def __init__(self, folder: Path, settings: RunSettings, decisions: int, display: TrainingDisplay):
        super().__init__()
        self.settings, self.display = settings, display
        self.stop_requested = False
        self.episodes = CsvLog(folder / EPISODES, _EPISODE_COLUMNS, decisions)
        display.returns.extend(float(row["return"]) for row in self.episodes.kept[-10:])
        self.evaluations: CsvLog | None = None
        self._evaluated = decisions
        if settings.eval_every:
            self.evaluations = CsvLog(folder / EVALUATIONS, _EVALUATION_COLUMNS, decisions)
            self._evaluated = int(self.evaluations.kept[-1]["decisions"]) if self.evaluations.kept else 0
        self._eval_env: VecEnv | None = None
        earlier = float(self.episodes.kept[-1]["seconds"]) if self.episodes.kept else 0.0
        self._began = time.perf_counter() - earlier

    def _on_rollout_start(self) -> None:
        """Between two decisions, after the updates: the place to evaluate and to stop at."""
        every = self.settings.eval_every
        if every and self.model.num_timesteps // every > self._evaluated // every:
            self._evaluate()
        if self.stop_requested:
            raise TrainingStoppedError

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self._log_episode(info["episode"])
        self.display.update(self.num_timesteps, self.model._n_updates, self._note())
        return True

    def _on_training_end(self) -> None:
        if self.settings.eval_every and self.model.num_timesteps > self._evaluated:
            self._evaluate()
        self.display.update(self.num_timesteps, self.model._n_updates, "done")

    def _note(self) -> str:
        """Say what a long silence is about to be for: the updates that make up for the random decisions."""
        starts = int(self.model.learning_starts)
        is_first_round = starts < self.num_timesteps <= starts + self.training_env.num_envs
        return "learning from the random decisions" if is_first_round and self.model._n_updates == 0 else ""

    def _log_episode(self, episode: dict[str, Any]) -> None:
        self.display.returns.append(episode["r"])
        self.episodes.write(
            **self._now(),
            **{"return": episode["r"]},
            length=episode["l"],
            seconds=round(time.perf_counter() - self._began, 3),
        )

    def _evaluate(self) -> None:
        assert self.evaluations is not None
        self._evaluated = self.model.num_timesteps
        self.display.update(self.num_timesteps, self.model._n_updates, "evaluating")
        if self._eval_env is None:
            self._eval_env = evaluation_env_of(self.model, None, self.settings.eval_episodes)
        episodes, seed = self.settings.eval_episodes, self.settings.seed
        result = evaluate(self.model, self._eval_env, episodes=episodes, seed=seed)
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


@contextmanager
def stopping_in_order(recorder: RunRecorder) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the run after the current decision; a second one stops it at once."""

    def request_stop(number: int, frame: FrameType | None) -> None:
        if recorder.stop_requested:
            raise KeyboardInterrupt
        recorder.stop_requested = True
        say(
            "stopping after this decision and its updates; press Ctrl-C again to stop at once", style="yellow"
        )

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, request_stop) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
