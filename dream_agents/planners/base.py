"""The contract of planners and what they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel

#: What a planner remembers of its previous plan; every tensor is ``[B, ...]``.
Memory = dict[str, Tensor]


@dataclass
class Plan:
    """What a planner decided for ``B`` environments.

    :param action: executed action ``[B, A]``
    :param memory: what the next call needs
    :param mean: centre of the first action's distribution ``[B, A]``
    :param std: its standard deviation ``[B, A]``
    :param value: predicted return ``[B]``
    :param info: scalars or ``[B]`` tensors for the log
    """

    action: Tensor
    memory: Memory
    mean: Tensor
    std: Tensor
    value: Tensor
    info: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Planner(Protocol):
    """Chooses actions by dreaming in a world model; knows nothing of training."""

    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """Memory at an episode's start, zeros ``[batch_size, ...]`` on the model's device."""
        ...

    def plan(
        self,
        model: WorldModel,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Plan for ``B`` environments at once.

        :param model: the world model; none of its parameters receives a gradient
        :param z: latents ``[B, Z]``
        :param memory: what the previous call returned, or :meth:`initial_memory`
        :param episode_start: bool ``[B]``; where true the memory is ignored
        :param deterministic: leave out exploration noise
        :param generator: source of randomness, on the device of ``z``
        """
        ...


def imagine(model: WorldModel, z: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Roll actions out.

    :param z: latents that broadcast with one step's actions, ``[B, 1, Z]``
    :param actions: ``[H, B, N, A]``
    :return: visited latents ``[H, B, N, Z]``, starting with ``z``, and the last latent ``[B, N, Z]``
    """
    latents = [z.expand(*actions.shape[1:-1], z.shape[-1])]
    latents.append(model.next(z, actions[0]))
    for action in actions[1:]:
        latents.append(model.next(latents[-1], action))
    return torch.stack(latents[:-1]), latents[-1]


def roll_out_policy(
    model: WorldModel, z: Tensor, horizon: int, candidates: int, generator: torch.Generator | None
) -> Tensor:
    """Sample action sequences ``[horizon, B, N, A]`` from the policy by dreaming from ``z [B, Z]`` (Eq. 2)."""
    latent = z.unsqueeze(1)  # [B, 1, Z]
    actions: list[Tensor] = []
    for h in range(horizon):
        actions.append(model.policy(latent).expand(-1, candidates).sample(generator))
        if h + 1 < horizon:
            latent = model.next(latent, actions[-1])
    return torch.stack(actions)


def discounts(model: WorldModel, latents: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the rewards ``[H, 1, 1]`` or ``[H, B, N]`` and of the last value, from gamma and continuation.

    A reward counts in full where its latent is the start; later ones count while the task goes on (TD-MPC2's
    treatment of episodic tasks).
    """
    horizon = len(latents)
    gammas = model.discount ** torch.arange(horizon + 1, device=last.device, dtype=torch.float32)
    if not model.episodic:
        return gammas[:horizon, None, None], gammas[horizon]
    goes_on = model.continuation(torch.cat((latents[1:], last.unsqueeze(0))))  # [H, B, N]
    alive = torch.cat((torch.ones_like(goes_on[:1]), goes_on.cumprod(0)))  # [H + 1, B, N]
    return gammas[:horizon, None, None] * alive[:horizon], gammas[horizon] * alive[horizon]


def uncertainty(values: Tensor) -> Tensor:
    """mean times standard deviation over an ensemble ``[M, ...]`` (Eq. 5); zero for a single member."""
    if len(values) == 1:
        return torch.zeros_like(values[0])
    std, mean = torch.std_mean(values, 0)
    return mean * std


def check_positive(owner: object, **values: float) -> None:
    """Raise a ValueError that names the option unless every value is above zero."""
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{type(owner).__name__}({name}={value}): {name} must be above 0")
