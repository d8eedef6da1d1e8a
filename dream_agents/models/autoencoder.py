"""Encoders and decoders of Dreamer's observations: vectors and images."""

from __future__ import annotations

import itertools

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dream_agents.models.heads import symlog
from dream_agents.models.layers import NormedLinear

#: layers of convolutions; each halves the image
_LAYERS = 4


class VectorCoder(nn.Module):
    """Perceptrons from flat observations to embeddings, and from latents back.

    :param obs_shape: ``(n,)``
    :param latent_dim: Z
    :param units: width of the layers and of the embedding
    :param layers: hidden layers of each
    :param squash: encode and predict symlog(o) (DreamerV3) instead of o (Dreamer)
    """

    def __init__(
        self, obs_shape: tuple[int, ...], latent_dim: int, units: int, layers: int, squash: bool = True
    ):
        super().__init__()
        self.squash, self.embed_dim = squash, units
        self.encoder = perceptron(obs_shape[0], units, layers)
        self.decoder = nn.Sequential(perceptron(latent_dim, units, layers), nn.Linear(units, obs_shape[0]))

    def encode(self, obs: Tensor) -> Tensor:
        """Embeddings ``[..., E]`` of observations ``[..., n]``."""
        return self.encoder(self._target(obs))

    def loss(self, z: Tensor, obs: Tensor) -> Tensor:
        """Squared error ``[...]`` of what latents ``[..., Z]`` say about observations, summed over entries."""
        return (self.decoder(z).float() - self._target(obs)).square().sum(-1)

    def _target(self, obs: Tensor) -> Tensor:
        return symlog(obs) if self.squash else obs


class ImageCoder(nn.Module):
    """Four strided convolutions with LayerNorm over channels and SiLU, and the same transposed.

    :param obs_shape: channels, height and width, multiples of 16
    :param latent_dim: Z
    :param depth: channels of the first layer; each layer doubles them
    :param bits: colour depth that is predicted, 8 (DreamerV3) or 5 (Dreamer)
    :raises ValueError: for images of another size
    """

    def __init__(self, obs_shape: tuple[int, ...], latent_dim: int, depth: int, bits: int = 8):
        super().__init__()
        channels, height, width = obs_shape
        scale = 2**_LAYERS
        if height % scale or width % scale:
            raise ValueError(
                f"images of shape {obs_shape}: height and width must be multiples of {scale}; "
                "resize them, e.g. with gymnasium.wrappers.ResizeObservation"
            )
        self.bits = bits
        widths = [depth * 2**i for i in range(_LAYERS)]
        self._corner = (widths[-1], height // scale, width // scale)
        self.embed_dim = widths[-1] * (height // scale) * (width // scale)
        down: list[nn.Module] = []
        for before, after in zip([channels, *widths], widths, strict=False):
            down += [nn.Conv2d(before, after, 4, 2, 1, bias=False), ChannelNorm(after), nn.SiLU()]
        self.encoder = nn.Sequential(*down)
        self.spread = nn.Linear(latent_dim, self.embed_dim)
        up: list[nn.Module] = [ChannelNorm(widths[-1]), nn.SiLU()]
        for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True):
            up += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), ChannelNorm(after), nn.SiLU()]
        self.decoder = nn.Sequential(*up, nn.ConvTranspose2d(widths[0], channels, 4, 2, 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on a CPU

    def encode(self, obs: Tensor) -> Tensor:
        """Embeddings ``[..., E]`` of images ``[..., C, height, width]`` of bytes."""
        images = obs.reshape(-1, *obs.shape[-3:]).contiguous(memory_format=torch.channels_last)
        return self.encoder(self._target(images)).flatten(1).view(*obs.shape[:-3], -1)

    def loss(self, z: Tensor, obs: Tensor) -> Tensor:
        """Squared error ``[...]`` of what latents ``[..., Z]`` say about images, summed over pixels."""
        corner = self.spread(z).reshape(-1, *self._corner).contiguous(memory_format=torch.channels_last)
        error = self.decoder(corner).float() - self._target(obs.reshape(-1, *obs.shape[-3:]))
        return error.square().sum((1, 2, 3)).view(obs.shape[:-3])

    def _target(self, images: Tensor) -> Tensor:
        """Bytes as numbers in [-0.5, 0.5), rounded down to the colour depth."""
        levels = 2**self.bits
        return (images // (256 // levels)).float() / levels - 0.5


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel.

    :param channels: C
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, height, width]`` to the same shape."""
        last = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
        return last.permute(0, 3, 1, 2)


def perceptron(in_features: int, units: int, layers: int) -> nn.Sequential:
    """Hidden layers of linear, LayerNorm, SiLU."""
    widths = [in_features, *[units] * layers]
    return nn.Sequential(
        *(NormedLinear(before, after, F.silu) for before, after in itertools.pairwise(widths))
    )
