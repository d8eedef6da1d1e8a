"""Products with weights that stay as they are, in the order in which oneDNN reads them."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from dream_agents.models.kernels import linear, onednn_product

#: multiplications below which the set-up of a oneDNN call costs more than it saves, for a packed weight
_FEW_PACKED_PRODUCTS = 900_000
#: weights with more entries are not copied: products with them take long whatever their order
_LARGEST_PACKED = 2**22
#: rows that the packed order is chosen for; it serves any number
_PACKED_FOR_ROWS = 16


class Product:
    """``x @ weight.T + bias`` and its pullback with a weight that stays as it is, outside of autograd.

    :param weight: ``[out, in]``
    :param bias: ``[out]``
    :param pack: copy the weight into the two orders in which oneDNN reads it, forwards and backwards, which halves
        the time of products with few rows; the weight has to be
        :func:`~dream_agents.models.kernels.packable`
    """

    def __init__(self, weight: Tensor, bias: Tensor, pack: bool = False):
        self._weight, self._bias = weight.detach(), bias.detach()
        self._packed = self._packed_transpose = None
        self._half: tuple[Tensor, Tensor] | None = None
        self._stays = pack
        self._device_type = weight.device.type  # asking a tensor each time takes longer
        self._fewest_rows = _FEW_PACKED_PRODUCTS / weight.numel()
        if pack and weight.numel() <= _LARGEST_PACKED and _packing_works():
            self._packed = _pack(self._weight)
            self._packed_transpose = _pack(self._weight.t().contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``x [rows, in]`` to ``[rows, out]``."""
        if torch.is_autocast_enabled(self._device_type):
            return self._under_autocast(x)
        if self._packed is None or x.shape[0] < self._fewest_rows:
            return linear(x, self._weight, self._bias)
        return onednn_product(x, self._packed, self._bias)

    def pull(self, gradient: Tensor) -> Tensor:
        """``gradient @ weight`` for ``gradient [rows, out]``."""
        under_autocast = torch.is_autocast_enabled(self._device_type)
        if under_autocast or self._packed_transpose is None or gradient.shape[0] < self._fewest_rows:
            return linear(gradient, self._weight.t())
        return onednn_product(gradient, self._packed_transpose)

    def exact(self, x: Tensor) -> Tensor:
        """Map ``x`` in the weight's own precision, as a last layer does even under autocast."""
        if not torch.is_autocast_enabled(self._device_type):
            return self(x)
        with torch.autocast(self._device_type, enabled=False):
            return self(x.to(self._weight.dtype))

    def _under_autocast(self, x: Tensor) -> Tensor:
        """Autocast's product; a weight that stays as it is has to be rounded once only."""
        if not self._stays:
            return linear(x, self._weight, self._bias)
        dtype = torch.get_autocast_dtype(self._device_type)
        if self._half is None or self._half[0].dtype != dtype:
            self._half = self._weight.to(dtype), self._bias.to(dtype)
        return linear(x, *self._half)


def _pack(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR_ROWS)


@cache
def _packing_works() -> bool:
    """Whether this build of PyTorch packs weights, and products with them are what they should be."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((3, 4), (5, 4), (5,)))
    try:
        product = onednn_product(x, _pack(weight), bias)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(product, torch.nn.functional.linear(x, weight, bias), atol=1e-4)
