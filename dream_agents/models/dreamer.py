"""Dreamer's world model: RSSM, encoder and decoder, reward, termination, value and actor (Hafner et al. 2020, 2025)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dream_agents.models.autoencoder import ImageCoder, MixedCoder, VectorCoder, perceptron
from dream_agents.models.base import WorldModel
from dream_agents.models.heads import (
    ActionDistribution,
    ClampedGaussian,
    SquashedGaussian,
    symlog_to_hold,
)
from dream_agents.models.packing import ObsShape, Packing, check_obs_shape, count_dims
from dream_agents.models.planet import (
    ACTIVATIONS,
    PlainImageCoder,
    PlainRSSM,
    PlainVectorCoder,
    plain_perceptron,
)
from dream_agents.models.rssm import RSSM, NormedRSSM
from dream_agents.models.stochastic import Categorical, Gaussian
from dream_agents.models.symexp import ScalarHead, SymexpTwoHot, UnitGaussian


@dataclass(frozen=True)
class DreamerSize:
    """Widths of the networks.

    :param deterministic: D, width of the GRU
    :param hidden: width of the layers in the RSSM
    :param groups: categorical variables of the stochastic part
    :param classes: classes of each
    :param units: width of every other layer
    :param depth: channels of the first convolution
    :param gaussian: width of the stochastic part if it is Gaussian
    """

    deterministic: int = 64
    hidden: int = 192
    groups: int = 32
    classes: int = 8
    units: int = 192
    depth: int = 16
    gaussian: int = 30


#: Sizes, named after their number of parameters on flat observations; "paper" is Table 16 of the paper of Dream-MPC.
DREAMER_SIZES = {
    "1M": DreamerSize(),
    "5M": DreamerSize(640, 256, 32, 16, 256, 24),
    "12M": DreamerSize(1024, 512, 32, 16, 384, 32),
    "paper": DreamerSize(200, 200, 32, 8, 200, 32, 30),
}


@dataclass(frozen=True)
class HeadLayers:
    """Hidden layers of what is read off a latent."""

    reward: int
    termination: int
    actor: int
    value: int


Coder = VectorCoder | ImageCoder | PlainVectorCoder | PlainImageCoder | MixedCoder

#: as the authors of DreamerV3, and Table 16's code, have them
HEAD_LAYERS = {"categorical": HeadLayers(1, 1, 3, 3), "gaussian": HeadLayers(2, 2, 4, 3)}


class DreamerWorldModel(WorldModel):
    """A recurrent world model that reconstructs what it observes.

    The latent is ``[h, s]``, the GRU's state and the stochastic part. :meth:`observe` samples the posterior, as
    learning does: modes of many nearly even variables tell the networks less, and nothing that they have seen.
    :meth:`next` takes the prior's mode, so that a plan has one value. Planning through categorical latents uses the
    straight-through gradient: the one-hot state is what the model goes on with, and the gradient is that of its
    probabilities.

    Rewards and termination are read off the latent that an action leads to.

    :param obs_shape: ``(n,)`` for flat observations, ``(channels, height, width)`` for images, or both by key
    :param action_dim: number of action dimensions
    :param size: widths, or the name of one of :data:`DREAMER_SIZES`
    :param discount: discount factor of the predicted returns
    :param episodic: whether the task can end, which adds a termination head
    :param latent: "categorical" (DreamerV3: normed layers, symlog observations, two-hot rewards and values, clamped
        normal actions) or "gaussian" (Dreamer: plain layers, observations as they are, Gaussian rewards and values,
        tanh-normal actions)
    :param unimix: share of the uniform distribution in categorical latents
    :param prior_layers: hidden layers of the prior (DreamerV3)
    :param embedding: width of an encoded observation (Dreamer)
    :param activation: "elu" or "relu", of all layers but those that encode and decode observations (Dreamer)
    :param min_std: smallest standard deviation of the actor (DreamerV3)
    :param max_std: largest standard deviation of the actor (DreamerV3)
    :param vmax: symlog of the largest reward or return, either way, that the two-hot bins hold (DreamerV3)
    :param num_bins: two-hot bins, an odd number (DreamerV3)
    :raises ValueError: for observations that are neither, unknown names, and impossible bins
    """

    takes_action_in_value = False
    num_values = 1

    def __init__(
        self,
        obs_shape: ObsShape,
        action_dim: int,
        size: DreamerSize | str = "1M",
        discount: float = 0.997,
        episodic: bool = False,
        latent: str = "categorical",
        unimix: float = 0.01,
        prior_layers: int = 2,
        embedding: int = 1024,
        activation: str = "elu",
        min_std: float = 0.1,
        max_std: float = 1.0,
        vmax: float = 10.0,
        num_bins: int = 127,
    ):
        super().__init__()
        size = get_size(size)
        _check_options(obs_shape, latent, activation, {"prior_layers": prior_layers, "embedding": embedding})
        self.size, self.latent, self.obs_shape, self.action_dim = size, latent, obs_shape, action_dim
        self.discount, self.episodic, self.min_std, self.max_std = discount, episodic, min_std, max_std
        self.scalar: ScalarHead
        if latent == "categorical":
            self._build_normed(Categorical(size.groups, size.classes, unimix), prior_layers)
            self.scalar = SymexpTwoHot(num_bins, vmax)
            self.scalar_range = (-math.expm1(vmax), math.expm1(vmax))
        else:
            self._build_plain(Gaussian(size.gaussian), embedding, activation)
            self.scalar = UnitGaussian()
        self._build_heads(HEAD_LAYERS[latent], activation)
        if latent == "categorical":
            _initialize(self)
        self.target_value_heads = copy.deepcopy(self.value_heads).requires_grad_(False)

    def _build_normed(self, stochastic: Categorical, prior_layers: int) -> None:
        """DreamerV3's encoder, decoder and recurrence."""
        size = self.size
        self.latent_dim = size.deterministic + stochastic.dim

        def make_coder(shape: tuple[int, ...]) -> Coder:
            if len(shape) == 3:
                return ImageCoder(shape, self.latent_dim, size.depth)
            return VectorCoder(shape, self.latent_dim, size.units, 3)

        self.coder: Coder = _for_all(self.obs_shape, make_coder)
        self.rssm: RSSM = NormedRSSM(
            self.action_dim, self.coder.embed_dim, size.deterministic, size.hidden, stochastic, prior_layers
        )

    def _build_plain(self, stochastic: Gaussian, embedding: int, activation: str) -> None:
        """Dreamer's encoder, decoder and recurrence."""
        size = self.size
        self.latent_dim = size.deterministic + stochastic.dim

        def make_coder(shape: tuple[int, ...]) -> Coder:
            if len(shape) == 3:
                return PlainImageCoder(shape, self.latent_dim, size.depth, embedding)
            return PlainVectorCoder(shape, self.latent_dim, embedding)

        self.coder = _for_all(self.obs_shape, make_coder)
        self.rssm = PlainRSSM(
            self.action_dim, self.coder.embed_dim, size.deterministic, size.hidden, stochastic, activation
        )

    def _build_heads(self, layers: HeadLayers, activation: str) -> None:
        """What is read off a latent."""
        units = self.size.units

        def head(hidden: int, outputs: int) -> nn.Sequential:
            first = (
                perceptron(self.latent_dim, units, hidden)
                if self.latent == "categorical"
                else plain_perceptron(self.latent_dim, units, hidden, activation)
            )
            return nn.Sequential(first, nn.Linear(units, outputs))

        self.reward_head = head(layers.reward, self.scalar.num_outputs)
        self.termination_head = head(layers.termination, 1) if self.episodic else None
        self.policy_head = head(layers.actor, 2 * self.action_dim)
        self.value_heads = head(layers.value, self.scalar.num_outputs)

    @staticmethod
    def options_for_range(largest: float) -> dict[str, float]:
        """``vmax`` that holds rewards and returns up to ``largest`` either way, with bins as near as before."""
        limit = symlog_to_hold(largest)
        return {"vmax": limit, "num_bins": 2 * math.ceil(6.3 * limit) + 1}

    @property
    def encoder(self) -> nn.Module:
        """What observations are embedded by."""
        return self.coder.encoder

    # ------------------------------------------------------------ planning

    def initial_memory(self, batch_size: int) -> dict[str, Tensor]:
        """Latent and action of the step before, zeros."""
        zeros = torch.zeros(batch_size, self.latent_dim + self.action_dim, device=self.device)
        return {"latent": zeros[:, : self.latent_dim], "action": zeros[:, self.latent_dim :]}

    def observe(
        self,
        obs: Tensor,
        memory: dict[str, Tensor] | None = None,
        episode_start: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sample of the posterior ``[B, Z]`` after ``obs [B, ...]``, given the latent and the action before.

        Its memory lacks the next action, which :meth:`remember_action` adds.
        """
        lead = obs.shape[: obs.dim() - count_dims(self.obs_shape)]
        if memory is None:
            flat = self.initial_memory(lead.numel())
            memory = {name: value.view(*lead, -1) for name, value in flat.items()}
        latent, action = memory["latent"], memory["action"]
        if episode_start is not None:
            latent = latent.masked_fill(episode_start.unsqueeze(-1), 0)
            action = action.masked_fill(episode_start.unsqueeze(-1), 0)
        h = self.rssm.advance(*self.rssm.split(latent), action)
        noise = self.rssm.stochastic.noise(*lead, generator=generator, device=h.device)
        prepared: Any = self.coder.prepare(obs, generator)
        z = self.rssm.correct(h, self.coder.encode(prepared), noise)
        return z, {"latent": z, "action": torch.zeros_like(action)}

    def remember_action(self, memory: dict[str, Tensor], action: Tensor) -> dict[str, Tensor]:
        """The memory with the action that was taken."""
        return memory | {"action": action}

    def next(self, z: Tensor, action: Tensor) -> Tensor:
        """Mode of the prior after ``action``; gradients pass straight through categorical states."""
        return self.rssm.imagine(z, action)

    def reward(self, z: Tensor, action: Tensor, next_z: Tensor | None = None) -> Tensor:
        """Reward that goes with the latent after ``action``, which is ``next_z`` where it is known."""
        return self.reward_at(self.next(z, action) if next_z is None else next_z)

    def reward_at(self, z: Tensor) -> Tensor:
        """Reward ``[...]`` that came with arriving in ``z``."""
        return self.scalar.decode(self.reward_head(z))

    def termination_logit(self, z: Tensor) -> Tensor:
        """Logit ``[...]`` of the task having ended in ``z``; episodic models only."""
        assert self.termination_head is not None, "the model was built with episodic=False"
        return self.termination_head(z).squeeze(-1).float()

    def continuation(self, z: Tensor) -> Tensor:
        """1 unless the head is more than half sure that the task has ended in ``z``."""
        if self.termination_head is None:
            return super().continuation(z)
        return (self.termination_logit(z) <= 0).to(z.dtype)

    def values(self, z: Tensor, action: Tensor | None, members: Sequence[int] | None = None) -> Tensor:
        """V(z) ``[1, ...]``; the action is ignored."""
        return self.scalar.decode(self.value_heads(z)).unsqueeze(0)

    def policy(self, z: Tensor) -> ActionDistribution:
        """The actor."""
        raw_mean, raw_std = self.policy_head(z).float().chunk(2, -1)
        if self.latent == "gaussian":
            std = F.softplus(raw_std + _RAW_INITIAL_STD) + 1e-4
            return SquashedGaussian(5 * torch.tanh(raw_mean / 5), std.log())
        std = (self.max_std - self.min_std) * torch.sigmoid(raw_std + 2) + self.min_std
        return ClampedGaussian(torch.tanh(raw_mean), std.log())


def _for_all(obs_shape: ObsShape, make: Callable[[tuple[int, ...]], Coder]) -> Coder:
    """A coder of vectors or of images, or one for each part where there are both."""
    return MixedCoder(Packing(obs_shape), make) if isinstance(obs_shape, Mapping) else make(obs_shape)


def _check_options(obs_shape: ObsShape, latent: str, activation: str, numbers: Mapping[str, int]) -> None:
    """Raise a ValueError that says what to do unless a world model can be made with these options."""
    if latent not in ("categorical", "gaussian"):
        raise ValueError(f'latent="{latent}" is not known; use "categorical" or "gaussian"')
    if activation not in ACTIVATIONS:
        raise ValueError(f'activation="{activation}" is not known; use one of {", ".join(ACTIVATIONS)}')
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    check_obs_shape(obs_shape)


#: softplus of it is 5, the standard deviation at which Dreamer's actor starts
_RAW_INITIAL_STD = 4.993


def _initialize(model: DreamerWorldModel) -> None:
    """Truncated normal weights by fan-in, zero biases; what predicts rewards and values starts at 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            std = module.in_features**-0.5 / 0.88  # of what is left after truncation at two deviations
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for head in (model.reward_head, model.value_heads):
        nn.init.zeros_(cast("nn.Linear", head[-1]).weight)
    last = cast("nn.Linear", model.policy_head[-1])
    last.weight.data.mul_(0.01)


def get_size(size: DreamerSize | str) -> DreamerSize:
    """Look up a size by name.

    :raises ValueError: for a name that is not in :data:`DREAMER_SIZES`
    """
    if isinstance(size, DreamerSize):
        return size
    if size not in DREAMER_SIZES:
        raise ValueError(f'model_size="{size}" is not a size; choose one of {", ".join(DREAMER_SIZES)}')
    return DREAMER_SIZES[size]
