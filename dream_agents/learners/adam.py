"""Adam, as learners use it on a CPU and in CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
import torch.nn as nn
from torch import Tensor

from dream_agents.learners.base import Learner
from dream_agents.models.base import WorldModel


class AdamLearner(Learner):
    """A learner whose networks Adam trains, each at its own ratio to one learning rate.

    :param world_model: the networks, on their device
    :param generator: source of randomness, on the model's device; dropout draws from the device's global one
    """

    capturable: ClassVar[bool] = True

    def __init__(self, world_model: WorldModel, generator: torch.Generator):
        self.world_model, self.generator = world_model, generator
        self.device = world_model.device
        #: whether nothing may wait for the device: what an update draws and its learning rates then stay there
        self.on_device = self.device.type == "cuda"
        self.optimizers = {}

    def _add_optimizer(
        self, name: str, groups: Iterable[tuple[list[nn.Parameter], float]], eps: float
    ) -> None:
        """Make the optimizer of a part.

        :param groups: parameters, and their learning rate relative to the learner's
        :param eps: Adam's epsilon
        """
        rated = [{"params": parameters, "lr_scale": scale} for parameters, scale in groups]
        optimizer = torch.optim.Adam(rated, eps=eps, fused=True, capturable=self.on_device)
        if self.on_device:
            for group in optimizer.param_groups:
                group["lr"] = torch.zeros((), device=self.device)
        self.optimizers[name] = optimizer

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set Adam's learning rate; networks with a rate of their own keep their ratio."""
        for group in self._groups():
            _set_rate(group, learning_rate * group["lr_scale"])

    def state_dict(self) -> dict[str, Any]:
        """Optimizers; learning rates as numbers."""
        state = super().state_dict()
        for optimizer in self.optimizers:
            for group in state[optimizer]["param_groups"]:  # a copy
                group["lr"] = float(group["lr"])
        return state

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Take back what :meth:`state_dict` gave, on whatever device it was."""
        kept = [{name: group[name] for name in ("lr", "capturable")} for group in self._groups()]
        super().load_state_dict(state, strict)
        for group, own in zip(self._groups(), kept, strict=True):
            rate = float(group["lr"])
            group.update(own)
            _set_rate(group, rate)


def _set_rate(group: dict[str, Any], rate: float) -> None:
    """Set the learning rate of an optimizer's group, in place where it is a tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
