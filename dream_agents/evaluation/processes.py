"""Environments in a few processes, each with its share of them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import CloudpickleWrapper

from dream_agents.wrappers.processes import describe_exit, end_processes

Maker = Callable[[], gym.Env[Any, Any]]


class EnvProcesses(VecEnv):
    """As many processes as there are processors, not one for each environment.

    A step costs a message and a switch of context for each process. Where there are more environments than
    processors, more processes would make steps no faster, and their start and memory would cost as many times as much.

    What an environment raises is raised here, as a ``ChildProcessError`` that names it.

    :param makers: make the environments; they are called in the processes
    :param processes: number of processes; None for one a processor
    """

    def __init__(self, makers: Sequence[Maker], processes: int | None = None):
        count = min(len(makers), usable_processors() if processes is None else processes)
        bounds = np.linspace(0, len(makers), count + 1).astype(int).tolist()
        self._shares = [range(first, end) for first, end in itertools.pairwise(bounds)]
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        self._closed = False
        for share in self._shares:
            ours, theirs = context.Pipe()
            arguments = (theirs, CloudpickleWrapper([makers[i] for i in share]))
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)
        try:
            spaces = self._receive(*self._connections)
        except ChildProcessError:
            self.close()
            raise
        super().__init__(len(makers), *spaces[0])

    @property
    def processes(self) -> int:
        """Number of processes."""
        return len(self._processes)

    def reset(self) -> Any:
        """Start episodes, with the seeds that were given."""
        for connection, share in zip(self._connections, self._shares, strict=True):
            seeds, options = [self._seeds[i] for i in share], [self._options[i] for i in share]
            self._send(connection, "reset", seeds, options)
        answers = self._receive(*self._connections)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [info for _, infos in answers for info in infos]
        return _joined([obs for obs, _ in answers])

    def step_async(self, actions: np.ndarray) -> None:
        """Send the actions."""
        for connection, share in zip(self._connections, self._shares, strict=True):
            self._send(connection, "step", actions[share.start : share.stop])

    def step_wait(self) -> Any:
        """Wait for what they lead to."""
        answers = self._receive(*self._connections)
        obs, rewards, dones, infos = zip(*answers, strict=True)
        every_info = [info for part in infos for info in part]
        return _joined(obs), np.concatenate(rewards), np.concatenate(dones), every_info

    def close(self) -> None:
        """End the processes."""
        if self._closed:
            return
        self._closed = True
        end_processes(self._connections, self._processes, ("close", (), {}))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Get an attribute of environments."""
        return self._ask("get_attr", attr_name, indices=indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of environments."""
        self._ask("set_attr", attr_name, value, indices=indices)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of environments."""
        return self._ask("env_method", method_name, *args, indices=indices, **kwargs)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Tell which environments are wrapped in ``wrapper_class``."""
        return self._ask("env_is_wrapped", wrapper_class, indices=indices)

    def _ask(self, method: str, *args: Any, indices: Any, **kwargs: Any) -> list[Any]:
        """Call a method of the processes' ``DummyVecEnv`` for some environments; answers in the order of indices."""
        wanted = list(self._get_indices(indices))
        found: dict[int, Any] = {}
        for connection, share in zip(self._connections, self._shares, strict=True):
            mine = [i for i in wanted if i in share]
            if mine:
                self._send(connection, method, *args, **kwargs, indices=[i - share.start for i in mine])
                (answers,) = self._receive(connection)
                found.update(zip(mine, answers or [None] * len(mine), strict=True))
        return [found[i] for i in wanted]

    def _receive(self, *connections: Connection) -> list[Any]:
        """Receive an answer of each process, of all of them before anything is raised.

        :raises AttributeError: if that was raised there
        :raises ChildProcessError: for anything else that was, and if a process has ended
        """
        answers: list[Any] = []
        for connection in connections:
            try:
                answers.append(connection.recv())
            except (EOFError, ConnectionError):
                answers.append(_Failure(EOFError(self._how_it_ended(connection))))
        for answer in answers:
            if isinstance(answer, _Failure):
                cause = _RemoteError(answer.traceback)
                if answer.kind == "AttributeError":  # callers ask for attributes to learn whether they exist
                    raise AttributeError(answer.text) from cause
                raise ChildProcessError(f"{answer.kind}: {answer.text}") from cause
        return answers

    def _send(self, connection: Connection, method: str, *args: Any, **kwargs: Any) -> None:
        """Ask for a method of a process's ``DummyVecEnv``.

        :raises ChildProcessError: if the process has ended
        """
        try:
            connection.send((method, args, kwargs))
        except ConnectionError as error:
            raise ChildProcessError(self._how_it_ended(connection)) from error

    def _how_it_ended(self, connection: Connection) -> str:
        """Name the environments of a process that has ended, and how it did."""
        index = self._connections.index(connection)
        share, process = self._shares[index], self._processes[index]
        process.join(1.0)
        names = f"environments {share.start + 1} to {share.stop}"
        return f"a process with environments has ended by itself ({names}: {describe_exit(process.exitcode)})"


class _Failure:
    """What was raised in a process, as text: exceptions themselves can't always be sent."""

    def __init__(self, error: BaseException):
        self.kind, self.text = type(error).__name__, str(error)
        self.traceback = traceback.format_exc()


class _RemoteError(Exception):
    """The traceback of another process."""


def _serve(connection: Connection, makers: CloudpickleWrapper) -> None:
    """Make environments and do with them what the parent says, until it closes them or has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of Ctrl-C, too, and closes in order
    torch.set_num_threads(1)  # every process has a processor to itself at best
    try:
        env = DummyVecEnv(makers.var)
        connection.send((env.observation_space, env.action_space))
    except Exception as error:
        connection.send(_Failure(error))
        return
    while True:
        try:
            method, args, kwargs = connection.recv()
        except (EOFError, ConnectionError):
            return
        if method == "close":
            env.close()
            return
        try:
            answer = _reset(env, *args) if method == "reset" else getattr(env, method)(*args, **kwargs)
        except Exception as error:
            answer = _Failure(error)
        connection.send(answer)


def _reset(env: DummyVecEnv, seeds: list[int | None], options: list[dict[str, Any]]) -> tuple[Any, Any]:
    env._seeds, env._options = seeds, options
    return env.reset(), env.reset_infos


def _joined(parts: Sequence[Any]) -> Any:
    """Join the observations of all processes."""
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def usable_processors() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
