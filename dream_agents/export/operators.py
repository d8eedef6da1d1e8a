"""PyTorch's operators in terms that ONNX has, with few nodes: a decision's time goes to their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def decompositions() -> dict[Any, Callable[..., Any]]:
    """What operators are to be replaced by in a program that is translated to ONNX."""
    return {
        aten.copysign.Tensor: copysign,
        aten.cumprod.default: cumprod,
        aten.mish.default: mish,
        aten.sigmoid.default: sigmoid,
        aten.mish_backward.default: mish_backward,
        aten.native_layer_norm_backward.default: layer_norm_backward,
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
    where it is small, and its own Mish four times the error of this.
    """
    _, n, share = _exponentials(x)
    return x * (n * share)


def mish_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of :func:`mish`: t + 4 x e (e + 1) / (n + 2)^2; it shares the nodes up to ``share``."""
    e, n, share = _exponentials(x)
    return gradient * (n * share + (x * share) * ((4 * e * (e + 1)) * share))


def _exponentials(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """e = exp(x), n = e (e + 2), and 1 / (n + 2); above 20, where Mish is x, x counts as 20."""
    e = x.clamp(max=20.0).exp()
    n = e * (e + 2)
    return e, n, 1 / (n + 2)


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``, which keeps its digits where it is small; see :func:`mish`."""
    return 1 / (1 + (-x).exp())


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
