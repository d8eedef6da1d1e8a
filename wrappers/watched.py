"""Environments that are watched: who moves them, and whether their numbers are finite."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from dream_agents.wrappers.divergence import INVALID_STEP

NOT_FINITE = ("stop", "end")
"""Values of `not_finite`."""

_RESETS = 10
_numbers = itertools.count(1)


class NotFiniteError(ValueError):
    """An environment gave NaN or infinity, or a number that float32 can't hold."""


class Watch:
    """Knows when environments were moved last, by whomever, and lets only finite numbers out of them.

    It replaces methods of the ``VecEnv`` itself, below wrappers that compute with observations and rewards
    (``VecNormalize``), and counts what environments in this process do.

    :param venv: the environments, without wrappers
    :param not_finite: ``"stop"`` raises an error that names the environment and the number; ``"end"`` ends the
        episode before the step that brought it: observation and flags are as at a time limit after the step
        before, the reward is 0, and ``info["invalid_step"]`` says why
    :raises ValueError: for another value of ``not_finite``
    """

    def __init__(self, venv: VecEnv, not_finite: str = "stop"):
        self.venv, self.not_finite = venv, not_finite
        envs = getattr(venv, "envs", None)
        in_process = [env.unwrapped for env in envs] if isinstance(envs, list) else []
        self._counted = [
            _replace(venv, _OfVecEnvs),
            *(_replace(env, _OfEnvs) for env in in_process),
        ]
        self._last_obs: Any = None
        self._steps = np.zeros(venv.num_envs, np.int64)

    @property
    def not_finite(self) -> str:
        """What happens where a number is not finite."""
        return self._not_finite

    @not_finite.setter
    def not_finite(self, value: str) -> None:
        if value not in NOT_FINITE:
            raise ValueError(f'not_finite={value!r} is not known; choose "stop" or "end"')
        self._not_finite = value

    @property
    def last_movement(self) -> int:
        """Number of the latest step or reset of any of them; no two movements in a process have the same."""
        return max(env._last_movement for env in self._counted)

    def after_reset(self, obs: VecEnvObs) -> VecEnvObs:
        """Check the observations that all episodes begin with.

        :raises NotFiniteError: if one is not finite; for "end", if none that follows is
        """
        for index, what in _not_finite(obs):
            self._restart(index, obs, what)
        self._last_obs, self._steps[:] = obs, 0
        return obs

    def after_step(self, result: VecEnvStepReturn) -> VecEnvStepReturn:
        """Check what a step brought.

        :raises NotFiniteError: for "stop", if anything is not finite
        """
        obs, rewards, dones, infos = result
        infos = list(infos)  # of processes it is a tuple
        self._steps += 1
        for index, what in self._bad_steps(obs, rewards, dones, infos):
            if self.not_finite == "stop":
                raise NotFiniteError(
                    f"environment {index} gave {what} in step {self._steps[index]} of its episode"
                )
            before = {name: part[index] for name, part in _parts(self._last_obs)}
            infos[index] = {
                INVALID_STEP: f"{what} is not finite",
                "TimeLimit.truncated": True,
                "terminal_observation": before if isinstance(obs, dict) else before[""],
            }
            if not dones[index]:
                self._restart(index, obs, what)
            rewards[index], dones[index] = 0, True
        for index, what in _not_finite(obs):  # first observations
            self._restart(index, obs, what)
        self._last_obs = obs
        self._steps[dones.astype(bool)] = 0
        return obs, rewards, dones, infos

    def _bad_steps(
        self, obs: VecEnvObs, rewards: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]]
    ) -> Iterator[tuple[int, str]]:
        """Yield each environment whose step brought something that is not finite, and what that is."""
        found = {index: f"reward={rewards[index]}" for index in np.flatnonzero(~_is_finite(rewards))}
        for index, what in _not_finite(obs):
            if not dones[index]:  # otherwise it belongs to the next episode
                found.setdefault(index, what)
        for index in np.flatnonzero(dones):
            last = infos[index].get("terminal_observation")
            if last is not None:
                last = (
                    {key: part[None] for key, part in last.items()} if isinstance(last, dict) else last[None]
                )
                for _, what in _not_finite(last):
                    found.setdefault(int(index), f"a last {what}")
        yield from ((int(index), what) for index, what in found.items())

    def _restart(self, index: int, obs: VecEnvObs, what: str) -> None:
        """Put a first observation of environment ``index`` into ``obs``.

        :raises NotFiniteError: if none is finite; for "stop" after the first one that was not
        """
        tries = _RESETS if self.not_finite == "end" else 0
        for _ in range(tries):
            ((first, _),) = self.venv.env_method("reset", indices=[index])
            for name, part in _parts(obs):
                part[index] = first[name] if isinstance(first, dict) else first
            problems = [problem for where, problem in _not_finite(obs) if where == index]
            if not problems:
                return
            what = problems[0]
        raise NotFiniteError(f"environment {index} gave {what} when it was reset")


def watch(env: VecEnv, not_finite: str = "stop") -> VecEnv:
    """Watch environments, with any wrappers around them; they stay what they are.

    :param env: environments, with any wrappers
    :param not_finite: what happens where a number is not finite
    """
    base: Any = env.unwrapped
    if "_watch" in vars(base):
        base._watch.not_finite = not_finite
    else:
        base._watch = Watch(base, not_finite)
    return env


def watched(env: VecEnv) -> Watch:
    """Return who watches these environments."""
    base: Any = env.unwrapped
    found: Watch = base._watch
    return found


# ------------------------------------------------------- replaced methods


class _Replaced:
    """A method of one object that notices who calls it, in place of its class's method of that name.

    It is an object, no bound method, so that it follows an environment that is copied or pickled.

    :param env: the object
    :param name: the method's name
    """

    names: tuple[str, ...]

    def __init__(self, env: Any, name: str):
        self.env, self.name = env, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.moves(*args, **kwargs):
            self.env._last_movement = next(_numbers)
        return self.checked(getattr(type(self.env), self.name)(self.env, *args, **kwargs))

    def moves(self, *args: Any, **kwargs: Any) -> bool:
        """Whether a call with these arguments moves the environment."""
        return True

    def checked(self, result: Any) -> Any:
        """What the caller is given."""
        return result


class _OfEnvs(_Replaced):
    names = ("reset", "step")


class _OfVecEnvs(_Replaced):
    names = ("reset", "step_async", "step_wait", "env_method")

    def moves(self, *args: Any, **kwargs: Any) -> bool:
        if self.name == "env_method":
            return (args[0] if args else kwargs["method_name"]) in _OfEnvs.names
        return self.name != "step_wait"

    def checked(self, result: Any) -> Any:
        checks = {"reset": self.env._watch.after_reset, "step_wait": self.env._watch.after_step}
        return checks[self.name](result) if self.name in checks else result


def _replace(env: Any, replaced: type[_Replaced]) -> Any:
    """Replace methods of one object: whoever holds an environment can move it, below any wrapper of ours."""
    if "_last_movement" not in vars(env):
        env._last_movement = next(_numbers)
        for name in replaced.names:
            if name not in vars(env):
                setattr(env, name, replaced(env, name))
    return env


# --------------------------------------------------------------- numbers


def _parts(obs: Any) -> list[tuple[str, np.ndarray]]:
    return list(obs.items()) if isinstance(obs, dict) else [("", obs)]


def _is_finite(array: np.ndarray) -> np.ndarray:
    """Where numbers are finite as float32, in which they are learned from."""
    if not np.issubdtype(array.dtype, np.floating):
        return np.ones(array.shape, dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(array.astype(np.float32, copy=False))


def check_finite(observation: Any) -> None:
    """Check what an agent is asked to act on.

    :param observation: one observation or a batch, or a dictionary of them
    :raises NotFiniteError: naming the first number that is not finite
    """
    for name, part in _parts(observation):
        array = np.asarray(part)
        finite = _is_finite(array)
        if not finite.all():
            raise NotFiniteError(
                f"{_first(name, array, finite)} is not finite, so that no action follows from it; mend what observes"
            )


def _not_finite(obs: Any) -> Iterator[tuple[int, str]]:
    """Yield the index of each environment with an observation ``[n_envs, ...]`` that is not finite, and its first."""
    for name, part in _parts(obs):
        finite = _is_finite(part)
        if finite.all():
            continue
        for index in np.flatnonzero(~finite.reshape(len(part), -1).all(1)):
            yield int(index), _first(name, np.asarray(part[index]), finite[index])


def _first(name: str, array: np.ndarray, finite: np.ndarray) -> str:
    """An observation's first number that is not finite, with its key and place."""
    place = tuple(np.argwhere(~finite)[0].tolist())
    key = f"[{name!r}]" if name else ""
    where = f"[{', '.join(map(str, place))}]" if place else ""
    return f"observation{key}{where}={array[place]}"
