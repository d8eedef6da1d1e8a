"""Networks of TD-MPC2 and BMPC as planners use them: weights that stay as they are, and a backward pass written out.

A plan for one environment has twenty rows at most: its time goes to reading weights and to the bookkeeping of some
hundred operations more than to arithmetic. The architecture is fixed and only the actions need a gradient, so each
part returns its output and a function that pulls a gradient back to its input, and nothing else is recorded. The
result is that of :func:`dream_agents.models.objective.planning_objective` under autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.models.heads import ActionDistribution, TwoHot, symexp
from dream_agents.models.layers import EnsembleLinear, NormedLinear, SimNorm, mish_with_pullback
from dream_agents.models.linear import Product
from dream_agents.models.objective import Objective, discounts
from dream_agents.models.pixels import PixelEncoder

if TYPE_CHECKING:
    from dream_agents.models.tdmpc import ImplicitWorldModel, ValueEnsemble

Pullback = Callable[[Tensor], Tensor]

#: members that agree have no gradient of their standard deviation; below this they count as agreeing
_SMALLEST_STD = 1e-12


class PreparedTDMPC(WorldModel):
    """An :class:`ImplicitWorldModel` made ready for planning.

    Gives the model's results for as long as its weights stay as they are. Where autograd is on it asks the model.

    :param model: on any device, in any precision
    :param pack: copy the weights for faster products; the model has to be on the CPU and in float32
    :param distribution: what the policy network's output stands for; None for what it does in the model
    """

    keeps_steps = True

    def __init__(
        self,
        model: ImplicitWorldModel,
        pack: bool = False,
        distribution: Callable[[Tensor], ActionDistribution] | None = None,
    ):
        super().__init__()
        self.model = model
        self.takes_action_in_value = model.takes_action_in_value
        self.latent_dim, self.action_dim, self.num_values = (
            model.latent_dim,
            model.action_dim,
            model.num_values,
        )
        self.episodic, self.discount = model.episodic, model.discount
        images = isinstance(model.encoder, PixelEncoder)
        self._encoder = model.encoder if images else Chain(model.encoder, pack)
        self._dynamics = Chain(model.dynamics, pack)
        self._policy = Chain(model.policy_head, pack)
        self._heads = Heads(model.reward_head, model.value_heads, pack)
        self._two_hot, self._distribution = model.two_hot, distribution or model.policy_distribution

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

    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Step]:
        """:meth:`next` and its pullback, which records nothing for autograd."""
        z_action = torch.cat((z.expand(-1, action.shape[1], -1), action), -1)
        latent, pullback = self._dynamics.with_pullback(z_action.flatten(0, 1))
        latent = latent.view(*z_action.shape[:2], -1)
        return latent, Step(z_action, latent, pullback)

    def reward(self, z: Tensor, action: Tensor) -> Tensor:
        """R(z, a), in reward units."""
        return self.model.reward(z, action)

    def continuation(self, z: Tensor) -> Tensor:
        """1 unless the termination head is more than half sure that the task has ended in ``z``."""
        return self.model.continuation(z)

    def values(self, z: Tensor, action: Tensor | None, members: Sequence[int] | None = None) -> Tensor:
        """Q_m(z, a) or V_m(z), in return units."""
        return self.model.values(z, action, members)

    def policy(self, z: Tensor) -> ActionDistribution:
        """The policy prior pi(. | z)."""
        return self._distribution(self.model.policy_head(z) if torch.is_grad_enabled() else self._policy(z))

    @torch.no_grad()
    def objective_and_gradient(
        self, z: Tensor, actions: Tensor, uncertainty_coef: float, steps: Sequence[Step] = ()
    ) -> tuple[Objective, Tensor]:
        """The planning objective and its gradient, by a backward pass that is written out."""
        candidates = actions.shape[2]
        steps = steps or self._dream(z, actions)
        inputs = [step.z_action[:, :candidates] for step in steps]
        last_action = actions[-1] if self.takes_action_in_value else torch.zeros_like(actions[-1])
        inputs.append(torch.cat((steps[-1].latent[:, :candidates], last_action), -1))
        z_action = torch.stack(inputs)  # [H + 1, B, N, Z + A]
        logits, heads_pullback = self._heads.with_pullback(z_action.view(-1, z_action.shape[-1]))
        decoded, decode_pullback = _decode(self._two_hot, logits)
        decoded = decoded.view(-1, *z_action.shape[:3])  # [1 + M, H + 1, B, N]
        rewards, values = decoded[0, :-1], decoded[1:]

        latents = z_action[..., : self.latent_dim]
        reward_weights, value_weight = discounts(self, latents[:-1], latents[-1])
        objective = (reward_weights * rewards).sum(0) + value_weight * values[:, -1].mean(0)
        penalty = torch.zeros_like(objective)
        decoded_gradient = torch.zeros_like(decoded)
        decoded_gradient[0, :-1] = reward_weights
        decoded_gradient[1:, -1] = value_weight / len(values)
        if uncertainty_coef != 0 and len(values) > 1:
            penalty, penalty_gradient = _uncertainty(values)
            objective = objective.sub(penalty, alpha=uncertainty_coef)
            decoded_gradient[1:].sub_(penalty_gradient, alpha=uncertainty_coef)

        logits_gradient = decode_pullback(decoded_gradient.view(logits.shape[:-1]))
        gradient = heads_pullback(logits_gradient).view_as(z_action)
        by_step = gradient.unbind()  # with respect to (z_h, a_h), each [B, N, Z + A]
        for h in reversed(range(len(steps))):
            by_step[h].add_(steps[h].pull(by_step[h + 1][..., : self.latent_dim]))
        return Objective(objective, penalty), gradient[: len(actions), ..., self.latent_dim :].contiguous()

    def _dream(self, z: Tensor, actions: Tensor) -> list[Step]:
        """The steps along ``actions [H(+1), B, N, A]`` from ``z [B, Z]``."""
        latent, steps = z.unsqueeze(1), []
        for action in (actions[:-1] if self.takes_action_in_value else actions).unbind():
            latent, step = self.step(latent, action)
            steps.append(step)
        return steps


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
            gradient = F.pad(gradient, (0, 0, 0, every - candidates))
        pulled = self.pullback(gradient.reshape(-1, gradient.shape[-1]))
        return pulled.view_as(self.z_action)[:, :candidates]


class Chain:
    """A network of normed layers and perhaps a plain last one, without dropout.

    :param layers: its layers
    :param pack: as for :class:`PreparedTDMPC`
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
        product = self._product(x)
        if self._activation is None:
            return product
        return self._activation(torch.layer_norm(product, self._shape, self._gain, self._offset, self._eps))

    def with_pullback(self, x: Tensor) -> tuple[Tensor, Pullback]:
        product = self._product(x)
        if self._activation is None:
            return product, self._product.pull
        normed, mean, rstd = torch.native_layer_norm(
            product, self._shape, self._gain, self._offset, self._eps
        )
        if isinstance(self._activation, SimNorm):
            out, activation_pullback = self._activation.with_pullback(normed)
        else:
            out, activation_pullback = mish_with_pullback(normed)

        def pull(gradient: Tensor) -> Tensor:
            gradient = activation_pullback(gradient)
            gradient = _norm_pullback(gradient, product, mean, rstd, self._gain, self._offset)
            return self._product.pull(gradient)

        return out, pull


def _norm_pullback(
    gradient: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, gain: Tensor | None, offset: Tensor | None
) -> Tensor:
    mask = [True, False, False]
    backward = torch.ops.aten.native_layer_norm_backward.default
    return backward(gradient, x, [x.shape[-1]], mean, rstd, gain, offset, mask)[0]


class Heads:
    """Reward and value networks, without dropout, on rows (z, a) that they share: the reward is one more member.

    :param reward: the reward network
    :param values: the ensemble of values, of (z, a) or of z
    :param pack: as for :class:`PreparedTDMPC`
    """

    def __init__(self, reward: nn.Sequential, values: ValueEnsemble, pack: bool = False):
        first, second, last = (_members(*pair) for pair in zip(reward, values.layers, strict=True))
        self._size = len(first)
        # All members' first layers are one product.
        weights, biases = zip(*first, strict=True)
        self._first = Product(torch.cat(weights), torch.cat(biases), pack)
        self._second = [Product(weight, bias, pack) for weight, bias in second]
        self._last = [Product(weight, bias, pack) for weight, bias in last]
        self._first_norm = _norms(reward[0], values.layers[0])
        self._second_norm = [norm.unsqueeze(1) for norm in _norms(reward[1], values.layers[1])]

    def with_pullback(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Logits ``[1 + M, R, bins]`` of rows ``[R, in]``, and a function from their gradient to ``[R, in]``."""
        hidden = self._first(x).view(x.shape[0], self._size, -1)
        hidden, first_pullback = _norm_with_pullback(hidden, *self._first_norm)  # [R, 1 + M, width]
        hidden = _each(self._second, hidden.unbind(1))
        hidden, second_pullback = _norm_with_pullback(hidden, *self._second_norm)  # [1 + M, R, width]
        logits = _each(self._last, hidden.unbind())

        def pull(gradient: Tensor) -> Tensor:
            gradient = second_pullback(_each([layer.pull for layer in self._last], gradient.unbind()))
            gradient = _each([layer.pull for layer in self._second], gradient.unbind(), dim=1)
            return self._first.pull(first_pullback(gradient).flatten(1))

        return logits, pull


def _members(reward: nn.Module, values: EnsembleLinear) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of one layer of the reward network and of each value; those of actions are 0 in V(z)."""
    layer = cast("nn.Linear", reward)
    weights = F.pad(values.weight, (0, layer.in_features - values.weight.shape[-1]))
    return [(layer.weight, layer.bias), *zip(weights, values.bias, strict=True)]


def _norms(reward: nn.Module, values: EnsembleLinear) -> list[Tensor]:
    """Gains and offsets of one layer's norms, each ``[1 + M, width]``."""
    norm, norms = cast("NormedLinear", reward).ln, values.ln
    assert norms is not None
    return [torch.cat((norm.weight[None], norms.weight)), torch.cat((norm.bias[None], norms.bias))]


def _each(functions: Sequence[Pullback], inputs: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Each function of its input, stacked."""
    return torch.stack([function(x) for function, x in zip(functions, inputs, strict=True)], dim)


def _norm_with_pullback(x: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, Pullback]:
    """LayerNorm with each member's gain and offset, then Mish."""
    normed, mean, rstd = torch.native_layer_norm(x, [x.shape[-1]], None, None, 1e-5)
    out, activation_pullback = mish_with_pullback(torch.addcmul(offset, normed, gain))

    def pull(gradient: Tensor) -> Tensor:
        return _norm_pullback(activation_pullback(gradient).mul_(gain), x, mean, rstd, None, None)

    return out, pull


def _decode(two_hot: TwoHot, logits: Tensor) -> tuple[Tensor, Pullback]:
    """Expected values ``[...]`` of logits ``[..., bins]``."""
    probabilities = torch.softmax(logits, -1)
    mean = two_hot.symlog_mean(probabilities)

    def pull(gradient: Tensor) -> Tensor:
        slope = (gradient * mean.abs().exp_()).unsqueeze(-1)
        return (two_hot.bins - mean.unsqueeze(-1)).mul_(probabilities).mul_(slope)

    return symexp(mean), pull


def _uncertainty(values: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 5 summed over steps ``[R]``, and its gradient with respect to values ``[M, H + 1, R]``."""
    members = len(values)
    std, mean = torch.std_mean(values, 0)  # [H + 1, R]
    ratio = mean / std.clamp_min(_SMALLEST_STD)
    gradient = torch.addcmul(std / members, values - mean, ratio, value=1 / (members - 1))
    return (mean * std).sum(0), gradient


def join(z: Tensor, action: Tensor) -> Tensor:
    """Concatenate latents and actions, broadcasting their leading dimensions."""
    action = action.to(z.dtype)
    if z.shape[:-1] == action.shape[:-1]:
        return torch.cat((z, action), -1)
    lead = torch.broadcast_shapes(z.shape[:-1], action.shape[:-1])
    return torch.cat((z.expand(*lead, z.shape[-1]), action.expand(*lead, action.shape[-1])), -1)
