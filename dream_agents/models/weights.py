"""Whether weights have changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch.nn as nn
from torch import Tensor


class WeightsWatch:
    """Remembers the weights of networks on the CPU, and tells whether they have changed since.

    Fused optimizers and ``parameter.data`` go around PyTorch's version counter, so one entry of each weight is
    compared as well.

    :param networks: their parameters are watched, not their buffers
    """

    def __init__(self, networks: Iterable[nn.Module]):
        modules = [module for network in networks for module in network.modules()]
        #: where each parameter stands, since it may be replaced
        self._slots = [
            (module._parameters, name)
            for module in modules
            for name, weight in module._parameters.items()
            if weight is not None
        ]
        self._arrays = [weight.detach().numpy() for weight in self._weights()]
        self._state = self._describe()

    def unchanged(self) -> bool:
        """Whether the weights are those that they were."""
        return self._describe() == self._state

    def _weights(self) -> list[Tensor]:
        return [cast("Tensor", parameters[name]) for parameters, name in self._slots]

    def _describe(self) -> list[tuple[int, int, float]]:
        pairs = zip(self._weights(), self._arrays, strict=True)
        return [(weight.data_ptr(), weight._version, array.item(array.size // 2)) for weight, array in pairs]
