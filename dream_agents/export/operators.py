"""PyTorch's operators in terms that ONNX has, with few nodes: a decision's time goes to their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
#: what exponents are limited to in :func:`mish`
LARGEST_EXPONENT = 20.0


def decompositions() -> dict[Any, Callable[..., Any]]:
    """What operators are to be replaced by in a program that is translated to ONNX, which has none for gradients."""
    from torch._decomp import core_aten_decompositions

    gradients = {
        operator: parts
        for operator, parts in core_aten_decompositions().items()
        if "_backward" in str(operator)
    }
    return gradients | {
        aten.copysign.Tensor: copysign,
        aten.cumprod.default: cumprod,
        aten.mish.default: mish,
        aten.sigmoid.default: sigmoid,
        aten.mish_backward.default: mish_backward,
        aten.native_layer_norm_backward.default: layer_norm_backward,
        aten.nan_to_num.default: nan_to_num,
    }


def copysign(magnitude: Tensor, sign: Tensor) -> Tensor:
    """``torch.copysign`` but for the sign of a negative zero: ONNX has no operator that sees it."""
    size = magnitude.abs()
    return torch.where(sign < 0, -size, size)


def cumprod(x: Tensor, dim: int) -> Tensor:
    """``torch.cumprod``, product by product: there are as few as a plan has steps."""
    products = [x.select(dim, 0)]
    for factor in x.unbind(dim)[1:]:
        products.append(products[-1] * factor)
    return torch.stack(products, dim)


def mish(x: Tensor) -> Tensor:
    """``x * tanh(softplus(x))``, by one exponential.

    With e = exp(x) and n = e (e + 2), tanh(softplus(x)) is n / (n + 2). ONNX Runtime's sigmoid has few right digits
    where it is small, and its own Mish four times the error of this and twenty times its time.
    """
    _, _, share = _exponentials(x)
    return x * share


def mish_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of :func:`mish`, with t = n / (n + 2): t + 2 (t - e / (n + 2)) (x - x t); it shares its nodes."""
    e, beyond, share = _exponentials(x)
    return gradient * (share + 2 * ((share - e / beyond) * (x - x * share)))


def _exponentials(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """e = exp(x), n + 2, and t = n / (n + 2), with n = e (e + 2); above 20, where Mish is x, x counts as 20."""
    e = x.clamp(max=LARGEST_EXPONENT).exp()
    n = e * (e + 2)
    return e, n + 2, n / (n + 2)


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``, which keeps its digits where it is small; see :func:`mish`."""
    return 1 / (1 + (-x).exp())


def nan_to_num(
    x: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """``torch.nan_to_num``; where all are replaced by 0 it takes three nodes instead of nine."""
    if not nan and posinf == 0 and neginf == 0:
        return torch.where(x.abs() <= torch.finfo(x.dtype).max, x, 0.0)
    found = torch.where(x == x, x, nan or 0.0)
    largest, least = torch.finfo(x.dtype).max, torch.finfo(x.dtype).min
    found = torch.where(found > largest, largest if posinf is None else posinf, found)
    return torch.where(found < least, least if neginf is None else neginf, found)


def layer_norm_backward(
    gradient: Tensor,
    x: Tensor,
    normalized_shape: list[int],
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: list[bool],
) -> tuple[Tensor, None, None]:
    """The gradient of a LayerNorm over the last dimension with respect to its input."""
    assert len(normalized_shape) == 1 and list(mask) == [True, False, False]
    if weight is not None:
        gradient = gradient * weight
    normed = (x - mean) * rstd
    along = (gradient * normed).mean(-1, keepdim=True)
    return rstd * (gradient - gradient.mean(-1, keepdim=True) - normed * along), None, None
