"""Whether weights have changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch.nn as nn
from torch import Tensor


class WeightsWatch:
    """Remembers the weights of networks, and tells whether they have changed since.

    Fused optimizers and ``parameter.data`` go around PyTorch's version counter, so on the CPU one entry of each weight
    is compared as well.

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
        self._places = self._describe_places()
        self._arrays = [weight.detach().numpy() for weight in self._weights() if weight.is_cpu]
        self.renew()

    def renew(self) -> None:
        """Remember the weights as they are now."""
        self._versions, self._entries = self._describe_versions(), self._describe_entries()

    def same_places(self) -> bool:
        """Whether each weight is where it was, with whatever values."""
        return self._describe_places() == self._places

    def unchanged(self) -> bool:
        """Whether the weights are what they were."""
        return (
            self.same_places()
            and self._describe_versions() == self._versions
            and self._describe_entries() == self._entries
        )

    def _weights(self) -> list[Tensor]:
        return [cast("Tensor", parameters[name]) for parameters, name in self._slots]

    def _describe_places(self) -> list[int]:
        return [weight.data_ptr() for weight in self._weights()]

    def _describe_versions(self) -> list[int]:
        return [weight._version for weight in self._weights()]

    def _describe_entries(self) -> list[float]:
        return [array.item(array.size // 2) for array in self._arrays]
