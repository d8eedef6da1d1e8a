"""The recurrent state-space model of Dreamer (Hafner et al. 2019, 2020, 2025).

A latent is ``[h, s]``: the deterministic state of a GRU and a stochastic part, categorical (DreamerV3) or Gaussian
(Dreamer). Shapes: L steps, B sequences, D deterministic, S stochastic.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dream_agents.models.layers import NormedLinear, join
from dream_agents.models.stochastic import StochasticState


class RSSM(nn.Module, ABC):
    """The recurrent state-space model, whatever its layers are.

    :param deterministic: D, width of the recurrent state
    :param stochastic: family of the stochastic part
    """

    #: from ``h [..., D]`` to the statistics that are expected of ``s``
    prior: nn.Sequential
    #: from ``[h, e] [..., D + E]`` to the statistics of ``s``, given an encoded observation
    posterior: nn.Sequential

    def __init__(self, deterministic: int, stochastic: StochasticState):
        super().__init__()
        self.deterministic, self.stochastic = deterministic, stochastic
        self.latent_dim = deterministic + stochastic.dim

    @abstractmethod
    def advance(self, h: Tensor, s: Tensor, action: Tensor) -> Tensor:
        """The recurrent state ``[..., D]`` after taking ``action [..., A]`` in ``[h, s]``; leading dimensions
        broadcast.
        """

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Deterministic ``[..., D]`` and stochastic part ``[..., S]`` of latents."""
        h, s = z.split((self.deterministic, self.stochastic.dim), -1)
        return h, s

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
        """Filter sequences, in float32.

        :param embeddings: encoded observations ``[L, B, E]``
        :param actions: taken before each, ``[L, B, A]``
        :param is_first: 1 where an episode begins, which resets latent and action, ``[L, B]``
        :param context: latent before the first step ``[B, Z]``; None for the initial one
        :return: sampled posterior latents ``[L, B, Z]`` and their statistics
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            if context is None:
                context = embeddings.new_zeros(is_first.shape[1], self.latent_dim)
            noise = self.stochastic.noise(*is_first.shape, generator=generator, device=embeddings.device)
            return self._filter(
                embeddings.float(), actions, 1 - is_first.unsqueeze(-1), context.float(), noise
            )

    def _filter(
        self, embeddings: Tensor, actions: Tensor, goes_on: Tensor, context: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The recursion of :meth:`observe`, a step at a time.

        :param goes_on: 0 where an episode begins, ``[L, B, 1]``
        :param noise: what samples are made of ``[L, B, ...]``
        """
        z, latents, statistics = context, [], []
        for embedding, action, keep, noise_t in zip(embeddings, actions, goes_on, noise, strict=True):
            h = self.advance(*self.split(z * keep), action * keep)
            statistics.append(self.posterior(torch.cat((h, embedding), -1)))
            z = torch.cat((h, self.stochastic.sample(statistics[-1], noise_t)), -1)
            latents.append(z)
        return torch.stack(latents), torch.stack(statistics)


class NormedRSSM(RSSM):
    """DreamerV3's: every layer is linear, LayerNorm, SiLU, and the GRU's gates are normed together.

    :param action_dim: A
    :param embed_dim: E, width of the encoded observation
    :param deterministic: D, width of the GRU
    :param hidden: width of the layers around it
    :param stochastic: family of the stochastic part
    :param prior_layers: hidden layers of the prior, 2 in the authors' code
    """

    def __init__(
        self,
        action_dim: int,
        embed_dim: int,
        deterministic: int,
        hidden: int,
        stochastic: StochasticState,
        prior_layers: int = 2,
    ):
        super().__init__(deterministic, stochastic)
        self.input = NormedLinear(stochastic.dim + action_dim, hidden, F.silu)
        self.gates = NormedLinear(hidden + deterministic, 3 * deterministic, _identity)
        widths = [deterministic, *[hidden] * prior_layers]
        self.prior = nn.Sequential(
            *(NormedLinear(before, after, F.silu) for before, after in itertools.pairwise(widths)),
            nn.Linear(hidden, stochastic.num_statistics),
        )
        self.posterior = nn.Sequential(
            NormedLinear(deterministic + embed_dim, hidden, F.silu),
            nn.Linear(hidden, stochastic.num_statistics),
        )

    def advance(self, h: Tensor, s: Tensor, action: Tensor) -> Tensor:
        """The GRU's state ``[..., D]`` after taking ``action [..., A]`` in ``[h, s]``; leading dimensions broadcast."""
        x = self.input(join(s, action))
        return update_state(self.gates(join(x, h)), h)

    def _filter(
        self, embeddings: Tensor, actions: Tensor, goes_on: Tensor, context: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same as one operation; gradients equal the gradients of the step by step recursion."""
        length, batch = goes_on.shape[:2]
        state_weight, action_weight = self.input.weight.split((self.stochastic.dim, actions.shape[-1]), 1)
        corrected, last = cast("tuple[NormedLinear, nn.Linear]", tuple(self.posterior))
        h_weight, embedding_weight = corrected.weight.split((self.deterministic, embeddings.shape[-1]), 1)
        return _Filter.apply(
            self.stochastic,
            (goes_on, noise, *self.split(context)),
            # What the recursion adds to each layer; the rest of the products doesn't depend on it.
            F.linear(actions * goes_on, action_weight, self.input.bias),
            self.gates.bias.expand(length, batch, -1),
            F.linear(embeddings, embedding_weight, corrected.bias),
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
    """The recursion of :meth:`NormedRSSM.observe`, with the gradients of weights in one product over all steps.

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
