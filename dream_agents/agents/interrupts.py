"""Ctrl-C between what must not be done by halves, and callbacks that stop there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stable_baselines3.common.callbacks import BaseCallback, CallbackList


@contextmanager
def whole() -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended; a second one does not.

    It matters where Ctrl-C raises ``KeyboardInterrupt``, as in Python by itself. Whoever handles it in another way, as
    the command line does, goes on to.

    :raises KeyboardInterrupt: at the end of the block
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    waiting = False

    def wait(number: int, frame: FrameType | None) -> None:
        nonlocal waiting
        if waiting:
            raise KeyboardInterrupt
        waiting = True

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if waiting:
        raise KeyboardInterrupt


def stops_at_rollout_start(callback: BaseCallback) -> bool:
    """Call ``on_rollout_start`` of a callback, or of all in a list, and tell whether one of them returned False.

    Stable-Baselines3 drops what ``_on_rollout_start`` returns.

    :param callback: the callback
    """
    kind = type(callback)
    if isinstance(callback, CallbackList) and kind._on_rollout_start is CallbackList._on_rollout_start:
        answers = [stops_at_rollout_start(one) for one in callback.callbacks]  # all are called
        return any(answers)
    if kind.on_rollout_start is not BaseCallback.on_rollout_start:
        callback.on_rollout_start()
        return False
    answer: object = callback._on_rollout_start()  # type: ignore[func-returns-value]
    return answer is False
