"""How long learning takes: the pace that was seen, what is left, and what to say of it."""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from datetime import timedelta

import torch
from stable_baselines3.common.callbacks import ProgressBarCallback

#: seconds after which the first line is due, and between lines while random decisions are made up for
_FIRST, _BETWEEN = 3.0, 30.0
#: what takes no longer than this is not announced, and what takes longer than that is too long
_SHORT, _DAYS = 60.0, 86_400.0
_WINDOW, _MANY = 100, 1000


class Pace:
    """Seconds of decisions and updates while an agent learns, and lines about it on standard error.

    Where there is a progress bar, the lines stand next to it.

    :param name: what the agent is called
    :param device: where it learns
    :param left: random decisions, decisions by the agent and updates that are left
    :param bar: the progress bar; None for none
    """

    def __init__(
        self,
        name: str,
        device: torch.device,
        left: Callable[[], tuple[int, int, int]],
        bar: ProgressBarCallback | None = None,
    ):
        self.name, self.device, self.left, self.bar = name, device, left, bar
        #: seconds of each of the last random decisions, decisions by the agent and updates
        self.seconds: tuple[deque[float], ...] = tuple(deque(maxlen=_WINDOW) for _ in range(3))
        self._began = time.perf_counter()
        self._due = self._began + _FIRST
        self._said: set[str] = set()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began

    def took(self, kind: int, seconds: float, count: int) -> None:
        """Note what some took together.

        :param kind: 0 for random decisions, 1 for decisions by the agent, 2 for updates
        """
        if count > 0:
            self.seconds[kind].append(seconds / count)

    def needs(self) -> list[int]:
        """Kinds that are still to come, and of which no pace was seen yet."""
        return [kind for kind, count in enumerate(self.left()) if count and not self.seconds[kind]]

    def seconds_left(self) -> float | None:
        """What is left takes so long at the pace seen; None if it is not known."""
        if self.needs():
            return None
        means = (sum(seen) / max(1, len(seen)) for seen in self.seconds)
        return sum(count * mean for count, mean in zip(self.left(), means, strict=True))

    def is_due(self, doing: str, again: bool = False) -> bool:
        """Tell whether to :meth:`report`: what is new, after a while, and some things every half a minute."""
        return time.perf_counter() >= self._due and (again or doing not in self._said)

    def report(self, doing: str, again: bool = False) -> None:
        """Say what is done and how long all of it will take.

        :param doing: e.g. "random decisions"
        :param again: whether it will be said every half a minute
        """
        self._due = time.perf_counter() + (_BETWEEN if again else _FIRST)
        left = self.seconds_left()
        if left is not None:
            self._said.add(doing)
            if left > _SHORT:
                self._say(f"{doing}; {self._rates()}: about {_in_words(left)} left in all")
        elif not again and sum(self.left()) > _MANY and f"{doing}?" not in self._said:
            self._said.add(f"{doing}?")  # the time will be said when it is known
            self._say(f"{doing}; how long the whole takes is known when learning has begun")

    def _rates(self) -> str:
        texts = []
        for seen, count, what in zip(
            self.seconds, self.left(), ("random decision", "decision", "update"), strict=True
        ):
            if seen and count:
                texts.append(f"{1e3 * sum(seen) / len(seen):.3g} ms a{'n' * (what == 'update')} {what}")
        return ", ".join(texts)

    def _say(self, text: str) -> None:
        if self.bar is not None:
            self.bar.pbar.set_description(text)
        else:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def warn_if_days(self, what: str, advice: str) -> None:
        """Warn once if what is left takes more than a day.

        :param what: the agent and its size
        :param advice: what to set instead
        """
        left = self.seconds_left()
        if "days" in self._said or left is None or left < _DAYS:
            return
        self._said.add("days")
        warnings.warn(
            f"{what} will take about {_in_words(left)} on this machine ({self.device.type}, "
            f"{torch.get_num_threads()} threads; {self._rates()}): {advice}",
            stacklevel=2,
        )


def _in_words(seconds: float) -> str:
    if seconds >= 2 * _DAYS:
        return f"{seconds / _DAYS:.0f} days"
    return str(timedelta(seconds=round(seconds)))
