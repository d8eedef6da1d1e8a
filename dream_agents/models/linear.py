"""Linear maps that take the faster of PyTorch's two CPU libraries.

PyTorch multiplies float32 matrices with MKL, which uses half of the vector width on processors that are not Intel's.
oneDNN, which PyTorch ships as well, uses all of it; ``mkldnn::_linear_pointwise`` is its entry for dense float32
matrices (TorchInductor's, without documentation, hence the check before its first use).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

#: multiplications below which the set-up of a oneDNN call costs more than it saves
_FEW_PRODUCTS = 1_000_000
#: the same for a weight that was packed for oneDNN
_FEW_PACKED_PRODUCTS = 900_000
#: weights with more entries are not copied: products with them take long whatever their order
_LARGEST_PACKED = 2**22
#: rows that the packed order is chosen for; it serves any number
_PACKED_FOR_ROWS = 16


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias`` for ``x [..., in]``, ``weight [out, in]``, ``bias [out]``."""
    if not _takes_onednn(x, weight):
        return F.linear(x, weight, bias)
    # oneDNN takes a hundred times as long for the gradient where rows are parts of longer ones.
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        product = _Linear.apply(rows, weight, bias)
    else:
        product = _product(rows, weight, bias)
    return product if x.dim() == 2 else product.view(*x.shape[:-1], -1)


class Product:
    """:func:`linear` and its pullback with a weight that stays as it is, outside of autograd.

    :param weight: ``[out, in]``
    :param bias: ``[out]``
    :param pack: copy the weight into the two orders in which oneDNN reads it, forwards and backwards, which halves
        the time of products with few rows; the weight has to be :func:`packable`
    """

    def __init__(self, weight: Tensor, bias: Tensor, pack: bool = False):
        self._weight, self._bias = weight.detach(), bias.detach()
        self._packed = self._packed_transpose = None
        self._fewest_rows = _FEW_PACKED_PRODUCTS / weight.numel()
        if pack and weight.numel() <= _LARGEST_PACKED:
            self._packed = _pack(self._weight)
            self._packed_transpose = _pack(self._weight.t().contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        """``x @ weight.T + bias`` for ``x [rows, in]``."""
        if self._packed is None or x.shape[0] < self._fewest_rows:
            return linear(x, self._weight, self._bias)
        return _product(x, self._packed, self._bias)

    def pull(self, gradient: Tensor) -> Tensor:
        """``gradient @ weight`` for ``gradient [rows, out]``."""
        if self._packed_transpose is None or gradient.shape[0] < self._fewest_rows:
            return linear(gradient, self._weight.t())
        return _product(gradient, self._packed_transpose)


def packable(weight: Tensor) -> bool:
    """Whether products with ``weight`` can go to oneDNN: float32 on the CPU, outside autocast and compilation."""
    return (
        weight.is_cpu
        and weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and _onednn_works()
    )


def _pack(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR_ROWS)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (grad,) = grad_outputs
        return (
            _product(grad, weight.t()) if ctx.needs_input_grad[0] else None,
            _product(grad.t(), x.t()) if ctx.needs_input_grad[1] else None,
            grad.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _takes_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether the product is one for oneDNN, and large enough."""
    return x.dtype == weight.dtype and x.numel() * len(weight) >= _FEW_PRODUCTS and packable(weight)


@cache
def _onednn_works() -> bool:
    """Whether this build of PyTorch has oneDNN's product and it gives what it should, gradients included."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((3, 4), (5, 4), (5,)))
    expected = F.linear(x, weight, bias)
    try:
        pairs = (
            (_product(x, weight, bias), expected),
            (_product(expected, weight.t()), expected @ weight),
            (_product(expected.t(), x.t()), expected.t() @ x),
            (_product(x, _pack(weight), bias), expected),
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(torch.allclose(ours, reference, atol=1e-4) for ours, reference in pairs)
