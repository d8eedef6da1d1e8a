"""The MuJoCo simulation under an environment, and a second one that starts wherever the first one is."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import PassiveEnvChecker

#: what is copied from one task to the other: everything else is an object with attributes, or stays
_PLAIN = (
    bool,
    int,
    float,
    str,
    bytes,
    np.ndarray,
    np.generic,
    type(None),
    np.random.Generator,
    np.random.RandomState,
)
_DEEPEST = 6


class Simulation(NamedTuple):
    """MuJoCo's own objects."""

    model: Any
    data: Any


def simulation_of(env: gym.Env[Any, Any]) -> Simulation:
    """MuJoCo's model and data under an environment of DMControl, Meta-World, HumanoidBench or Gymnasium.

    :raises ValueError: if it has none
    """
    place: Any = env.unwrapped
    physics = getattr(place, "physics", None)
    if physics is not None:
        return Simulation(physics.model.ptr, physics.data.ptr)
    if hasattr(place, "model") and hasattr(place, "data"):
        return Simulation(place.model, place.data)
    simulation = getattr(place, "simulation", None)
    if simulation is not None and hasattr(simulation, "model"):
        return Simulation(simulation.model, simulation.data)
    name = env.spec.id if env.spec is not None else type(place).__name__
    raise ValueError(
        f"{name} has no MuJoCo simulation to show; `dream-agents watch` needs an environment of DMControl, Meta-World, "
        "HumanoidBench, or one whose `unwrapped` has MuJoCo's `model` and `data`"
    )


class Twin:
    """An environment that is put where another one is, and tries out there what that one may do.

    :param env: the other one's equal: made in the same way
    """

    def __init__(self, env: gym.Env[Any, Any]):
        self.env = env
        env.reset(seed=0)

    def follow(self, other: gym.Env[Any, Any], new_episode: bool) -> None:
        """Take the state of another environment: the simulation's, and what its task and wrappers remember.

        :param new_episode: whether the other one was reset since the last call, which may have moved goals
        """
        import mujoco

        theirs, ours = simulation_of(other), simulation_of(self.env)
        if new_episode:
            _copy_arrays(theirs.model, ours.model)
        everything = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(theirs.model, everything))
        mujoco.mj_getState(theirs.model, theirs.data, state, everything)
        mujoco.mj_setState(ours.model, ours.data, state, everything)
        mujoco.mj_forward(ours.model, ours.data)
        _copy_attributes(other, self.env, set(), _DEEPEST)

    def play(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take ``actions [H, *action_shape]``, in the environment's units.

        :return: where bodies are after each one, ``[H, nbody, 7]`` as position and quaternion, and rewards ``[H]``;
            fewer where the episode ends on the way
        """
        poses, rewards = [], []
        for action in actions:
            _, reward, terminated, truncated, _ = self.env.step(action)
            poses.append(body_poses(self.env))
            rewards.append(float(reward))
            if terminated or truncated:
                break
        return np.array(poses), np.array(rewards)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def body_poses(env: gym.Env[Any, Any]) -> np.ndarray:
    """Positions and quaternions of all bodies ``[nbody, 7]``."""
    data = simulation_of(env).data
    return np.concatenate((data.xpos, data.xquat), 1)


def root_body(model: Any) -> int:
    """The heaviest body that moves: a robot's torso."""
    moving = [body for body in range(1, model.nbody) if model.body_weldid[body] != 0]
    return max(moving, key=lambda body: float(model.body_mass[body]), default=1)


def _copy_arrays(source: Any, target: Any) -> None:
    """Copy what numbers of a model differ: tasks move goals and terrain by writing there."""
    for name in dir(source):
        if name.startswith("_"):
            continue
        value = getattr(source, name, None)
        if (
            isinstance(value, np.ndarray)
            and value.dtype.kind == "f"
            and not np.array_equal(value, getattr(target, name))
        ):
            getattr(target, name)[...] = value


def _copy_attributes(source: Any, target: Any, seen: set[int], deepest: int) -> None:
    """Copy plain attributes from object to object of the same class, and from those they hold."""
    if (
        id(source) in seen
        or not deepest
        or type(source) is not type(target)
        or not hasattr(source, "__dict__")
    ):
        return
    seen.add(id(source))
    checks_only = isinstance(source, PassiveEnvChecker)
    for name, value in vars(source).items():
        if checks_only and name != "env":
            continue
        if isinstance(value, _PLAIN):
            if not (isinstance(value, np.ndarray) and value.dtype == object):
                object.__setattr__(target, name, copy.deepcopy(value))
        elif not type(value).__module__.startswith(("mujoco", "dm_control.mujoco", "dm_control.mjcf")):
            _copy_attributes(value, vars(target).get(name), seen, deepest - 1)
