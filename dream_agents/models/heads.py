"""What networks put out: scalars as two-hot classifications, and Gaussian policies."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + abs(x))."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


#: largest symlog value of a bin; symexp of more is infinite in float32
MAX_SYMLOG = 80.0


def symlog_to_hold(largest: float) -> float:
    """Symlog value of a last bin, a whole number, beyond scalars up to ``largest``."""
    return min(MAX_SYMLOG, math.floor(math.log1p(largest)) + 1.0)


def symexp(x: Tensor) -> Tensor:
    """Inverse of :func:`symlog`."""
    return torch.copysign(torch.expm1(torch.abs(x)), x)


class TwoHot(nn.Module):
    """Scalars as classifications over evenly spaced bins in symlog space (Hansen et al. 2024, Section 3.1).

    :param num_bins: number of bins
    :param low: symlog value of the first bin
    :param high: symlog value of the last bin
    :raises ValueError: for less than two bins, and ends that are not in order or beyond float32
    """

    bins: Tensor

    def __init__(self, num_bins: int = 101, low: float = -10.0, high: float = 10.0):
        super().__init__()
        if num_bins < 2:
            raise ValueError(f"num_bins={num_bins}: two-hot needs at least 2")
        if not -MAX_SYMLOG <= low < high <= MAX_SYMLOG:
            raise ValueError(
                f"vmin={low} and vmax={high} are symlog values, which have to be in this order and from -{MAX_SYMLOG} "
                f"to {MAX_SYMLOG}"
            )
        self.low, self.high, self.num_bins = low, high, num_bins
        self.bin_size = (high - low) / (num_bins - 1)
        # Made on the CPU: on the device "meta", linspace imports sympy, which takes longer than all the rest.
        bins = torch.linspace(low, high, num_bins, device="cpu").to(torch.get_default_device())
        self.register_buffer("bins", bins, persistent=False)

    @property
    def range(self) -> tuple[float, float]:
        """The scalars of the first and the last bin."""
        low, high = (math.copysign(math.expm1(abs(end)), end) for end in (self.low, self.high))
        return low, high

    def _neighbours(self, x: Tensor) -> tuple[Tensor, Tensor]:
        position = (symlog(x).clamp(self.low, self.high) - self.low) / self.bin_size
        lower = position.floor().clamp(max=self.num_bins - 2)
        return lower.long(), position - lower

    def encode(self, x: Tensor) -> Tensor:
        """Two-hot target ``[..., num_bins]`` of values ``[...]``."""
        lower, weight = self._neighbours(x)
        target = torch.zeros(*x.shape, self.num_bins, dtype=x.dtype, device=x.device)
        target.scatter_(-1, lower.unsqueeze(-1), (1 - weight).unsqueeze(-1))
        return target.scatter_(-1, lower.unsqueeze(-1) + 1, weight.unsqueeze(-1))

    def decode(self, logits: Tensor) -> Tensor:
        """Expected value ``[...]`` of logits ``[..., num_bins]``."""
        return symexp(self.symlog_mean(torch.softmax(logits, -1)))

    def symlog_mean(self, probabilities: Tensor) -> Tensor:
        """Expected symlog value ``[...]`` of ``probabilities [..., num_bins]``, exact under autocast, too."""
        return (probabilities * self.bins).sum(-1)

    def cross_entropy(self, logits: Tensor, x: Tensor) -> Tensor:
        """Cross-entropy ``[...]`` between logits ``[..., num_bins]`` and the two-hot targets of values ``[...]``."""
        lower, weight = self._neighbours(x)
        log_prob = F.log_softmax(logits, -1)
        pair = torch.stack((lower, lower + 1), -1)  # [..., 2]
        pair_weight = torch.stack((1 - weight, weight), -1)
        return -(log_prob.gather(-1, pair) * pair_weight).sum(-1)


class ActionDistribution(Protocol):
    """A distribution over actions in [-1, 1], batched over leading dimensions."""

    @property
    def mean(self) -> Tensor:
        """The deterministic action ``[..., A]``."""
        ...

    def expand(self, *sizes: int) -> ActionDistribution:
        """The same distribution over leading dimensions ``sizes``; -1 keeps one."""
        ...

    def at(self, noise: Tensor) -> Tensor:
        """The action ``[..., A]`` that standard normal ``noise`` stands for (reparametrisation)."""
        ...

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A reparametrised sample ``[..., A]``."""
        ...

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density ``[...]`` of actions ``[..., A]``."""
        ...

    @property
    def entropy(self) -> Tensor:
        """Entropy ``[...]`` in nats, exact or a one-sample estimate."""
        ...


_LOG_2PI = math.log(2 * math.pi)


def scaled_tanh(raw: Tensor, low: float, high: float) -> Tensor:
    """Map any number to between ``low`` and ``high`` by tanh."""
    half_range = 0.5 * (high - low)
    return torch.tanh(raw) * half_range + (low + half_range)


class SquashedGaussian:
    """tanh of a Gaussian, TD-MPC2's policy prior.

    :param raw_mean: mean before tanh, ``[..., A]``
    :param log_std: logarithm of the standard deviation before tanh, ``[..., A]``
    """

    def __init__(self, raw_mean: Tensor, log_std: Tensor):
        self.raw_mean, self.log_std = raw_mean, log_std

    @property
    def mean(self) -> Tensor:
        """tanh of the Gaussian's mean."""
        return torch.tanh(self.raw_mean)

    def expand(self, *sizes: int) -> SquashedGaussian:
        """The same distribution over leading dimensions ``sizes``; -1 keeps one."""
        return SquashedGaussian(self.raw_mean.expand(*sizes, -1), self.log_std.expand(*sizes, -1))

    def at(self, noise: Tensor) -> Tensor:
        """tanh(mean + noise * std)."""
        return torch.tanh(torch.addcmul(self.raw_mean, noise, self.log_std.exp()))

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A reparametrised sample, in [-1, 1]."""
        return self.sample_with_noise(generator)[0]

    def sample_with_noise(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """A reparametrised sample and the standard normal noise behind it, both ``[..., A]``."""
        noise = _noise_like(self.raw_mean, generator)
        return self.at(noise), noise

    def gaussian_log_prob(self, noise: Tensor) -> Tensor:
        """Log-density ``[...]`` before squashing, at ``mean + noise * std``."""
        return (-0.5 * noise.square() - self.log_std - 0.5 * _LOG_2PI).sum(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density of squashed actions, with TD-MPC2's guard: - sum ln(relu(1 - a^2) + 1e-6)."""
        limit = 1 - torch.finfo(action.dtype).eps
        noise = (torch.atanh(action.clamp(-limit, limit)) - self.raw_mean) * torch.exp(-self.log_std)
        return self.gaussian_log_prob(noise) - torch.log(F.relu(1 - action.square()) + 1e-6).sum(-1)

    @property
    def entropy(self) -> Tensor:
        """One-sample estimate of the squashed entropy."""
        return -self.log_prob(self.sample())

    def scaled_entropy(self, noise: Tensor) -> Tensor:
        """TD-MPC2's entropy bonus: -A times the Gaussian log-density before squashing, ``[...]``."""
        return -noise.shape[-1] * self.gaussian_log_prob(noise)


class ClampedGaussian:
    """A Gaussian around an action, clamped to [-1, 1]: BMPC's policy prior.

    Density and entropy are the Gaussian's before clamping.

    :param mean: ``[..., A]``, in [-1, 1]
    :param log_std: logarithm of the standard deviation, ``[..., A]``
    """

    def __init__(self, mean: Tensor, log_std: Tensor):
        self.mean, self.log_std = mean, log_std

    def expand(self, *sizes: int) -> ClampedGaussian:
        """The same distribution over leading dimensions ``sizes``; -1 keeps one."""
        return ClampedGaussian(self.mean.expand(*sizes, -1), self.log_std.expand(*sizes, -1))

    def at(self, noise: Tensor) -> Tensor:
        """clamp(mean + noise * std)."""
        return torch.addcmul(self.mean, noise, self.log_std.exp()).clamp(-1, 1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A reparametrised sample, in [-1, 1]."""
        return self.at(_noise_like(self.mean, generator))

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density ``[...]`` of actions ``[..., A]``."""
        noise = (action - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * noise.square() - self.log_std - 0.5 * _LOG_2PI).sum(-1)

    @property
    def entropy(self) -> Tensor:
        """Entropy ``[...]`` in nats."""
        return (self.log_std + 0.5 * (1 + _LOG_2PI)).sum(-1)

    def divergence_from(self, mean: Tensor, std: Tensor) -> Tensor:
        """KL(self || N(mean, std)) of each action dimension, ``[..., A]``."""
        squares = (2 * self.log_std).exp() + (self.mean - mean).square()
        return std.log() - self.log_std + squares / (2 * std.square()) - 0.5


def _noise_like(mean: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
