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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias`` for ``x [..., in]``, ``weight [out, in]``, ``bias [out]``."""
    if not _takes_onednn(x, weight):
        return F.linear(x, weight, bias)
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        product = _Linear.apply(rows, weight, bias)
    else:
        product = _product(rows, weight, bias)
    return product if x.dim() == 2 else product.view(*x.shape[:-1], -1)


def ensemble_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """:func:`linear` for M networks: ``x [M, rows, in]``, ``weight [M, out, in]``, ``bias [M, out]``."""
    if not _takes_onednn(x[0], weight[0]):
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _EnsembleLinear.apply(x, weight, bias)
    return torch.stack([_product(*member) for member in zip(x, weight, bias, strict=True)])


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


class _EnsembleLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.stack([_product(*member) for member in zip(x, weight, bias, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (grad,) = grad_outputs
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.stack([_product(g, w.t()) for g, w in zip(grad, weight, strict=True)])
        if ctx.needs_input_grad[1]:
            grad_weight = torch.stack([_product(g.t(), y.t()) for g, y in zip(grad, x, strict=True)])
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(1)
        return grad_x, grad_weight, grad_bias


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _takes_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether the product is float32 on the CPU, outside autocast and compilation, and large enough."""
    return (
        x.is_cpu
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= _FEW_PRODUCTS
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and _onednn_works()
    )


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
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(torch.allclose(ours, reference, atol=1e-4) for ours, reference in pairs)
