"""Environments in processes of their own that outlive Ctrl-C, are named when they die, and never hang on closing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from multiprocessing.util import Finalize
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import SubprocVecEnv

#: Seconds that all processes together have for closing their environments.
CLOSING_SECONDS = 5.0

_WORST_STATUS = 255


class ProcessVecEnv(SubprocVecEnv):
    """Stable-Baselines3's ``SubprocVecEnv``, whose processes leave it to this one to stop.

    Ctrl-C and SIGTERM go to every process of a terminal or a cluster's job; here only this process hears of them, so
    that it can end what it is doing and write a checkpoint. A process that has ended by itself is named.

    :param env_fns: make the environments, one a process
    :param start_method: how processes start: "forkserver", "spawn" or "fork"
    :raises ChildProcessError: if one of them is killed while it starts
    :raises EOFError: if one of them can't make its environment
    """

    remotes: tuple[Any, ...] = ()
    processes: list[Any]

    def __init__(self, env_fns: list[Callable[[], gym.Env[Any, Any]]], start_method: str | None = None):
        count = len(env_fns)
        try:
            super().__init__([_Shielded(make) for make in env_fns], start_method)
        except (EOFError, ConnectionError) as error:
            self._end_what_started(count, error)
            raise
        self.remotes: tuple[Any, ...] = tuple(
            _NamedConnection(remote, process, f"environment {index + 1} of {count}")
            for index, (remote, process) in enumerate(zip(self.remotes, self.processes, strict=True))
        )
        # At Python's end, SIGTERM would not end them.
        self._finalize = Finalize(self, end_processes, (self.remotes, self.processes), exitpriority=10)

    def _end_what_started(self, count: int, error: Exception) -> None:
        """End the processes after one of them has ended while it started.

        :raises ChildProcessError: if it was killed
        """
        for process in self.processes:
            process.join(0.2)
        statuses = [process.exitcode for process in self.processes]
        end_processes(self.remotes, self.processes)
        for index, status in enumerate(statuses):
            if status is not None and status < 0:
                raise ChildProcessError(
                    f"the process of environment {index + 1} of {count} has ended while it started "
                    f"({describe_exit(status)})"
                ) from error

    def close(self) -> None:
        """Close the environments and end their processes, those that do not answer by force."""
        if not self.closed:
            self.closed = True
            self._finalize()


def end_processes(
    connections: Iterable[Any], processes: Iterable[Any], message: Any = ("close", None)
) -> None:
    """End processes with environments: by a message, and those that do not follow it by force.

    :param connections: to each process, where answers may wait that nobody asks for any more
    :param processes: the processes
    :param message: what tells a process to close its environments and to end
    """
    pairs = list(zip(connections, processes, strict=True))
    for connection, _ in pairs:
        try:
            connection.send(message)
        except OSError:
            continue  # it has ended already
    limit = time.monotonic() + CLOSING_SECONDS
    for connection, process in pairs:
        _drain(connection, process, limit)
        process.join(max(0.0, limit - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        connection.close()


def _drain(connection: Any, process: Any, limit: float) -> None:
    """Take answers until a process ends: it can't while it waits for somebody to take one."""
    while process.is_alive() and time.monotonic() < limit:
        try:
            if connection.poll(0.05):
                connection.recv_bytes()
        except (EOFError, OSError):
            return


class _Shielded:
    """Makes an environment in a process that Ctrl-C and SIGTERM do not stop; its parent does."""

    def __init__(self, make: Callable[[], gym.Env[Any, Any]]):
        self._make = make

    def __call__(self) -> gym.Env[Any, Any]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        return self._make()


class _NamedConnection:
    """A connection to a process, which says which one it was when it has ended.

    :raises ChildProcessError: from ``send`` and ``recv``, if it has
    """

    def __init__(self, connection: Any, process: Any, name: str):
        self._connection, self._process, self._name = connection, process, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._connection, attribute)

    def send(self, message: Any) -> None:
        """Send a message."""
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._ended() from error

    def recv(self) -> Any:
        """Receive an answer."""
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def _ended(self) -> ChildProcessError:
        self._process.join(1.0)
        return ChildProcessError(
            f"the process of {self._name} has ended ({describe_exit(self._process.exitcode)})"
        )


def describe_exit(status: int | None) -> str:
    """Say how a process ended.

    :param status: its exit code; negative for the number of a signal
    """
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        return f"killed by {name}, perhaps for lack of memory" if name == "SIGKILL" else f"killed by {name}"
    if status in (None, _WORST_STATUS):
        return "nobody knows how"
    return f"exit code {status}; it has printed why" if status else "without an error"
