"""Actions between [-1, 1], where agents choose them, and an environment's own units, where they are taken."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

_UNLIMITED = 1e10
"""MuJoCo's mjMAXVAL, which dm_control gives as the bound of actuators that have none."""
_COMPONENTS_NAMED = 5
_ROUNDING = 1e-5

Array = np.ndarray[Any, Any]


class NativeAction(np.ndarray[Any, Any]):
    """An action in an environment's own units.

    An environment that `make_env` has brought to [-1, 1] takes one as it is, and scales every other array. So what
    an agent's `predict` returns means the same in `gymnasium.make(id)` and in `make_env(id)`. It stays one when it is
    copied, pickled, computed with, stacked or concatenated; `numpy.asarray`, `numpy.array` and `tolist` make plain
    numbers of it.
    """

    def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
        """Return actions that are put together as actions."""
        result = super().__array_function__(function, types, arguments, keywords)
        are_all = all(issubclass(one, NativeAction) for one in types)
        return result.view(NativeAction) if function in _JOINING and are_all else result

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """Return what is computed with actions as actions again, but plain truth values and sums."""
        if return_scalar:
            return array[()]
        is_action = np.issubdtype(array.dtype, np.floating)
        return array.view(NativeAction) if is_action else array.view(np.ndarray)


_JOINING = (np.stack, np.concatenate, np.vstack, np.hstack, np.broadcast_to)


class UnsupportedActionSpaceError(ValueError, AssertionError):
    """No agent of this package can choose actions of this kind.

    It is an `AssertionError` as well, since Stable-Baselines3's agents raise one.
    """


class ActionScale:
    """Scales actions of [-1, 1] to a space's bounds, linearly, and back.

    What it returns for the environment is finite, within the bounds, and of the space's dtype and shape. A component
    with equal bounds is always there, and 0 in [-1, 1].

    :param space: the action space
    :param owner: whose space it is, for messages
    :raises ValueError: if `space` is no floating-point `Box`, or has infinite bounds, naming the components
    """

    def __init__(self, space: gym.Space[Any], owner: str = "the environment") -> None:
        check_action_space(space, owner)
        assert isinstance(space, Box)
        self.space = space
        wide = np.result_type(space.dtype, np.float32)  # float16 has no room for the distance of its ends
        self._low, self._high = space.low.astype(wide), space.high.astype(wide)
        self._span = self._high - self._low
        self.is_unit = is_unit(space)

    def to_native(self, unit: Array) -> Array:
        """Scale actions `[..., *shape]` of [-1, 1] to the bounds.

        :raises ValueError: if one of them is not finite
        """
        return self.inside(self._low + (0.5 * (np.asarray(unit) + 1.0) * self._span))

    def to_unit(self, native: Array) -> Array:
        """Scale actions `[..., *shape]` within the bounds to [-1, 1], float32 where the space has no more digits."""
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = 2.0 * ((np.asarray(native) - self._low) / self._span) - 1.0
        scaled: Array = np.where(self._span > 0, unit, np.zeros_like(unit))
        return scaled

    def inside(self, native: Array) -> Array:
        """Return actions `[..., *shape]` in the environment's units, clipped to the bounds.

        :raises ValueError: if one of them is not finite
        """
        if not np.isfinite(native).all():
            raise ValueError(
                f"the action {native} is not finite, and is not given to the environment; the agent's weights, or what "
                "it observes, are not finite either"
            )
        return np.asarray(np.clip(native, self._low, self._high), dtype=self.space.dtype)

    def for_env(self, native: Array) -> Array:
        """Mark actions as the environment's own, where its units are not [-1, 1] anyway."""
        return native if self.is_unit else native.view(NativeAction)


def check_action_space(space: gym.Space[Any], owner: str) -> None:
    """Raise a `ValueError` that says what to do unless actions can be scaled to a space's bounds.

    :param space: the action space
    :param owner: whose space it is
    :raises UnsupportedActionSpaceError: if it is no floating-point `Box`
    :raises ValueError: if its bounds leave no range to scale to
    """
    if not isinstance(space, Box) or not np.issubdtype(space.dtype, np.floating):
        raise UnsupportedActionSpaceError(
            f"{owner} has the action space {space}, but all agents of dream-agents choose continuous "
            "actions: they need a floating-point Box. Choose an environment with continuous actions, or for "
            "discrete ones an agent made for them, such as DQN or PPO of stable-baselines3."
        )
    ends = np.stack([space.low, space.high]).astype(np.float64)
    unlimited: Array = np.asarray((np.abs(ends) >= _UNLIMITED).any(0))
    if unlimited.any():
        raise ValueError(
            f"{owner} has the action space {space}, whose bounds are infinite or as good as that in "
            f"{_components(space, unlimited)}, so that [-1, 1] cannot be scaled to them; wrap it with "
            "gymnasium.wrappers.TransformAction to say which range to use"
        )
    crossed = ~(space.low <= space.high)
    if crossed.any():
        raise ValueError(
            f"{owner} has the action space {space}, whose lower bound is above the upper one in "
            f"{_components(space, crossed)}; wrap it with gymnasium.wrappers.TransformAction"
        )


def is_unit(space: gym.Space[Any]) -> bool:
    """Tell whether a space is the one that agents choose actions in, a flat float32 ``Box(-1, 1)``."""
    return (
        isinstance(space, Box)
        and space.dtype == np.float32
        and len(space.shape) == 1
        and bool(np.all(space.low == -1) and np.all(space.high == 1))
    )


def _components(space: Box, which: Array) -> str:
    """Name the components where `which` is true, with their bounds."""
    found = np.argwhere(which)
    names = []
    for place in found[:_COMPONENTS_NAMED]:
        index = tuple(place.tolist())
        label = "".join(f"[{number}]" for number in index)
        names.append(f"action{label} ({space.low[index]} to {space.high[index]})")
    more = len(found) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


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

    def action(self, action: Any) -> Array:
        """Return the action in the environment's dtype and shape."""
        return np.asarray(action, dtype=self._dtype).reshape(self._shape)


class ScaledAction(gym.ActionWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Take actions in a flat float32 ``Box(-1, 1)``, scaled linearly to the environment's own bounds.

    What reaches the environment is in its action space, to the last digit. A `NativeAction` is not scaled.

    :param env: an environment whose action is a floating-point `Box` with finite bounds
    :raises ValueError: if it is not
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        self._scale = ActionScale(env.action_space, env_name(env))
        space = self._scale.space
        self._has_warned = False
        self._is_scaled = bool(np.any(space.low != -1) or np.any(space.high != 1))
        self.action_space = Box(-1.0, 1.0, (int(np.prod(space.shape)),), np.float32)

    def action(self, action: Any) -> Array:
        """Return the action in the environment's units, dtype and shape."""
        # Where the own actions are scalars, the rows of an array of them are not marked, but have no dimension either.
        is_native = isinstance(action, NativeAction) or np.ndim(action) == 0
        array = np.asarray(action).reshape(self._scale.space.shape)
        if is_native or not self._is_scaled:
            return self._scale.inside(array)
        self._warn_of_other_units(array)
        return self._scale.to_native(array)

    def _warn_of_other_units(self, unit: Array) -> None:
        """Say once that actions outside [-1, 1] may have lost what says that their units are others."""
        if self._has_warned or not np.any(np.abs(unit) > 1 + _ROUNDING):
            return
        self._has_warned = True
        warnings.warn(
            f"the action {unit} is clipped to [-1, 1], from where it is scaled to the bounds of {env_name(self.env)}. "
            "What predict() of an agent returns has the environment's own units and is not scaled; but numpy.asarray, "
            "numpy.array and tolist make plain numbers of it, which are: pass it on as it is, or make the environment "
            "with normalized=False",
            stacklevel=2,
        )


def env_name(env: gym.Env[Any, Any]) -> str:
    """Name an environment in a message."""
    return f'"{env.spec.id}"' if env.spec is not None else type(env.unwrapped).__name__
