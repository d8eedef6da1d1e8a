"""The recurrent state-space model of Dreamer (Hafner et al. 2019, 2020, 2025).

A latent is ``[h, s]``: the deterministic state of a GRU and a stochastic part, categorical (DreamerV3) or Gaussian
(Dreamer). Shapes: L steps, B sequences, D deterministic, S stochastic, G groups of K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dream_agents.models.layers import NormedLinear, join


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


class RSSM(nn.Module):
    """GRU, prior and posterior; every layer is linear, LayerNorm, SiLU, and the GRU's gates are normed together.

    :param action_dim: A
    :param embed_dim: width of the encoded observation
    :param deterministic: D, width of the GRU
    :param hidden: width of the layers around it
    :param stochastic: family of the stochastic part
    """

    def __init__(
        self, action_dim: int, embed_dim: int, deterministic: int, hidden: int, stochastic: StochasticState
    ):
        super().__init__()
        self.deterministic, self.stochastic = deterministic, stochastic
        self.latent_dim = deterministic + stochastic.dim
        self.input = NormedLinear(stochastic.dim + action_dim, hidden, F.silu)
        self.gates = NormedLinear(hidden + deterministic, 3 * deterministic, _identity)
        self.prior = nn.Sequential(
            NormedLinear(deterministic, hidden, F.silu), nn.Linear(hidden, stochastic.num_statistics)
        )
        self.posterior = nn.Sequential(
            NormedLinear(deterministic + embed_dim, hidden, F.silu),
            nn.Linear(hidden, stochastic.num_statistics),
        )

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Deterministic ``[..., D]`` and stochastic part ``[..., S]`` of latents."""
        h, s = z.split((self.deterministic, self.stochastic.dim), -1)
        return h, s

    def advance(self, h: Tensor, s: Tensor, action: Tensor) -> Tensor:
        """The GRU's state ``[..., D]`` after taking ``action [..., A]`` in ``[h, s]``; leading dimensions broadcast."""
        x = self.input(join(s, action))
        return update_state(self.gates(join(x, h)), h)

    def imagine(self, z: Tensor, action: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents ``[..., Z]`` that the prior expects after ``action [..., A]`` in ``z``: a sample, or the mode.

        Categorical states pass gradients straight through.
        """
        h, s = self.split(z)
        h = self.advance(h, s, action)
        return torch.cat((h, self.stochastic.sample(self.prior(h), noise).to(h.dtype)), -1)

    def correct(self, h: Tensor, embedding: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents ``[..., Z]`` of the posterior in state ``h``, given an encoded observation: a sample, or the mode."""
        statistics = self.posterior(torch.cat((h, embedding), -1))
        return torch.cat((h, self.stochastic.sample(statistics, noise)), -1)

    def observe(
        self,
        embeddings: Tensor,
        actions: Tensor,
        is_first: Tensor,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Filter sequences, in float32; gradients equal the gradients of the step by step recursion.

        :param embeddings: encoded observations ``[L, B, E]``
        :param actions: taken before each, ``[L, B, A]``
        :param is_first: 1 where an episode begins, which resets latent and action, ``[L, B]``
        :param context: latent before the first step ``[B, Z]``; None for the initial one
        :return: sampled posterior latents ``[L, B, Z]`` and their statistics
        """
        length, batch = is_first.shape
        with torch.autocast(embeddings.device.type, enabled=False):
            if context is None:
                context = embeddings.new_zeros(batch, self.latent_dim)
            goes_on = 1 - is_first.unsqueeze(-1)  # [L, B, 1]
            state_weight, action_weight = self.input.weight.split((self.stochastic.dim, actions.shape[-1]), 1)
            corrected, last = cast("tuple[NormedLinear, nn.Linear]", tuple(self.posterior))
            h_weight, embedding_weight = corrected.weight.split((self.deterministic, embeddings.shape[-1]), 1)
            noise = self.stochastic.noise(length, batch, generator=generator, device=embeddings.device)
            return _Filter.apply(
                self.stochastic,
                (goes_on, noise, *self.split(context.float())),
                # What the recursion adds to each layer; the rest of the products doesn't depend on it.
                F.linear(actions * goes_on, action_weight, self.input.bias),
                self.gates.bias.expand(length, batch, -1),
                F.linear(embeddings.float(), embedding_weight, corrected.bias),
                last.bias.expand(length, batch, -1),
                state_weight,
                self.gates.weight,
                h_weight,
                last.weight,
                *(p for layer in (self.input, self.gates, corrected) for p in layer.ln.parameters()),
            )


def _identity(x: Tensor) -> Tensor:
    return x


def update_state(gates: Tensor, h: Tensor) -> Tensor:
    """The GRU's new state ``[..., D]`` from normed ``gates [..., 3 D]``: reset, candidate, update (biased to keep)."""
    reset, candidate, update = gates.chunk(3, -1)
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)
    return torch.lerp(h.to(candidate.dtype), candidate, torch.sigmoid(update - 1))


class _Filter(torch.autograd.Function):
    """The recursion of :meth:`RSSM.observe`, with the gradients of weights in one product over all steps.

    Autograd would add up an outer product of the weights' size at each of the L steps.
    """

    @staticmethod
    def forward(
        ctx: Any,
        stochastic: StochasticState,
        constants: tuple[Tensor, Tensor, Tensor, Tensor],
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        goes_on, noise, h, s = constants
        with torch.enable_grad():
            leaves = [p.detach().requires_grad_() for p in (*parameters[:4], *parameters[8:])]
            steps = list(zip(*(added.unbind() for added in leaves[:4]), strict=True))
            weights = [weight.detach().t() for weight in parameters[4:8]]
            norms = list(zip(leaves[4::2], leaves[5::2], strict=True))
            taken: list[tuple[Tensor, ...]] = []  # inputs of the four products
            latents, statistics = [], []
            for keep, noise_t, added in zip(goes_on.unbind(), noise.unbind(), steps, strict=True):
                h, s = h * keep, s * keep
                x = F.silu(_normed(torch.addmm(added[0], s, weights[0]), norms[0]))
                x_h = torch.cat((x, h), -1)
                h = update_state(_normed(torch.addmm(added[1], x_h, weights[1]), norms[1]), h)
                y = F.silu(_normed(torch.addmm(added[2], h, weights[2]), norms[2]))
                statistics.append(torch.addmm(added[3], y, weights[3]))
                taken.append((s, x_h, h, y))
                s = stochastic.sample(statistics[-1], noise_t)
                latents.append(torch.cat((h, s), -1))
            outputs = torch.stack(latents), torch.stack(statistics)
        if not any(ctx.needs_input_grad):
            return outputs[0].detach(), outputs[1].detach()
        ctx.outputs, ctx.leaves = outputs, leaves
        ctx.taken = [torch.cat([inputs.detach() for inputs in steps]) for steps in zip(*taken, strict=True)]
        return outputs[0].detach(), outputs[1].detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grads = torch.autograd.grad(ctx.outputs, ctx.leaves, grad_outputs)
        added, norms = grads[:4], grads[4:]
        weights = [
            grad.flatten(0, 1).t() @ inputs for grad, inputs in zip(added, ctx.taken, strict=True)
        ]  # [out, in]
        return None, None, *added, *weights, *norms


def _normed(x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *norm)
