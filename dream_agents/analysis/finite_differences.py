"""The true dynamics' gradients against finite differences through Gymnasium's own simulation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from dream_agents.analysis.gradients import HORIZONS
from dream_agents.analysis.pendulum import MAX_TORQUE, PENDULUM, PendulumWorldModel
from dream_agents.planners.grad import GradPlanner

#: half the distance of two returns; in float64 the error of central differences is about its square
_STEP = 1e-6


@dataclass(frozen=True)
class GradientCheck:
    """How far gradients through :class:`PendulumWorldModel` are from finite differences.

    :param horizon: H
    :param difference: largest difference of a component
    :param largest: largest component
    """

    horizon: int
    difference: float
    largest: float


def simulated_return(env: gym.Env[Any, Any], state: np.ndarray, actions: np.ndarray) -> float:
    """Undiscounted return of ``actions [H]``, in [-1, 1], from ``state [2]`` in Gymnasium's pendulum, in float64."""
    pendulum: Any = env.unwrapped
    pendulum.state = np.asarray(state, np.float64)
    total = 0.0
    for action in np.asarray(actions, np.float64):
        _, reward, *_ = pendulum.step(np.array([MAX_TORQUE * action]))
        total += float(reward)
    return total


def finite_difference_gradient(env: gym.Env[Any, Any], state: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Gradient ``[H]`` of :func:`simulated_return` with respect to ``actions [H]``, by central differences."""
    gradient = np.zeros(len(actions))
    for i, shift in enumerate(_STEP * np.eye(len(actions))):
        ahead = simulated_return(env, state, actions + shift)
        behind = simulated_return(env, state, actions - shift)
        gradient[i] = (ahead - behind) / (2 * _STEP)
    return gradient


def check_gradients(
    horizons: Iterable[int] = HORIZONS, *, states: int = 8, seed: int = 0, gravity: float = 10.0
) -> list[GradientCheck]:
    """Compare gradients at random actions inside the limits, from random states, in float64.

    :param horizons: planned steps
    :param states: states, and action sequences, for each horizon
    :param seed: of states and actions
    :param gravity: g
    """
    rng = np.random.default_rng(seed)
    model, planner = PendulumWorldModel(gravity), GradPlanner()
    env = gym.make(PENDULUM, g=gravity)
    checks = []
    for horizon in horizons:
        z = rng.uniform((-np.pi, -6.0), (np.pi, 6.0), (states, 2))
        actions = rng.uniform(-0.99, 0.99, (horizon, states, 1, 1))
        _, gradient = planner.objective_and_gradient(
            model, torch.from_numpy(z), torch.from_numpy(actions), None
        )
        found = gradient[:, :, 0, 0].numpy().T  # [states, H]
        expected = np.stack(
            [finite_difference_gradient(env, z[i], actions[:, i, 0, 0]) for i in range(states)]
        )
        difference, largest = np.abs(found - expected).max(), np.abs(expected).max()
        checks.append(GradientCheck(horizon, float(difference), float(largest)))
    env.close()
    return checks
