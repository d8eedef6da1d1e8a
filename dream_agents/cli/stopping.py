"""Ctrl-C and SIGTERM while a run learns."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stable_baselines3.common.callbacks import BaseCallback

from dream_agents.cli.console import say


class TrainingStoppedError(Exception):
    """The user asked a run to stop; the agent is between two decisions, with every update done."""


class StopOnRequest(BaseCallback):
    """Stops a run between two decisions once ``requested`` is true.

    :raises TrainingStoppedError: out of ``learn``
    """

    def __init__(self) -> None:
        super().__init__()
        self.requested = False

    def _on_rollout_start(self) -> None:
        if self.requested:
            raise TrainingStoppedError

    def _on_step(self) -> bool:
        return True


@contextmanager
def stopping_in_order(stop: StopOnRequest) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the run after the current decision; a second one stops it at once.

    :param stop: a callback of the run
    """

    def request_stop(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True
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
