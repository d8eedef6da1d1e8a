"""Building blocks of TD-MPC2's networks: NormedLinear, SimNorm, Mish (Hansen et al. 2024, Section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dream_agents.models.kernels import group_softmax, linear, mish

#: which networks of an ensemble: whole numbers, or tensors ``[1]`` that stay on their device
EnsembleMembers = Sequence[int | Tensor]


class SimNorm(nn.Module):
    """Simplicial normalisation: a softmax over each group of ``group_size`` entries of the last dimension."""

    def __init__(self, group_size: int = 8):
        super().__init__()
        self.group_size = group_size

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., Z]`` to ``[..., Z]``; every group sums to 1. Latents stay float32 under autocast."""
        if x.dtype == torch.bfloat16:
            x = x.float()
        return group_softmax(x, self.group_size)


def drop_before_norm(x: Tensor, share: float) -> Tensor:
    """Zero a random share of ``x`` in place, as dropout does; a LayerNorm has to follow, which absorbs the rescaling.

    Drawing the few entries that are dropped costs a fraction of drawing a mask for all of them.
    """
    entries = torch.randint(x.numel(), (round(share * x.numel()),), device=x.device)
    x.view(-1).index_fill_(0, entries, 0.0)
    return x


def drop_from_each(parts: Sequence[Tensor], share: float) -> None:
    """:func:`drop_before_norm` of ``torch.stack(parts)``: the same entries are drawn and zeroed, unless compiled."""
    if torch.compiler.is_compiling():  # which wants sizes that do not depend on what is drawn
        for part in parts:
            drop_before_norm(part, share)
        return
    size = parts[0].numel()
    drawn = torch.randint(len(parts) * size, (round(share * len(parts) * size),), device=parts[0].device)
    for first, part in zip(range(0, len(parts) * size, size), parts, strict=True):
        part.view(-1).index_fill_(0, drawn[(drawn >= first) & (drawn < first + size)] - first, 0.0)


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

    def forward_member(self, x: Tensor, member: int | Tensor) -> Tensor:
        """Map ``[rows, in_features]`` to ``[rows, out_features]`` by one of the networks, without dropout."""
        weight, bias = _chosen(self.weight, member), _chosen(self.bias, member)
        if self.ln is None:
            with torch.autocast(x.device.type, enabled=False):
                return linear(x.to(weight.dtype), weight, bias)
        x = linear(x, weight, bias)
        gain, offset = _chosen(self.ln.weight, member), _chosen(self.ln.bias, member)
        return mish(F.layer_norm(x, x.shape[-1:], gain, offset))

    def forward_each(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """:meth:`forward` of each network's rows ``[rows, in_features]``, one network after the other.

        On a CPU this is sooner: a network's rows stay in the cache, and products take the kernel of :func:`linear`.
        """
        weights, biases = self.weight.unbind(), self.bias.unbind()
        if self.ln is None:
            with torch.autocast(inputs[0].device.type, enabled=False):
                return [linear(x.to(w.dtype), w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]
        outputs = [linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]
        if self.dropout > 0 and self.training:
            drop_from_each(outputs, self.dropout)
        norms = zip(outputs, self.ln.weight.unbind(), self.ln.bias.unbind(), strict=True)
        return [mish(F.layer_norm(x, x.shape[-1:], gain, offset)) for x, gain, offset in norms]


def _chosen(weights: Tensor, member: int | Tensor) -> Tensor:
    """A member's part of ``weights [M, ...]``; of a tensor ``[1]`` without waiting for its value."""
    return weights[member] if isinstance(member, int) else weights.index_select(0, member).squeeze(0)


def _products_one_by_one() -> bool:
    """Whether one product a network is sooner on a CPU than all in one; not what torch.compile makes of bfloat16."""
    if torch.compiler.is_dynamo_compiling():
        return not torch.is_autocast_enabled("cpu")
    return not torch.compiler.is_compiling()


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


class ValueEnsemble(nn.Sequential):
    """Independently initialised networks, (z, a) or z -> two-hot logits; the last layer's weights start at zero.

    :param members: networks M
    :param in_features: width of (z, a) or z
    :param width: hidden width
    :param num_bins: logits
    :param dropout: dropout in the first layer while training
    """

    def __init__(self, members: int, in_features: int, width: int, num_bins: int, dropout: float = 0.0):
        last = EnsembleLinear(members, width, num_bins, normed=False)
        nn.init.zeros_(last.weight)
        first = EnsembleLinear(members, in_features, width, dropout=dropout)
        super().__init__(first, EnsembleLinear(members, width, width), last)

    @property
    def layers(self) -> tuple[EnsembleLinear, ...]:
        """First, hidden and last layer."""
        return cast("tuple[EnsembleLinear, ...]", tuple(self))

    def forward(self, input: Tensor, members: EnsembleMembers | None = None) -> Tensor:
        """Logits ``[M, ..., num_bins]`` of the chosen members, without dropout, or of all."""
        rows = input.reshape(-1, input.shape[-1])
        if members is not None:
            chosen = [rows] * len(members)
            for layer in self.layers:
                chosen = [layer.forward_member(x, member) for x, member in zip(chosen, members, strict=True)]
            logits = torch.stack(chosen)
        elif rows.is_cpu and _products_one_by_one():
            logits = self._one_by_one(rows)
        else:
            logits = self._batched(rows)
        return logits.view(len(logits), *input.shape[:-1], -1)

    def _batched(self, rows: Tensor) -> Tensor:
        logits = rows.expand(len(self.layers[0].weight), *rows.shape)
        for layer in self.layers:
            logits = layer(logits)
        return logits

    def _one_by_one(self, rows: Tensor) -> Tensor:
        """:meth:`_batched`, up to rounding; float32 products take the kernel of :func:`linear`, twice as fast."""
        each = [rows] * len(self.layers[0].weight)
        for layer in self.layers:
            each = layer.forward_each(each)
        return torch.stack(each)


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


def join(z: Tensor, action: Tensor) -> Tensor:
    """Concatenate latents and actions, broadcasting their leading dimensions."""
    action = action.to(z.dtype)
    if z.shape[:-1] == action.shape[:-1]:
        return torch.cat((z, action), -1)
    lead = torch.broadcast_shapes(z.shape[:-1], action.shape[:-1])
    return torch.cat((z.expand(*lead, z.shape[-1]), action.expand(*lead, action.shape[-1])), -1)
