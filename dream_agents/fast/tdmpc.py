"""Networks of TD-MPC2 and BMPC for planning: weights in the order in which they are read, and pullbacks.

A plan for one environment has twenty rows at most: its time goes to reading weights and to the bookkeeping of some
hundred operations more than to arithmetic. The architecture is fixed and only the actions need a gradient, so each
part returns its output and a function that pulls a gradient back to its input, and nothing else is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn as nn
from torch import Tensor

from dream_agents.fast.product import Product
from dream_agents.models.base import WorldModel
from dream_agents.models.heads import ActionDistribution, TwoHot, symexp
from dream_agents.models.kernels import FEW_ELEMENTS, is_tracing, mish_slope, sigmoid_and_share
from dream_agents.models.layers import NormedLinear, SimNorm, ValueEnsemble, join
from dream_agents.models.pixels import PixelEncoder
from dream_agents.models.tdmpc import ImplicitWorldModel, MixedEncoder

Pullback = Callable[[Tensor], Tensor]


class FastTDMPC(WorldModel):
    """An :class:`ImplicitWorldModel` for planning: gives its results, up to rounding, without recording anything.

    Where autograd is on it asks the model. What it keeps of the weights are references, unless they are packed.

    :param model: on any device, in any precision
    :param pack: copy the weights for faster products; they have to be
        :func:`~dream_agents.models.kernels.packable`, and to stay as they are
    """

    def __init__(self, model: ImplicitWorldModel, pack: bool = False):
        super().__init__()
        self.model = model
        self.takes_action_in_value = model.takes_action_in_value
        self.latent_dim, self.action_dim = model.latent_dim, model.action_dim
        self.num_values, self.episodic, self.discount = model.num_values, model.episodic, model.discount
        encoder = model.encoder
        self._encoder = encoder if isinstance(encoder, PixelEncoder | MixedEncoder) else Chain(encoder, pack)
        self._dynamics = Chain(model.dynamics, pack)
        self.policy_network = Chain(model.policy_head, pack)
        self.reward_network = Chain(model.reward_head, pack)
        self.value_networks = Ensemble(model.value_heads, pack)
        self.two_hot = model.two_hot

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.model.device

    def observe(
        self,
        obs: Tensor,
        memory: dict[str, Tensor] | None = None,
        episode_start: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode ``obs``; the memory stays empty."""
        return (self.model.encode(obs) if torch.is_grad_enabled() else self._encoder(obs)), {}

    def next(self, z: Tensor, action: Tensor) -> Tensor:
        """d(z, a)."""
        if torch.is_grad_enabled():
            return self.model.next(z, action)
        return self._dynamics(join(z, action))

    def reward(self, z: Tensor, action: Tensor, next_z: Tensor | None = None) -> Tensor:
        """R(z, a), in reward units."""
        if torch.is_grad_enabled():
            return self.model.reward(z, action)
        return self.two_hot.decode(self.reward_network(join(z, action)))

    def continuation(self, z: Tensor) -> Tensor:
        """1 unless the termination head is more than half sure that the task has ended in ``z``."""
        return self.model.continuation(z)

    def values(self, z: Tensor, action: Tensor | None, members: Sequence[int] | None = None) -> Tensor:
        """Q_m(z, a) or V_m(z), in return units."""
        if torch.is_grad_enabled():
            return self.model.values(z, action, members)
        valued = join(z, cast("Tensor", action)) if self.takes_action_in_value else z
        logits = self.value_networks(valued.reshape(-1, valued.shape[-1]), members)
        return self.two_hot.decode(logits).view(-1, *valued.shape[:-1])

    def policy(self, z: Tensor) -> ActionDistribution:
        """The policy prior pi(. | z)."""
        if torch.is_grad_enabled():
            return self.model.policy(z)
        return self.model.policy_distribution(self.policy_network(z))

    def step(self, z: Tensor, action: Tensor) -> Step:
        """:meth:`next` from latents ``z [B, 1 or K, Z]`` by ``action [B, K, A]``, with its pullback."""
        z_action = torch.cat((z.expand(-1, action.shape[1], -1), action), -1)
        latent, pullback = self._dynamics.with_pullback(z_action.flatten(0, 1))
        return Step(z_action, latent.view(*z_action.shape[:2], -1), pullback)


class Step(NamedTuple):
    """One dreamt step of K sequences.

    :param z_action: latents and actions ``[B, K, Z + A]``
    :param latent: the next latents ``[B, K, Z]``
    :param pullback: takes a gradient ``[B * K, Z]`` back to ``[B * K, Z + A]``
    """

    z_action: Tensor
    latent: Tensor
    pullback: Pullback

    def pull(self, gradient: Tensor) -> Tensor:
        """Take the gradient ``[B, N, Z]`` of the first N sequences back to ``[B, N, Z + A]``."""
        candidates, every = gradient.shape[1], self.z_action.shape[1]
        if candidates < every:
            gradient = torch.nn.functional.pad(gradient, (0, 0, 0, every - candidates))
        pulled = self.pullback(gradient.reshape(-1, gradient.shape[-1]))
        return pulled.view_as(self.z_action)[:, :candidates]


class Chain:
    """A network of normed layers and perhaps a plain last one, without dropout.

    :param layers: its layers
    :param pack: as for :class:`FastTDMPC`
    """

    def __init__(self, layers: nn.Sequential, pack: bool = False):
        self._layers = [_Layer(cast("nn.Linear", layer), pack) for layer in layers]

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``[..., in]`` to ``[..., out]``."""
        rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
        for layer in self._layers:
            rows = layer(rows)
        return rows if x.dim() == 2 else rows.view(*x.shape[:-1], -1)

    def with_pullback(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Map rows ``[R, in]``, and a function from gradients ``[R, out]`` to ``[R, in]``."""
        pullbacks = []
        for layer in self._layers:
            x, pullback = layer.with_pullback(x)
            pullbacks.append(pullback)

        def pull(gradient: Tensor) -> Tensor:
            for pullback in reversed(pullbacks):
                gradient = pullback(gradient)
            return gradient

        return x, pull


class _Layer:
    """Linear, then LayerNorm and Mish or SimNorm unless it is a last layer."""

    def __init__(self, layer: nn.Linear, pack: bool):
        self._product = Product(layer.weight, layer.bias, pack)
        self._activation: Callable[[Tensor], Tensor] | None = None
        if isinstance(layer, NormedLinear):
            self._activation = layer.activation
            self._shape = list(layer.ln.normalized_shape)
            self._gain, self._offset, self._eps = layer.ln.weight, layer.ln.bias, layer.ln.eps

    def __call__(self, x: Tensor) -> Tensor:
        if self._activation is None:
            return self._product.exact(x)
        product = self._product(x)
        return self._activation(torch.layer_norm(product, self._shape, self._gain, self._offset, self._eps))

    def with_pullback(self, x: Tensor) -> tuple[Tensor, Pullback]:
        if self._activation is None:
            return self._product.exact(x), self._product.pull
        product = self._product(x)
        normed, mean, rstd = torch.native_layer_norm(
            product, self._shape, self._gain, self._offset, self._eps
        )
        if isinstance(self._activation, SimNorm):
            out, activation_pullback = _simnorm_with_pullback(self._activation, normed)
        else:
            out, activation_pullback = _mish_with_pullback(normed)

        def pull(gradient: Tensor) -> Tensor:
            gradient = activation_pullback(gradient)
            gradient = _norm_pullback(gradient, product, mean, rstd, self._gain, self._offset)
            return self._product.pull(gradient)

        return out, pull


class Ensemble:
    """The value networks, without dropout, on rows that they share.

    :param networks: the ensemble
    :param pack: as for :class:`FastTDMPC`
    """

    def __init__(self, networks: ValueEnsemble, pack: bool = False):
        first, second, last = networks.layers
        assert first.ln is not None and second.ln is not None
        self._members = len(first.weight)
        # All members' first layers are one product.
        self._first = Product(first.weight.flatten(0, 1), first.bias.flatten(), pack)
        self._second = [Product(*pair, pack) for pair in zip(second.weight, second.bias, strict=True)]
        self._last = [Product(*pair, pack) for pair in zip(last.weight, last.bias, strict=True)]
        self._first_norm = first.ln.weight, first.ln.bias  # [M, width]
        self._second_norm = second.ln.weight.unsqueeze(1), second.ln.bias.unsqueeze(1)
        self._one = networks

    def __call__(self, x: Tensor, members: Sequence[int] | None = None) -> Tensor:
        """Logits ``[M, R, bins]`` of rows ``[R, in]``, of all members or of those named."""
        if members is not None and len(members) < self._members:
            return self._one(x, members)
        logits = self.with_pullback(x, 0)[0]
        return logits if members is None else logits[list(members)]

    def with_pullback(self, x: Tensor, rows: int) -> tuple[Tensor, Pullback]:
        """Logits ``[M, R, bins]`` of rows ``[R, in]``, and a function of the gradient of the last ``rows`` of them.

        It maps ``[M, rows, bins]`` to ``[rows, in]``.
        """
        start = x.shape[0] - rows
        hidden = self._first(x).view(x.shape[0], self._members, -1)
        hidden, first_pullback = _norm_with_pullback(
            hidden, *self._first_norm, slice(start, None), 0
        )  # [R, M, width]
        hidden = _each(self._second, hidden.unbind(1))
        hidden, second_pullback = _norm_with_pullback(
            hidden, *self._second_norm, slice(start, None), 1
        )  # [M, R, width]
        logits = _each([layer.exact for layer in self._last], hidden.unbind())

        def pull(gradient: Tensor) -> Tensor:
            gradient = second_pullback(_each([layer.pull for layer in self._last], gradient.unbind()))
            gradient = _each([layer.pull for layer in self._second], gradient.unbind(), dim=1)
            return self._first.pull(first_pullback(gradient).flatten(1))

        return logits, pull


def _each(functions: Sequence[Pullback], inputs: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Each function of its input, stacked."""
    return torch.stack([function(x) for function, x in zip(functions, inputs, strict=True)], dim)


def decode_with_pullback(two_hot: TwoHot, logits: Tensor, rows: int) -> tuple[Tensor, Pullback]:
    """Expected values ``[..., R]`` of logits ``[..., R, bins]``, and a pullback from the last ``rows`` of them."""
    probabilities = torch.softmax(logits, -1)
    mean = two_hot.symlog_mean(probabilities)

    def pull(gradient: Tensor) -> Tensor:
        last, share = mean[..., -rows:], probabilities[..., -rows:, :]
        slope = (gradient * last.abs().exp_()).unsqueeze(-1)
        return (two_hot.bins - last.unsqueeze(-1)).mul_(share).mul_(slope)

    return symexp(mean), pull


def _norm_with_pullback(
    x: Tensor, gain: Tensor, offset: Tensor, rows: slice, dim: int
) -> tuple[Tensor, Pullback]:
    """LayerNorm with each member's gain and offset, then Mish; the pullback is of ``rows`` along ``dim``."""
    normed, mean, rstd = torch.native_layer_norm(x, [x.shape[-1]], None, None, 1e-5)
    scaled = torch.addcmul(offset, normed, gain)
    out, activation_pullback = _mish_with_pullback(scaled)
    index = (slice(None),) * dim + (rows,)

    def pull(gradient: Tensor) -> Tensor:
        pull_back = activation_pullback
        if rows.start > 0:
            pull_back = _mish_with_pullback(scaled[index].contiguous())[1]
        gradient = pull_back(gradient).mul_(gain)
        # The kernel takes it for granted that what it is given is contiguous.
        own = (part[index].contiguous() for part in (x, mean, rstd))
        return _norm_pullback(gradient, *own)

    return out, pull


def _norm_pullback(
    gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    gain: Tensor | None = None,
    offset: Tensor | None = None,
) -> Tensor:
    mask = [True, False, False]
    gradient = gradient.to(x.dtype)  # another under autocast
    backward = torch.ops.aten.native_layer_norm_backward.default
    return backward(gradient, x, [x.shape[-1]], mean, rstd, gain, offset, mask)[0]


def _mish_with_pullback(x: Tensor) -> tuple[Tensor, Pullback]:
    if not x.is_cpu or x.numel() <= FEW_ELEMENTS // 2 or is_tracing():
        out = torch.nn.functional.mish(x)
        return out, lambda gradient: torch.ops.aten.mish_backward.default(gradient, x)
    s, t = sigmoid_and_share(x)
    return x * t, lambda gradient: mish_slope(x, s, t).mul_(gradient)


def _simnorm_with_pullback(simnorm: SimNorm, x: Tensor) -> tuple[Tensor, Pullback]:
    out = simnorm(x)
    groups = out.unflatten(-1, (-1, simnorm.group_size))

    def pull(gradient: Tensor) -> Tensor:
        gradient = gradient.unflatten(-1, (-1, simnorm.group_size))
        return ((gradient - (gradient * groups).sum(-1, keepdim=True)) * groups).flatten(-2)

    return out, pull
