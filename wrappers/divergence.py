"""Steps that did not happen: the episode ends before them, and ``info`` says why."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym

INVALID_STEP = "invalid_step"
"""Key of ``info`` that says why a step is not to be learned from: what it returns is the state before it."""

_WARNINGS = ("BADQPOS", "BADQVEL", "BADQACC")


def diverged(data: Any) -> str | None:
    """Tell why MuJoCo has put a simulation back to its initial state, or None if it has not.

    It does so in the middle of a step, where positions, velocities or accelerations are no numbers or huge.

    :param data: the simulation's ``MjData``; a reset clears what is found here
    """
    import mujoco

    numbers = data.warning.number
    found = [name for name in _WARNINGS if numbers[getattr(mujoco.mjtWarning, f"mjWARN_{name}")] > 0]
    return f"the physics diverged ({', '.join(found)})" if found else None


class _EndsEarly(gym.Wrapper[Any, Any, Any, Any]):
    """Can end an episode with the last observation before a step that went wrong."""

    _last_observation: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        self._last_observation, info = self.env.reset(seed=seed, options=options)
        return self._last_observation, info

    def _end(self, reason: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return self._last_observation, 0.0, False, True, {INVALID_STEP: reason}


class EndAtDivergence(_EndsEarly, gym.utils.RecordConstructorArgs):
    """Ends an episode where the simulation raises an error, as dm_control's does where it diverges.

    The last observation before is returned with a reward of 0, ``truncated``, and ``info["invalid_step"]``.

    :param env: the environment, which takes one frame a step
    :param find_error: imports and returns the class of the error
    """

    def __init__(self, env: gym.Env[Any, Any], find_error: Callable[[], type[Exception]]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, find_error=find_error)
        gym.Wrapper.__init__(self, env)
        self._find_error = find_error

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one frame."""
        try:
            result = self.env.step(action)
        except self._find_error() as error:
            return self._end(f"the physics diverged ({error})")
        self._last_observation = result[0]
        return result


class EndAtReset(_EndsEarly, gym.utils.RecordConstructorArgs):
    """Ends an episode where MuJoCo has put the simulation back to its start in the middle of a step.

    Gymnasium's own environments go on as if nothing had happened. What is returned is as with `EndAtDivergence`.

    :param env: an environment whose `unwrapped.data` is MuJoCo's ``MjData``
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step."""
        result = self.env.step(action)
        unwrapped: Any = self.unwrapped
        reason = diverged(unwrapped.data)
        if reason is not None:
            return self._end(reason)
        self._last_observation = result[0]
        return result


def end_at_divergence(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` so that episodes end where MuJoCo's physics diverges, or itself where that is not needed.

    :param env: any environment
    """
    mujoco = sys.modules.get("mujoco")  # what it simulates would have imported it
    data = getattr(env.unwrapped, "data", None)
    if mujoco is None or not isinstance(data, mujoco.MjData):
        return env
    is_ours = type(env.unwrapped).__module__.startswith("dream_agents.")  # they see to it themselves
    return env if is_ours or any(isinstance(one, EndAtReset) for one in _layers(env)) else EndAtReset(env)


def _layers(env: gym.Env[Any, Any]) -> Iterator[gym.Env[Any, Any]]:
    yield env
    while isinstance(env, gym.Wrapper):
        env = env.env
        yield env
