"""Scalar heads of Dreamer: two-hot over symexp bins (DreamerV3), or the mean of a Gaussian (Dreamer)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dream_agents.models.heads import MAX_SYMLOG, symexp


class ScalarHead(Protocol):
    """What a network's outputs ``[..., num_outputs]`` say about a scalar ``[...]``."""

    num_outputs: int

    def decode(self, outputs: Tensor) -> Tensor:
        """The expected scalar ``[...]``."""
        ...

    def loss(self, outputs: Tensor, *targets: Tensor) -> Tensor:
        """Summed negative log-likelihood ``[...]`` of each of ``targets [...]``, up to a constant."""
        ...


class SymexpTwoHot(nn.Module):
    """Scalars as classifications over bins that are evenly spaced before symexp (Hafner et al. 2025).

    Unlike :class:`~dream_agents.models.heads.TwoHot`, both the two-hot weights and the expectation are linear in the
    scalar itself, so that the mean of a target's distribution is what the head predicts. The bins are as far apart as
    DreamerV3's 255, and reach up to 22,025 instead of 485 million.

    :param num_bins: number of bins, odd, so that one of them is zero
    :param limit: symlog value of the last bin
    :raises ValueError: for an even number of bins or less than three, and for a limit that is not above 0 or beyond
        float32
    """

    bins: Tensor

    def __init__(self, num_bins: int = 127, limit: float = 10.0):
        super().__init__()
        if num_bins < 3 or num_bins % 2 == 0:
            raise ValueError(f"num_bins={num_bins} has to be odd and at least 3, so that one of them is zero")
        if not 0 < limit <= MAX_SYMLOG:
            raise ValueError(
                f"vmax={limit} is a symlog value, which has to be above 0 and at most {MAX_SYMLOG}"
            )
        self.num_outputs, self.limit = num_bins + 1, limit
        half = symexp(torch.linspace(-limit, 0, num_bins // 2 + 1, dtype=torch.float64)).float()
        # A spare bin of value 0, which no target falls into: PyTorch's softmax of 128 numbers takes a tenth of the time
        # of 127.
        self.register_buffer("bins", torch.cat((half, -half[:-1].flip(0), torch.zeros(1))), persistent=False)

    def decode(self, outputs: Tensor) -> Tensor:
        """Expected value."""
        with torch.autocast(outputs.device.type, enabled=False):
            return torch.softmax(outputs.float(), -1) @ self.bins

    def loss(self, outputs: Tensor, *targets: Tensor) -> Tensor:
        """Cross-entropy with the two-hot targets."""
        pairs, weights = zip(*(self._neighbours(target) for target in targets), strict=True)
        return _CrossEntropy.apply(outputs.float(), torch.cat(pairs, -1), torch.cat(weights, -1))

    def _neighbours(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two bins around ``x [...]`` and their weights, each ``[..., 2]``."""
        bins = self.bins[:-1]
        x = x.float().clamp(bins[0], bins[-1]).contiguous()
        upper = torch.searchsorted(bins, x).clamp_(min=1)
        low, high = bins[upper - 1], bins[upper]
        weight = (x - low) / (high - low)
        return torch.stack((upper - 1, upper), -1), torch.stack((1 - weight, weight), -1)


class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy of logits ``[..., K]`` with sparse targets: ``weights [..., k]`` of ``classes [..., k]``.

    The gradient takes two passes over the logits, where autograd's takes five.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
        log_prob = F.log_softmax(logits, -1)
        ctx.save_for_backward(log_prob, classes, weights)
        return -(log_prob.gather(-1, classes) * weights).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        log_prob, classes, weights = ctx.saved_tensors
        grad = grad_outputs[0].unsqueeze(-1)
        slope = log_prob.exp().mul_(grad * weights.sum(-1, keepdim=True))
        return slope.scatter_add_(-1, classes, -grad * weights), None, None


class UnitGaussian(nn.Module):
    """Scalars as means of Gaussians of variance 1 (Hafner et al. 2020)."""

    num_outputs = 1

    def decode(self, outputs: Tensor) -> Tensor:
        """The mean."""
        return outputs.squeeze(-1).float()

    def loss(self, outputs: Tensor, *targets: Tensor) -> Tensor:
        """Half the squared error."""
        mean = outputs.squeeze(-1).float()
        return sum((0.5 * (mean - target).square() for target in targets), torch.zeros_like(mean))
