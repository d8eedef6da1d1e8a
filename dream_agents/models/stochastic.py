"""Families of the stochastic part of an RSSM's latents: categorical (DreamerV3) or Gaussian (Dreamer).

Shapes: S stochastic, G groups of K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class StochasticState(nn.Module, ABC):
    """The family of distributions of the stochastic part ``s [..., S]``, given by a network's statistics."""

    #: S
    dim: int
    #: width of the statistics
    num_statistics: int

    @abstractmethod
    def noise(self, *sizes: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """What :meth:`sample` needs for states ``[*sizes, S]``."""

    @abstractmethod
    def sample(self, statistics: Tensor, noise: Tensor | None) -> Tensor:
        """A sample ``[..., S]`` that can be differentiated in the statistics; the mode where ``noise`` is None."""

    @abstractmethod
    def kl(self, first: Tensor, second: Tensor) -> Tensor:
        """KL divergence ``[...]`` in nats between distributions with these statistics."""

    @abstractmethod
    def entropy(self, statistics: Tensor) -> Tensor:
        """Entropy ``[...]`` in nats."""


class _StraightThrough(torch.autograd.Function):
    """A one-hot sample whose gradient goes to the probabilities as it is (Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, one_hot: Tensor) -> Tensor:
        return one_hot.view_as(one_hot)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None


class Categorical(StochasticState):
    """G independent one-hot variables of K classes with straight-through gradients (DreamerV3).

    Classes are the outer dimension of ``s``, groups the inner one: sums over classes are then vectorized on a CPU.

    :param groups: G
    :param classes: K
    :param unimix: share of the uniform distribution that is mixed in
    """

    def __init__(self, groups: int = 32, classes: int = 32, unimix: float = 0.01):
        super().__init__()
        self.groups, self.classes, self.unimix = groups, classes, unimix
        self.dim = self.num_statistics = groups * classes

    def probabilities(self, statistics: Tensor) -> Tensor:
        """Probabilities ``[..., K, G]`` with the uniform share, from logits ``[..., K * G]``."""
        softmax = statistics.float().unflatten(-1, (self.classes, self.groups)).softmax(-2)
        return (1 - self.unimix) * softmax + self.unimix / self.classes

    def noise(self, *sizes: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """A uniform number for each variable."""
        return torch.rand(*sizes, 1, self.groups, generator=generator, device=device)

    def sample(self, statistics: Tensor, noise: Tensor | None) -> Tensor:
        """One-hot variables, by inversion of the distribution function."""
        probabilities = self.probabilities(statistics)
        with torch.no_grad():
            if noise is None:
                chosen = probabilities.argmax(-2, keepdim=True)
                one_hot = torch.zeros_like(probabilities).scatter_(-2, chosen, 1.0)
            else:
                reached = probabilities.cumsum(-2).gt_(noise)  # 0, ..., 0, 1, ..., 1
                reached[..., -1, :] = 1.0  # the sum may be less than 1 by rounding
                one_hot = torch.cat((reached[..., :1, :], reached.diff(dim=-2)), -2)
        return _StraightThrough.apply(probabilities, one_hot).flatten(-2)

    def kl(self, first: Tensor, second: Tensor) -> Tensor:
        """Sum over the variables."""
        p, q = self.probabilities(first), self.probabilities(second)
        return (p * (p / q).log()).sum((-2, -1))

    def entropy(self, statistics: Tensor) -> Tensor:
        """Sum over the variables."""
        p = self.probabilities(statistics)
        return -(p * p.log()).sum((-2, -1))


class Gaussian(StochasticState):
    """Independent normal variables (Dreamer); statistics are means and what softplus makes standard deviations.

    :param dim: S
    :param min_std: smallest standard deviation
    """

    def __init__(self, dim: int = 30, min_std: float = 0.1):
        super().__init__()
        self.dim, self.num_statistics, self.min_std = dim, 2 * dim, min_std

    def _mean_std(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = statistics.float().chunk(2, -1)
        return mean, F.softplus(raw) + self.min_std

    def noise(self, *sizes: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """A standard normal number for each variable."""
        return torch.randn(*sizes, self.dim, generator=generator, device=device)

    def sample(self, statistics: Tensor, noise: Tensor | None) -> Tensor:
        """Mean plus noise times standard deviation."""
        mean, std = self._mean_std(statistics)
        return mean if noise is None else torch.addcmul(mean, noise, std)

    def kl(self, first: Tensor, second: Tensor) -> Tensor:
        """Sum over the variables."""
        (mean, std), (other_mean, other_std) = self._mean_std(first), self._mean_std(second)
        ratio = (std / other_std).square()
        distance = ((mean - other_mean) / other_std).square()
        return 0.5 * (ratio + distance - 1 - ratio.log()).sum(-1)

    def entropy(self, statistics: Tensor) -> Tensor:
        """Sum over the variables."""
        return (self._mean_std(statistics)[1].log() + _HALF_LOG_2PI_E).sum(-1)


_HALF_LOG_2PI_E = 1.4189385332046727
