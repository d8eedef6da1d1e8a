"""BMPC's world model: TD-MPC2's with values of states and a policy that imitates a planner (Wang et al. 2025)."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from torch import Tensor

from dream_agents.models.heads import ClampedGaussian, scaled_tanh
from dream_agents.models.packing import ObsShape
from dream_agents.models.tdmpc import TDMPC_SIZES, ImplicitWorldModel, TDMPCSize

#: TD-MPC2's sizes with two values.
BMPC_SIZES = {name: dataclasses.replace(size, num_values=2) for name, size in TDMPC_SIZES.items()}


class BMPCWorldModel(ImplicitWorldModel):
    """BMPC's: V-functions, and a Gaussian policy that is clamped.

    Parameters that are not listed are :class:`ImplicitWorldModel`'s.

    :param size: widths, or the name of one of :data:`BMPC_SIZES`
    :param replanning_log_std_min: lower end of the policy's log standard deviation while replanning
    :param replanning_log_std_max: its upper end
    """

    takes_action_in_value = False
    sizes = BMPC_SIZES

    def __init__(
        self,
        obs_shape: ObsShape,
        action_dim: int,
        size: TDMPCSize | str = "5M",
        discount: float = 0.99,
        episodic: bool = False,
        *,
        log_std_min: float = -3.0,
        log_std_max: float = 1.0,
        replanning_log_std_min: float = -2.0,
        replanning_log_std_max: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(
            obs_shape,
            action_dim,
            size,
            discount,
            episodic,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
            **kwargs,
        )
        self.replanning_log_std_min = replanning_log_std_min
        self.replanning_log_std_max = replanning_log_std_max

    def policy(self, z: Tensor) -> ClampedGaussian:
        """The policy prior pi(. | z)."""
        return self.policy_distribution(self.policy_head(z))

    def policy_distribution(self, raw: Tensor) -> ClampedGaussian:
        """What the policy network's output ``[..., 2 A]`` stands for."""
        raw_mean, raw_log_std = raw.chunk(2, -1)
        log_std = scaled_tanh(raw_log_std, self.log_std_min, self.log_std_max)
        return ClampedGaussian(raw_mean.tanh(), log_std)

    def for_replanning(self) -> BMPCWorldModel:
        """Return a view of this model, with the same networks, whose policy explores more."""
        view = copy.copy(self)
        view.log_std_min, view.log_std_max = self.replanning_log_std_min, self.replanning_log_std_max
        return view
