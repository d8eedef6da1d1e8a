"""Brings any environment's spaces into the agents' form: flat float32 boxes, actions in [-1, 1]."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

_UNLIMITED = 1e10
"""MuJoCo's mjMAXVAL, which dm_control gives as the bound of actuators that have none."""


class UnitAction(gym.ActionWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Declare the action as a flat float32 ``Box(-1, 1)``; its numbers reach the environment unchanged.

    They are handed on in the environment's own dtype and shape.

    :param env: an environment whose action is a floating-point `Box` of any shape
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        inner = env.action_space
        assert isinstance(inner, Box)
        self._dtype, self._shape = inner.dtype, inner.shape
        self.action_space = Box(-1.0, 1.0, (int(np.prod(inner.shape)),), np.float32)

    def action(self, action: Any) -> np.ndarray[Any, Any]:
        """Return the action in the environment's dtype and shape."""
        return np.asarray(action, dtype=self._dtype).reshape(self._shape)


class Float32Observation(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Observe float32 numbers instead of those of another dtype; bounds beyond float32 become infinite.

    :param env: an environment that observes a `Box`
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        inner = env.observation_space
        assert isinstance(inner, Box)
        with np.errstate(over="ignore"):
            low, high = inner.low.astype(np.float32), inner.high.astype(np.float32)
        self.observation_space = Box(low, high, dtype=np.float32)

    def observation(self, observation: Any) -> np.ndarray[Any, Any]:
        """Return the observation as float32."""
        return np.asarray(observation, dtype=np.float32)


def normalize(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` with a flat float32 observation and an action in ``Box(-1, 1, (A,), float32)``.

    An environment that has both already is returned as it is.

    :raises ValueError: if the action is not a bounded floating-point `Box`, or the observation cannot
        be made one vector
    """
    return normalize_action(normalize_observation(env))


def normalize_observation(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` with a flat float32 `Box` as observation.

    :raises ValueError: if its observation's length is not fixed (a `Sequence` or a `Graph`)
    """
    space = env.observation_space
    if not space.is_np_flattenable:
        raise ValueError(
            f"{_name(env)} observes {space}, which has no fixed length and cannot be made a vector of "
            "numbers; wrap it with gymnasium.wrappers.TransformObservation so that it observes a Box"
        )
    if isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 3:
        warnings.warn(
            f"{_name(env)} observes images; each becomes a vector of {np.prod(space.shape)} numbers",
            stacklevel=2,
        )
    if not (isinstance(space, Box) and len(space.shape) == 1):
        env = gym.wrappers.FlattenObservation(env)
    if env.observation_space.dtype != np.float32:
        env = Float32Observation(env)
    return env


def normalize_action(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` with ``Box(-1, 1, (A,), float32)`` as action, linearly rescaled to its own bounds.

    :raises ValueError: if its action is not a bounded floating-point `Box`
    """
    space = env.action_space
    if not isinstance(space, Box) or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"{_name(env)} has the action space {space}, but all agents of dream-agents choose continuous "
            "actions: they need a floating-point Box. Choose an environment with continuous actions, or for "
            "discrete ones an agent made for them, such as DQN or PPO of stable-baselines3."
        )
    if not is_bounded(space):
        raise ValueError(
            f"{_name(env)} has the action space {space}, whose bounds are infinite, so that [-1, 1] cannot "
            "be scaled to them; wrap it with gymnasium.wrappers.TransformAction to say which range to use"
        )
    if not (np.all(space.low == -1) and np.all(space.high == 1)):
        one = space.dtype.type(1)
        env = gym.wrappers.RescaleAction(env, -one, one)
    if space.dtype != np.float32 or len(space.shape) != 1:
        env = UnitAction(env)
    return env


def is_bounded(space: Box) -> bool:
    """Tell whether every bound is a real one, neither infinite nor MuJoCo's stand-in for none."""
    return bool(np.all(np.abs(space.low) < _UNLIMITED) and np.all(np.abs(space.high) < _UNLIMITED))


def _name(env: gym.Env[Any, Any]) -> str:
    """Name an environment in a message."""
    return f'"{env.spec.id}"' if env.spec is not None else type(env.unwrapped).__name__
