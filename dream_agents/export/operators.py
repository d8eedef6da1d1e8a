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
        aten.mish.default: mish,
        aten.mish_backward.default: mish_backward,
        aten.native_layer_norm_backward.default: layer_norm_backward,
    }


def copysign(magnitude: Tensor, sign: Tensor) -> Tensor:
    """``torch.copysign`` but for the sign of a negative zero: ONNX has no operator that sees it."""
    size = magnitude.abs()
    return torch.where(sign < 0, -size, size)


def mish(x: Tensor) -> Tensor:
    """``x * tanh(softplus(x))`` through one sigmoid, see :mod:`dream_agents.models.kernels`."""
    return x * _share(torch.sigmoid(x))


def mish_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of :func:`mish`, of whose nodes it shares those up to ``t``."""
    s = torch.sigmoid(x)
    t = _share(s)
    return gradient * (t + x * (s - s * t * t))


def _share(s: Tensor) -> Tensor:
    p = s * (2 - s)
    return p / (2 - p)


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
