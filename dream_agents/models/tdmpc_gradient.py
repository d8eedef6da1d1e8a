"""TD-MPC2's planning objective with a backward pass written out.

A plan for one environment has twenty rows at most: its time goes to the bookkeeping of some hundred operations more
than to arithmetic. The architecture is fixed and only the actions need a gradient, so each part returns its output
and a function that pulls a gradient back to its input, and nothing else is recorded. The result is that of
:func:`dream_agents.models.objective.planning_objective` under autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
import torch.nn as nn
from torch import Tensor

from dream_agents.models.heads import TwoHot, symexp
from dream_agents.models.layers import EnsembleLinear, NormedLinear, OutputLinear, SimNorm, mish_with_pullback
from dream_agents.models.linear import linear
from dream_agents.models.objective import Objective, discounts

if TYPE_CHECKING:
    from dream_agents.models.tdmpc import TDMPCWorldModel, ValueEnsemble

Pullback = Callable[[Tensor], Tensor]


@torch.no_grad()
def objective_and_gradient(
    model: TDMPCWorldModel, z: Tensor, actions: Tensor, uncertainty_coef: float
) -> tuple[Objective, Tensor]:
    """J of Eq. 6 and its gradient with respect to the actions.

    :param z: latents ``[B, Z]``
    :param actions: ``[H + 1, B, N, A]``
    :return: the objective ``[B, N]`` and the gradient ``[H + 1, B, N, A]``
    """
    length, batch, candidates, action_dim = actions.shape
    width, horizon = z.shape[-1], length - 1
    flat = actions.flatten(1, 2)  # [H + 1, R, A], R = B * N
    latent = z.repeat_interleave(candidates, 0)  # [R, Z]
    inputs, dynamics_pullbacks = [], []
    for action in flat[:-1]:
        inputs.append(torch.cat((latent, action), -1))
        latent, pullback = _chain(model.dynamics, inputs[-1])
        dynamics_pullbacks.append(pullback)
    inputs.append(torch.cat((latent, flat[-1]), -1))
    z_action = torch.stack(inputs)  # [H + 1, R, Z + A]
    logits, reward_pullback = _chain(model.reward_head, z_action[:-1].flatten(0, 1))
    rewards, reward_decode_pullback = _decode(model.two_hot, logits)  # [H R]
    value_rows = z_action if uncertainty_coef != 0 else z_action[-1:]
    logits, value_pullback = _ensemble(model.value_heads, value_rows.flatten(0, 1))
    values, value_decode_pullback = _decode(model.two_hot, logits)
    values = values.unflatten(1, (-1, batch * candidates))  # [M, H + 1 or 1, R]

    latents = z_action[..., :width].unflatten(1, (batch, candidates))
    reward_weights, value_weight = discounts(model, latents[:-1], latents[-1])
    reward_weights = reward_weights.expand(-1, batch, candidates).flatten(1)  # [H, R]
    value_weight = value_weight.expand(batch, candidates).flatten()  # [R]
    objective = (reward_weights * rewards.view(horizon, -1)).sum(0) + value_weight * values[:, -1].mean(0)
    value_gradient = torch.zeros_like(values)
    value_gradient[:, -1] = value_weight / len(values)
    penalty = torch.zeros_like(objective)
    if uncertainty_coef != 0 and len(values) > 1:
        penalty, penalty_gradient = _uncertainty(values)
        objective = objective - uncertainty_coef * penalty
        value_gradient -= uncertainty_coef * penalty_gradient

    pulled = value_pullback(value_decode_pullback(value_gradient.flatten(1)))
    gradient = torch.zeros_like(z_action)  # with respect to (z_h, a_h)
    gradient[-len(value_rows) :] = pulled.view(len(value_rows), -1, z_action.shape[-1])
    gradient[:-1] += reward_pullback(reward_decode_pullback(reward_weights.flatten())).view_as(gradient[:-1])
    for h in reversed(range(horizon)):
        gradient[h] += dynamics_pullbacks[h](gradient[h + 1, :, :width])
    shaped = Objective(objective.view(batch, candidates), penalty.view(batch, candidates))
    return shaped, gradient[..., width:].reshape(length, batch, candidates, action_dim)


def _chain(layers: nn.Sequential, x: Tensor) -> tuple[Tensor, Pullback]:
    """A network of normed layers and perhaps a plain last one, on rows ``[rows, in]``."""
    pullbacks = []
    for layer in layers:
        forward = _plain if isinstance(layer, OutputLinear) else _normed
        x, pullback = forward(cast("NormedLinear", layer), x)
        pullbacks.append(pullback)

    def pull(gradient: Tensor) -> Tensor:
        for pullback in reversed(pullbacks):
            gradient = pullback(gradient)
        return gradient

    return x, pull


def _plain(layer: nn.Linear, x: Tensor) -> tuple[Tensor, Pullback]:
    return linear(x, layer.weight, layer.bias), lambda gradient: linear(gradient, layer.weight.t())


def _normed(layer: NormedLinear, x: Tensor) -> tuple[Tensor, Pullback]:
    """Linear, LayerNorm, then Mish or SimNorm."""
    product = linear(x, layer.weight, layer.bias)
    shape, gain, offset = list(layer.ln.normalized_shape), layer.ln.weight, layer.ln.bias
    normed, mean, rstd = torch.native_layer_norm(product, shape, gain, offset, layer.ln.eps)
    if isinstance(layer.activation, SimNorm):
        out = layer.activation(normed)
        groups = out.unflatten(-1, (-1, layer.activation.group_size))
    else:
        out, activation_pullback = mish_with_pullback(normed)

    def pull(gradient: Tensor) -> Tensor:
        if isinstance(layer.activation, SimNorm):
            gradient = gradient.unflatten(-1, (-1, layer.activation.group_size))
            gradient = ((gradient - (gradient * groups).sum(-1, keepdim=True)) * groups).flatten(-2)
        else:
            gradient = activation_pullback(gradient)
        gradient = _norm_pullback(gradient, product, mean, rstd, gain, offset)
        return linear(gradient, layer.weight.t())

    return out, pull


def _norm_pullback(
    gradient: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, gain: Tensor | None, offset: Tensor | None
) -> Tensor:
    mask = [True, False, False]
    backward = torch.ops.aten.native_layer_norm_backward
    return backward(gradient, x, list(x.shape[-1:]), mean, rstd, gain, offset, mask)[0]


def _ensemble(heads: ValueEnsemble, x: Tensor) -> tuple[Tensor, Pullback]:
    """The value ensemble on rows ``[rows, in]`` that its members share; logits ``[M, rows, bins]``."""
    first, second, last = heads.layers
    members = len(first.weight)
    wide = first.weight.flatten(0, 1)  # all members' first layers in one product
    hidden = linear(x, wide, first.bias.flatten()).unflatten(-1, (members, -1))  # [rows, M, width]
    hidden, first_pullback = _ensemble_norm(first, hidden, member_dim=1)
    hidden = _per_member(hidden.transpose(0, 1), second.weight, second.bias)  # [M, rows, width]
    hidden, second_pullback = _ensemble_norm(second, hidden, member_dim=0)
    logits = _per_member(hidden, last.weight, last.bias)

    def pull(gradient: Tensor) -> Tensor:
        gradient = second_pullback(_per_member(gradient, last.weight.transpose(1, 2)))
        gradient = _per_member(gradient, second.weight.transpose(1, 2), dim=1)  # [rows, M, width]
        return linear(first_pullback(gradient).flatten(1), wide.t())

    return logits, pull


def _per_member(x: Tensor, weight: Tensor, bias: Tensor | None = None, dim: int = 0) -> Tensor:
    """``x [M, rows, in]`` times each member's ``weight [M, out, in]``, stacked along ``dim``."""
    biases = [None] * len(weight) if bias is None else list(bias)
    return torch.stack([linear(y, w, b) for y, w, b in zip(x, weight, biases, strict=True)], dim)


def _ensemble_norm(layer: EnsembleLinear, x: Tensor, member_dim: int) -> tuple[Tensor, Pullback]:
    """LayerNorm with each member's gain and offset, then Mish."""
    assert layer.ln is not None
    gain = layer.ln.weight if member_dim == 1 else layer.ln.weight.unsqueeze(1)
    offset = layer.ln.bias if member_dim == 1 else layer.ln.bias.unsqueeze(1)
    normed, mean, rstd = torch.native_layer_norm(x, list(x.shape[-1:]), None, None, 1e-5)
    out, activation_pullback = mish_with_pullback(torch.addcmul(offset, normed, gain))

    def pull(gradient: Tensor) -> Tensor:
        return _norm_pullback(activation_pullback(gradient).mul_(gain), x, mean, rstd, None, None)

    return out, pull


def _decode(two_hot: TwoHot, logits: Tensor) -> tuple[Tensor, Pullback]:
    """Expected values ``[...]`` of logits ``[..., bins]``."""
    probabilities = torch.softmax(logits, -1)
    mean = two_hot.symlog_mean(probabilities)

    def pull(gradient: Tensor) -> Tensor:
        slope = (gradient * mean.abs().exp()).unsqueeze(-1)
        return (two_hot.bins - mean.unsqueeze(-1)).mul_(probabilities).mul_(slope)

    return symexp(mean), pull


def _uncertainty(values: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 5 summed over steps ``[R]``, and its gradient with respect to values ``[M, H + 1, R]``."""
    members = len(values)
    std, mean = torch.std_mean(values, 0)  # [H + 1, R]
    ratio = torch.where(std > 0, mean / ((members - 1) * std), 0.0)
    return (mean * std).sum(0), std / members + (values - mean) * ratio
