"""Rewards and returns that a world model's heads can't hold."""

from __future__ import annotations

import warnings

import numpy as np

from dream_agents.models.base import WorldModel


class RangeCheck:
    """Warns once of rewards, and once of returns, beyond what the heads of a world model can tell apart.

    :param n_envs: environments side by side
    """

    def __init__(self, n_envs: int):
        self._returns = np.zeros(n_envs)
        self._warned: set[str] = set()

    def begin_episodes(self) -> None:
        """Begin returns at 0, where the environments have been reset."""
        self._returns[:] = 0

    def check(self, model: WorldModel, rewards: np.ndarray, dones: np.ndarray, decision: int) -> None:
        """Look at the rewards ``[n_envs]`` of a step, and at the discounted returns up to it.

        Returns look back instead of ahead, which is as large.

        :param model: whose heads learn them
        :param dones: whether the episodes ended there ``[n_envs]``
        :param decision: number of the decision
        """
        if model.scalar_range is None:
            return
        self._returns = model.discount * self._returns + rewards
        self._check("reward", rewards, model, decision)
        self._check("return", self._returns, model, decision)
        self._returns[dones.astype(bool)] = 0

    def _check(self, kind: str, values: np.ndarray, model: WorldModel, decision: int) -> None:
        assert model.scalar_range is not None
        low, high = model.scalar_range
        beyond = (values < low) | (values > high)
        if kind in self._warned or not beyond.any():
            return
        self._warned |= {kind, "return"}  # where rewards are beyond, returns are
        index = int(np.flatnonzero(beyond)[0])
        value = float(values[index])
        held = high if value > high else low
        largest = (
            abs(value) / (1 - model.discount) if model.discount < 1 and kind == "reward" else 2 * abs(value)
        )
        options = model.options_for_range(largest)
        warnings.warn(
            f"{'a reward' if kind == 'reward' else 'the discounted return'} of {value:.6g} (environment {index}, "
            f"decision {decision}) is beyond what the two-hot bins of rewards and returns hold: {held:.6g} is learned "
            f"instead. Set model_kwargs={options}, or scale rewards, e.g. by VecNormalize",
            stacklevel=4,
        )
