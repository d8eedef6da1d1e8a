"""TD-MPC2's implicit world model (Hansen et al. 2024, Section 3.1), and what BMPC's has in common with it."""

from __future__ import annotations

import dataclasses
import itertools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn as nn
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.models.heads import (
    ActionDistribution,
    SquashedGaussian,
    TwoHot,
    scaled_tanh,
    symlog_to_hold,
)
from dream_agents.models.layers import (
    EnsembleMembers,
    NormedLinear,
    SimNorm,
    ValueEnsemble,
    initialize,
    join,
    mlp,
)
from dream_agents.models.packing import ObsShape, Packing, check_obs_shape
from dream_agents.models.pixels import PixelEncoder


@dataclass(frozen=True)
class TDMPCSize:
    """Widths of the networks.

    :param enc_dim: hidden width of the encoder
    :param mlp_dim: hidden width of every other network
    :param latent_dim: width of the latent state, a multiple of ``simnorm_dim``
    :param num_enc_layers: layers of the encoder
    :param num_values: members of the value ensemble
    :param simnorm_dim: group size of SimNorm
    """

    enc_dim: int = 256
    mlp_dim: int = 512
    latent_dim: int = 512
    num_enc_layers: int = 2
    num_values: int = 5
    simnorm_dim: int = 8

    def __post_init__(self) -> None:
        if self.latent_dim % self.simnorm_dim != 0:
            raise ValueError(
                f"latent_dim={self.latent_dim} is not a multiple of simnorm_dim={self.simnorm_dim}"
            )


#: Model sizes of TD-MPC2, named after their number of parameters (Hansen et al. 2024, Table 8).
TDMPC_SIZES = {
    "1M": TDMPCSize(256, 384, 128, 2, 2),
    "5M": TDMPCSize(256, 512, 512, 2, 5),
    "19M": TDMPCSize(1024, 1024, 768, 3, 5),
    "48M": TDMPCSize(1792, 1792, 768, 4, 5),
    "317M": TDMPCSize(4096, 4096, 1376, 5, 8),
}


class ImplicitWorldModel(WorldModel):
    """Encoder, latent dynamics, reward, termination, policy prior and value ensemble.

    :param obs_shape: ``(n,)`` for flat observations, or ``(channels, height, width)`` for images, whose encoder
        decides the latent's width: 512 for 64 x 64 pixels; or both by key, see :class:`MixedEncoder`
    :param action_dim: number of action dimensions
    :param size: widths, or the name of one of :attr:`sizes`
    :param discount: discount factor of the predicted returns
    :param episodic: whether the task can end, which adds a termination head
    :param log_std_min: lower end of the policy's log standard deviation
    :param log_std_max: upper end of the policy's log standard deviation
    :param value_dropout: dropout in the first layer of each value network while training
    :param num_channels: filters of the encoder of images
    :param image_groups: what SimNorm's groups are made of behind it, see
        :class:`~dream_agents.models.pixels.PixelEncoder`
    :param vmin: symlog of the smallest reward or return that the two-hot bins hold: symexp(-10) is -22,025
    :param vmax: symlog of the largest
    :param num_bins: two-hot bins between them
    :raises ValueError: for observations that are neither, images that the encoder can't take, and impossible bins
    """

    sizes: ClassVar[Mapping[str, TDMPCSize]] = TDMPC_SIZES

    def __init__(
        self,
        obs_shape: ObsShape,
        action_dim: int,
        size: TDMPCSize | str = "5M",
        discount: float = 0.99,
        episodic: bool = False,
        log_std_min: float = -10.0,
        log_std_max: float = 2.0,
        value_dropout: float = 0.01,
        num_channels: int = 32,
        image_groups: str = "positions",
        vmin: float = -10.0,
        vmax: float = 10.0,
        num_bins: int = 101,
    ):
        super().__init__()
        self.encoder, size = _make_encoder(obs_shape, get_size(size, self.sizes), num_channels, image_groups)
        self.size = size
        self.obs_shape, self.action_dim, self.latent_dim = obs_shape, action_dim, size.latent_dim
        self.num_values, self.discount, self.episodic = size.num_values, discount, episodic
        self.log_std_min, self.log_std_max = log_std_min, log_std_max
        hidden = [size.mlp_dim] * 2
        z_action_dim = size.latent_dim + action_dim
        value_dim = z_action_dim if self.takes_action_in_value else size.latent_dim
        self.two_hot, bins = TwoHot(num_bins, vmin, vmax), num_bins
        self.scalar_range = self.two_hot.range
        self.dynamics = nn.Sequential(
            NormedLinear(z_action_dim, size.mlp_dim),
            NormedLinear(size.mlp_dim, size.mlp_dim),
            _to_latent(size.mlp_dim, size),
        )
        self.reward_head = mlp(z_action_dim, hidden, bins)
        self.termination_head = mlp(size.latent_dim, hidden, 1) if episodic else None
        self.policy_head = mlp(size.latent_dim, hidden, 2 * action_dim)
        self.value_heads = ValueEnsemble(size.num_values, value_dim, size.mlp_dim, bins, value_dropout)
        self.apply(initialize)
        nn.init.zeros_(cast("nn.Linear", self.reward_head[-1]).weight)
        self.target_value_heads = ValueEnsemble(size.num_values, value_dim, size.mlp_dim, bins)
        self.target_value_heads.load_state_dict(self.value_heads.state_dict())
        self.target_value_heads.requires_grad_(False)

    @staticmethod
    def options_for_range(largest: float) -> dict[str, float]:
        """``vmin`` and ``vmax`` whose bins hold rewards and returns up to ``largest`` either way."""
        limit = symlog_to_hold(largest)
        return {"vmin": -limit, "vmax": limit}

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.two_hot.bins.device

    def encode(self, obs: Tensor) -> Tensor:
        """Latents ``[..., Z]`` of observations ``[..., *obs_shape]``, images as bytes, both by key packed."""
        return self.encoder(obs)

    def observe(
        self,
        obs: Tensor,
        memory: dict[str, Tensor] | None = None,
        episode_start: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode ``obs``; the memory stays empty."""
        return self.encode(obs), {}

    def next(self, z: Tensor, action: Tensor) -> Tensor:
        """d(z, a)."""
        return self.dynamics(join(z, action))

    def reward_logits(self, z: Tensor, action: Tensor) -> Tensor:
        """Two-hot logits ``[..., bins]`` of the reward."""
        return self.reward_head(join(z, action))

    def reward(self, z: Tensor, action: Tensor, next_z: Tensor | None = None) -> Tensor:
        """R(z, a), in reward units; ``next_z`` is not needed."""
        return self.two_hot.decode(self.reward_logits(z, action))

    def termination_logit(self, z: Tensor) -> Tensor:
        """Logit ``[...]`` of the task having ended in ``z``; episodic models only."""
        assert self.termination_head is not None, "the model was built with episodic=False"
        return self.termination_head(z).squeeze(-1)

    def continuation(self, z: Tensor) -> Tensor:
        """1 unless the termination head is more than half sure that the task has ended in ``z``."""
        if self.termination_head is None:
            return super().continuation(z)
        return (self.termination_logit(z) <= 0).to(z.dtype)

    def _value_input(self, z: Tensor, action: Tensor | None) -> Tensor:
        if not self.takes_action_in_value:
            return z
        assert action is not None, "Q-functions take an action"
        return join(z, action)

    def value_logits(
        self, z: Tensor, action: Tensor | None, members: EnsembleMembers | None = None
    ) -> Tensor:
        """Two-hot logits ``[M, ..., bins]`` of the online values."""
        return self.value_heads(self._value_input(z, action), members)

    def values(self, z: Tensor, action: Tensor | None, members: EnsembleMembers | None = None) -> Tensor:
        """Q_m(z, a) or V_m(z), in return units."""
        return self.two_hot.decode(self.value_logits(z, action, members))

    def target_values(
        self, z: Tensor, action: Tensor | None, members: EnsembleMembers | None = None
    ) -> Tensor:
        """What the target networks predict, ``[M, ...]``."""
        return self.two_hot.decode(self.target_value_heads(self._value_input(z, action), members))

    def policy(self, z: Tensor) -> ActionDistribution:
        """The policy prior pi(. | z)."""
        return self.policy_distribution(self.policy_head(z))

    @abstractmethod
    def policy_distribution(self, raw: Tensor) -> ActionDistribution:
        """What the policy network's output ``[..., 2 A]`` stands for."""


class TDMPCWorldModel(ImplicitWorldModel):
    """TD-MPC2's: Q-functions, and a policy that is squashed by tanh. Parameters are :class:`ImplicitWorldModel`'s."""

    takes_action_in_value = True

    def policy(self, z: Tensor) -> SquashedGaussian:
        """The policy prior pi(. | z)."""
        return self.policy_distribution(self.policy_head(z))

    def policy_distribution(self, raw: Tensor) -> SquashedGaussian:
        """What the policy network's output ``[..., 2 A]`` stands for."""
        raw_mean, raw_log_std = raw.chunk(2, -1)
        return SquashedGaussian(raw_mean, scaled_tanh(raw_log_std, self.log_std_min, self.log_std_max))


class MixedEncoder(nn.Module):
    """An encoder for each image and one for all numbers, whose latents' mean is the observation's.

    TD-MPC2's first author has joined so what a humanoid sees and feels (Hansen et al. 2025, "Hierarchical World Models
    as Visual Whole-Body Humanoid Controllers"). In a mean of what SimNorm gives, each group sums to 1, too.

    :param packing: how observations are packed
    :param size: widths; all encoders have its latent
    :param num_channels: filters of the encoders of images
    :param image_groups: what SimNorm's groups are made of behind them
    :raises ValueError: for images that their encoder can't take, naming the key
    """

    def __init__(self, packing: Packing, size: TDMPCSize, num_channels: int, image_groups: str = "positions"):
        super().__init__()
        self.packing = packing
        self.images = nn.ModuleList()
        for name, shape in packing.images.items():
            try:
                encoder = PixelEncoder(shape, num_channels, size.simnorm_dim, size.latent_dim, image_groups)
                self.images.append(encoder)
            except ValueError as error:
                raise ValueError(
                    f'"{name}": {error}. Resize them, or give obs_type="state", which makes them numbers'
                ) from error
        self.numbers = _vector_encoder(packing.num_numbers, size) if packing.num_numbers > 0 else None

    def forward(self, input: Tensor) -> Tensor:
        """Map packed observations ``[..., D]`` to latents ``[..., Z]``."""
        numbers, images = self.packing.unpack(input)
        latents = [encoder(image) for encoder, image in zip(self.images, images, strict=True)]
        if self.numbers is not None:
            latents.append(self.numbers(numbers))
        return torch.stack(latents).mean(0)


def _make_encoder(
    obs_shape: ObsShape, size: TDMPCSize, num_channels: int, image_groups: str
) -> tuple[nn.Sequential | MixedEncoder, TDMPCSize]:
    """The encoder of flat observations, of images or of both, and the widths with the latent that it gives."""
    check_obs_shape(obs_shape)
    if isinstance(obs_shape, Mapping):
        return MixedEncoder(Packing(obs_shape), size, num_channels, image_groups), size
    if len(obs_shape) == 3:
        encoder = PixelEncoder(obs_shape, num_channels, size.simnorm_dim, image_groups=image_groups)
        return encoder, dataclasses.replace(size, latent_dim=encoder.out_features)
    return _vector_encoder(obs_shape[0], size), size


def _vector_encoder(numbers: int, size: TDMPCSize) -> nn.Sequential:
    widths = [numbers, *[size.enc_dim] * max(size.num_enc_layers - 1, 1)]
    layers = [NormedLinear(i, o) for i, o in itertools.pairwise(widths)]
    return nn.Sequential(*layers, _to_latent(size.enc_dim, size))


def _to_latent(in_features: int, size: TDMPCSize) -> NormedLinear:
    return NormedLinear(in_features, size.latent_dim, SimNorm(size.simnorm_dim))


def get_size(size: TDMPCSize | str, sizes: Mapping[str, TDMPCSize] = TDMPC_SIZES) -> TDMPCSize:
    """Look up a size by name.

    :raises ValueError: for a name that is not in ``sizes``
    """
    if isinstance(size, TDMPCSize):
        return size
    if size not in sizes:
        raise ValueError(f'model_size="{size}" is not a size; choose one of {", ".join(sizes)}')
    return sizes[size]
