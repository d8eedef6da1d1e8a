"""How a training run is doing, on the terminal or as lines in a log."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from types import TracebackType

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from stable_baselines3.common.callbacks import BaseCallback

from dream_agents.agents.base import WorldModelAgent
from dream_agents.agents.sac import SAC
from dream_agents.cli.console import notes, say

_WINDOW_SECONDS = 60.0
_REDRAW_SECONDS = 0.25
_LINE_SECONDS = 30.0


class TrainingDisplay:
    """Shows return, updates and decisions a second, and the time left.

    On a terminal a bar is redrawn in place; anywhere else a line is written every half a minute.

    :param total: decisions at the end of the run
    :param decisions: decisions so far
    """

    def __init__(self, total: int, decisions: int = 0):
        self.total = total
        self.returns: deque[float] = deque(maxlen=10)
        self._marks: deque[tuple[float, int, int]] = deque()  # time, decisions, updates
        self._last_shown = float("-inf")
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[status]}"))
        self._progress = Progress(*columns, console=notes, disable=not notes.is_terminal)
        self._task = self._progress.add_task("", total=total, completed=decisions, status="")

    def __enter__(self) -> TrainingDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(
        self,
        decisions: int,
        updates: int,
        note: str = "",
        seconds_left: float | None = None,
        urgent: bool = False,
    ) -> None:
        """Show the state of the run, if the last time is long enough ago or it is urgent.

        :param decisions: decisions so far
        :param updates: updates so far
        :param note: what the run is busy with
        :param seconds_left: what the rest of the run takes; None if that is not known
        :param urgent: show it at once
        """
        now = time.perf_counter()
        interval = _REDRAW_SECONDS if notes.is_terminal else _LINE_SECONDS
        if not urgent and now - self._last_shown < interval:
            return
        self._last_shown = now
        self._marks.append((now, decisions, updates))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW_SECONDS:
            self._marks.popleft()
        status = " | ".join(part for part in (self._returns(), self._rates(seconds_left), note) if part)
        self._progress.update(self._task, completed=decisions, status=status)
        if not notes.is_terminal:
            say(f"{decisions}/{self.total} decisions" + (f" | {status}" if status else ""))

    def _returns(self) -> str:
        if not self.returns:
            return ""
        return f"return {self.returns[-1]:.1f} (mean of {len(self.returns)}: {np.mean(self.returns):.1f})"

    def _rates(self, seconds_left: float | None) -> str:
        """Rates over the last minute, and the time that is left."""
        (began, first_decisions, first_updates), (now, decisions, updates) = self._marks[0], self._marks[-1]
        if now <= began:
            return ""
        speed = (decisions - first_decisions) / (now - began)
        rates = f"{(updates - first_updates) / (now - began):.1f} updates/s | {speed:.1f} decisions/s"
        return rates if seconds_left is None else f"{rates} | {timedelta(seconds=round(seconds_left))} left"


class ShowTraining(BaseCallback):
    """Feeds a display while an agent learns.

    :param display: where progress is shown
    """

    model: WorldModelAgent | SAC

    def __init__(self, display: TrainingDisplay):
        super().__init__()
        self.display = display

    def show(self, note: str) -> None:
        """Show the state of the run, with what it is busy with.

        :param note: e.g. ``"evaluating"``
        """
        self._update(note, urgent=True)

    def _update(self, note: str = "", urgent: bool = False) -> None:
        model = self.model
        self.display.update(model.num_timesteps, model._n_updates, note, model.seconds_left(), urgent)

    def _on_rollout_start(self) -> None:
        """Show updates that make up for the random decisions while they are done, too."""
        if self.model.updates_left > 0:
            self._update("learning from the random decisions")

    def _on_step(self) -> bool:
        episodes = (info["episode"] for info in self.locals["infos"] if "episode" in info)
        self.display.returns.extend(episode["r"] for episode in episodes)
        note = self._note()
        self._update(note, urgent=note != "")
        return True

    def _on_training_end(self) -> None:
        self.show("done")

    def _note(self) -> str:
        """Say what a long silence is about to be for: the updates that make up for the random decisions."""
        starts = int(self.model.learning_starts)
        is_first_round = starts < self.num_timesteps <= starts + self.training_env.num_envs
        return "learning from the random decisions" if is_first_round and self.model._n_updates == 0 else ""
