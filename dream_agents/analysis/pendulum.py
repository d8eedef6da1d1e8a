"""The true dynamics of Pendulum-v1, to plan in as in a learned world model (Section D.2 of the paper)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.models.heads import ActionDistribution, ClampedGaussian

#: the environment's id
PENDULUM = "Pendulum-v1"

#: Gymnasium's constants: torque, speed, seconds a step, mass and length
MAX_TORQUE, MAX_SPEED, DT, MASS, LENGTH = 2.0, 8.0, 0.05, 1.0, 1.0


class PendulumWorldModel(WorldModel):
    """Gymnasium's ``Pendulum-v1`` as a differentiable world model: nothing is learned, rewards are exact.

    The latent is the state, ``[..., 2]``: angle in radians, 0 upright, and its speed. Actions in [-1, 1] are torques
    in units of 2 N m. It computes in the precision of the latent. The limits of torque and speed are clamps, as in
    Gymnasium, so gradients are 0 beyond them.

    :param gravity: g, as of ``gymnasium.make("Pendulum-v1", g=10.0)``
    :param discount: discount factor of planned returns; the default is TD-MPC2's for episodes of 200 steps
    :param value: returns ``[...]`` beyond the horizon of observations ``[..., 3]``; None for 0
    :param policy: distribution of actions at observations ``[..., 3]``; None for a standard normal, clamped
    """

    latent_dim = 2
    action_dim = 1
    num_values = 1
    takes_action_in_value = False
    episodic = False

    _place: Tensor

    def __init__(
        self,
        gravity: float = 10.0,
        discount: float = 0.975,
        value: Callable[[Tensor], Tensor] | None = None,
        policy: Callable[[Tensor], ActionDistribution] | None = None,
    ):
        super().__init__()
        if not 0 <= discount <= 1:
            raise ValueError(f"PendulumWorldModel(discount={discount}): a discount factor lies in [0, 1]")
        self.gravity, self.discount = gravity, discount
        # Kept out of the submodules, which a network behind these functions would otherwise become.
        self._functions = (value, policy)
        self.register_buffer("_place", torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it was moved to; it has no parameters."""
        return self._place.device

    def observe(
        self,
        obs: Tensor,
        memory: dict[str, Tensor] | None = None,
        episode_start: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """States ``[..., 2]`` of observations ``[..., 3]``, cosine and sine of the angle and its speed."""
        return torch.stack((torch.atan2(obs[..., 1], obs[..., 0]), obs[..., 2]), -1), {}

    def observation(self, z: Tensor) -> Tensor:
        """Observations ``[..., 3]`` of states ``[..., 2]``."""
        angle, speed = z.unbind(-1)
        return torch.stack((angle.cos(), angle.sin(), speed), -1)

    def next(self, z: Tensor, action: Tensor) -> Tensor:
        """States ``[..., 2]`` 0.05 s later; the angle is not wrapped, as in Gymnasium."""
        angle, speed = z.unbind(-1)
        push = 3 * self.gravity / (2 * LENGTH) * angle.sin() + 3 / (MASS * LENGTH**2) * _torque(action)
        new_speed = (speed + push * DT).clamp(-MAX_SPEED, MAX_SPEED)
        return torch.stack((angle + new_speed * DT, new_speed), -1)

    def reward(self, z: Tensor, action: Tensor, next_z: Tensor | None = None) -> Tensor:
        """-(angle^2 + 0.1 speed^2 + 0.001 torque^2), ``[...]``, the angle in [-pi, pi)."""
        angle, speed = z.unbind(-1)
        wrapped = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
        return -(wrapped.square() + 0.1 * speed.square() + 0.001 * _torque(action).square())

    def values(self, z: Tensor, action: Tensor | None, members: Sequence[int] | None = None) -> Tensor:
        """``value`` of the states, ``[1, ...]``, the same one for each of ``members``."""
        value, _ = self._functions
        found = z.new_zeros(z.shape[:-1]) if value is None else value(self.observation(z))
        return found.expand(1 if members is None else len(members), *found.shape)

    def policy(self, z: Tensor) -> ActionDistribution:
        """``policy`` at the states."""
        _, policy = self._functions
        if policy is not None:
            return policy(self.observation(z))
        mean = z.new_zeros(*z.shape[:-1], 1)
        return ClampedGaussian(mean, mean)


def _torque(action: Tensor) -> Tensor:
    """Torques ``[...]`` in N m of actions ``[..., 1]``."""
    return (MAX_TORQUE * action[..., 0]).clamp(-MAX_TORQUE, MAX_TORQUE)
