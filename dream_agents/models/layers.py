"""Building blocks of TD-MPC2's networks: NormedLinear, SimNorm, Mish (Hansen et al. 2024, Section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dream_agents.models.linear import linear

#: up to here one call of PyTorch's kernel is cheaper than several vectorized ones
_FEW_ELEMENTS = 4096


class _CPUMish(torch.autograd.Function):
    """Mish through one sigmoid: x * t with t = p / (2 - p), p = s (2 - s), s = sigmoid(x); slope t + x (s - s t^2).

    PyTorch's own kernel takes most of an update's time on a CPU, since it evaluates exp, log1p and tanh for each
    element, forwards and backwards.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        s, t = _sigmoid_and_share(x)
        ctx.save_for_backward(x, s, t)
        return x * t

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return _mish_slope(*ctx.saved_tensors).mul_(grad_outputs[0])


def _sigmoid_and_share(x: Tensor) -> tuple[Tensor, Tensor]:
    """sigmoid(x) and mish(x) / x = tanh(softplus(x))."""
    s = torch.sigmoid(x)
    p = (2 - s).mul_(s)
    return s, p.div_(2 - p)


def _mish_slope(x: Tensor, s: Tensor, t: Tensor) -> Tensor:
    slope = torch.addcmul(s, s * t, t, value=-1)
    return torch.addcmul(t, x, slope)


def mish(x: Tensor) -> Tensor:
    """Mish activation, x * tanh(softplus(x)) (Misra 2019)."""
    if not x.is_cpu or x.numel() <= _FEW_ELEMENTS:
        return F.mish(x)
    if torch.compiler.is_compiling():
        p = torch.sigmoid(x)
        p = p * (2 - p)
        return x * p / (2 - p)
    return _CPUMish.apply(x)


def mish_with_pullback(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """:func:`mish` and a function that pulls a gradient back through it, without autograd."""
    if not x.is_cpu or x.numel() <= _FEW_ELEMENTS // 2:
        return F.mish(x), lambda gradient: torch.ops.aten.mish_backward.default(gradient, x)
    s, t = _sigmoid_and_share(x)
    return x * t, lambda gradient: _mish_slope(x, s, t).mul_(gradient)


class SimNorm(nn.Module):
    """Simplicial normalisation: a softmax over each group of ``group_size`` entries of the last dimension."""

    def __init__(self, group_size: int = 8):
        super().__init__()
        self.group_size = group_size

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., Z]`` to ``[..., Z]``; every group sums to 1. Latents stay float32 under autocast."""
        if x.dtype == torch.bfloat16:
            x = x.float()
        groups = x.unflatten(-1, (-1, self.group_size))
        if x.is_cpu and x.numel() > _FEW_ELEMENTS:
            # A softmax over eight neighbours runs element by element; over a strided dimension it is vectorized.
            return groups.transpose(-1, -2).contiguous().softmax(-2).transpose(-1, -2).flatten(-2)
        return groups.softmax(-1).flatten(-2)

    def with_pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """:meth:`forward` and a function that pulls a gradient back through it, without autograd."""
        out = self(x)
        groups = out.unflatten(-1, (-1, self.group_size))

        def pull(gradient: Tensor) -> Tensor:
            gradient = gradient.unflatten(-1, (-1, self.group_size))
            return ((gradient - (gradient * groups).sum(-1, keepdim=True)) * groups).flatten(-2)

        return out, pull


def drop_before_norm(x: Tensor, share: float) -> Tensor:
    """Zero a random share of ``x`` in place, as dropout does; a LayerNorm has to follow, which absorbs the rescaling.

    Drawing the few entries that are dropped costs a fraction of drawing a mask for all of them.
    """
    entries = torch.randint(x.numel(), (round(share * x.numel()),), device=x.device)
    x.view(-1).index_fill_(0, entries, 0.0)
    return x


class EnsembleLinear(nn.Module):
    """A layer of several independent networks, evaluated in one batched product.

    :param members: networks M
    :param in_features: width of the input
    :param out_features: width of the output
    :param normed: follow with LayerNorm and Mish; otherwise a last layer, in float32 even under autocast
    :param dropout: share of entries that are dropped before the LayerNorm while training
    """

    def __init__(
        self, members: int, in_features: int, out_features: int, normed: bool = True, dropout: float = 0.0
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(members, out_features))
        self.ln = EnsembleNorm(members, out_features) if normed else None
        self.dropout = dropout
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[M, rows, in_features]`` to ``[M, rows, out_features]``."""
        if self.ln is None:
            with torch.autocast(x.device.type, enabled=False):
                return torch.baddbmm(
                    self.bias.unsqueeze(1), x.to(self.weight.dtype), self.weight.transpose(1, 2)
                )
        x = torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2))
        if self.dropout > 0 and self.training:
            x = drop_before_norm(x, self.dropout)
        x = F.layer_norm(x, x.shape[-1:])
        return mish(torch.addcmul(self.ln.bias.unsqueeze(1), x, self.ln.weight.unsqueeze(1)))

    def forward_member(self, x: Tensor, member: int) -> Tensor:
        """Map ``[rows, in_features]`` to ``[rows, out_features]`` by one of the networks, without dropout."""
        weight, bias = self.weight[member], self.bias[member]
        if self.ln is None:
            with torch.autocast(x.device.type, enabled=False):
                return linear(x.to(weight.dtype), weight, bias)
        x = linear(x, weight, bias)
        return mish(F.layer_norm(x, x.shape[-1:], self.ln.weight[member], self.ln.bias[member]))


class EnsembleNorm(nn.Module):
    """Gains and offsets of the LayerNorms of an ensemble's layer, each ``[M, width]``."""

    def __init__(self, members: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, width))
        self.bias = nn.Parameter(torch.zeros(members, width))


class NormedLinear(nn.Linear):
    """Linear, dropout, LayerNorm, activation."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: Callable[[Tensor], Tensor] = mish,
        dropout: float = 0.0,
    ):
        super().__init__(in_features, out_features)
        self.ln = nn.LayerNorm(out_features)
        self.activation = activation
        self.dropout = dropout

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``."""
        x = linear(input, self.weight, self.bias)
        if self.dropout > 0 and self.training:
            x = drop_before_norm(x, self.dropout)
        return self.activation(F.layer_norm(x, self.ln.normalized_shape, self.ln.weight, self.ln.bias))


class OutputLinear(nn.Linear):
    """A last layer that is evaluated in float32 even under autocast, so that logits and actions keep their digits."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to float ``[..., out_features]``."""
        with torch.autocast(input.device.type, enabled=False):
            return linear(input.to(self.weight.dtype), self.weight, self.bias)


def mlp(in_features: int, hidden: Sequence[int], out_features: int, dropout: float = 0.0) -> nn.Sequential:
    """Normed hidden layers and a plain output layer; dropout, if any, acts in the first layer."""
    sizes = [in_features, *hidden]
    layers: list[nn.Module] = [
        NormedLinear(sizes[i], sizes[i + 1], dropout=dropout if i == 0 else 0.0) for i in range(len(hidden))
    ]
    return nn.Sequential(*layers, OutputLinear(sizes[-1], out_features))


def initialize(module: nn.Module) -> None:
    """Truncated normal weights of standard deviation 0.02, zero biases; use with ``nn.Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
