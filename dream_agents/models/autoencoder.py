"""Encoders and decoders of DreamerV3's observations: vectors and images; and of both, DreamerV3's or Dreamer's."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dream_agents.models.heads import symlog
from dream_agents.models.layers import NormedLinear
from dream_agents.models.packing import Packing

#: layers of convolutions; each halves the image
_LAYERS = 4


class VectorCoder(nn.Module):
    """Perceptrons from flat observations to embeddings, and from latents back.

    :param obs_shape: ``(n,)``
    :param latent_dim: Z
    :param units: width of the layers and of the embedding
    :param layers: hidden layers of each
    """

    def __init__(self, obs_shape: tuple[int, ...], latent_dim: int, units: int, layers: int):
        super().__init__()
        self.embed_dim = units
        self.encoder = perceptron(obs_shape[0], units, layers)
        self.decoder = nn.Sequential(perceptron(latent_dim, units, layers), nn.Linear(units, obs_shape[0]))

    def prepare(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What is encoded and predicted of observations ``[..., n]``: symlog(o)."""
        return symlog(obs)

    def encode(self, prepared: Tensor) -> Tensor:
        """Embeddings ``[..., E]`` of what :meth:`prepare` gave."""
        return self.encoder(prepared)

    def loss(self, z: Tensor, prepared: Tensor) -> Tensor:
        """Squared error ``[...]`` of what latents ``[..., Z]`` say about observations, summed over entries."""
        return (self.decoder(z).float() - prepared).square().sum(-1)


class DecodesImages(nn.Module):
    """What latents say about images, whichever network says it."""

    @abstractmethod
    def decoded(self, z: Tensor) -> Tensor:
        """Images as a coder prepares them, ``[N, C, height, width]``, of N latents ``[..., Z]``."""

    def loss(self, z: Tensor, prepared: Tensor) -> Tensor:
        """Squared error ``[...]`` of what latents ``[..., Z]`` say about images, summed over pixels."""
        error = self.decoded(z) - prepared.reshape(-1, *prepared.shape[-3:])
        return error.square().sum((1, 2, 3)).view(prepared.shape[:-3])

    def decode(self, z: Tensor) -> Tensor:
        """Images ``[..., C, height, width]`` of bytes that latents ``[..., Z]`` stand for."""
        decoded = self.decoded(z)
        return ((decoded + 0.5) * 256).clamp(0, 255).byte().view(*z.shape[:-1], *decoded.shape[1:])


class ImageCoder(DecodesImages):
    """Four strided convolutions with LayerNorm over channels and SiLU, and the same transposed.

    :param obs_shape: channels, height and width, multiples of 16
    :param latent_dim: Z
    :param depth: channels of the first layer; each layer doubles them
    :raises ValueError: for images of another size
    """

    def __init__(self, obs_shape: tuple[int, ...], latent_dim: int, depth: int):
        super().__init__()
        channels, height, width = obs_shape
        scale = 2**_LAYERS
        if height % scale or width % scale:
            raise ValueError(
                f"images of shape {obs_shape}: height and width must be multiples of {scale}; "
                "resize them, e.g. with gymnasium.wrappers.ResizeObservation"
            )
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

    def prepare(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bytes ``[..., C, height, width]`` as numbers in [-0.5, 0.5)."""
        return obs.float() / 256 - 0.5

    def encode(self, prepared: Tensor) -> Tensor:
        """Embeddings ``[..., E]`` of what :meth:`prepare` gave."""
        images = prepared.reshape(-1, *prepared.shape[-3:]).contiguous(memory_format=torch.channels_last)
        return self.encoder(images).flatten(1).view(*prepared.shape[:-3], -1)

    def decoded(self, z: Tensor) -> Tensor:
        """What latents say about images."""
        corner = self.spread(z).reshape(-1, *self._corner).contiguous(memory_format=torch.channels_last)
        return self.decoder(corner).float()


class MixedCoder(nn.Module):
    """A coder for each image and one for all numbers; embeddings are joined, and each predicts its own part.

    :param packing: how observations are packed
    :param make: makes a coder for observations of a shape, ``(n,)`` or ``(channels, height, width)``
    :raises ValueError: for images that their coder can't take, naming the key
    """

    def __init__(self, packing: Packing, make: Callable[[tuple[int, ...]], Any]):
        super().__init__()
        self.packing = packing
        coders = []
        for name, shape in packing.images.items():
            try:
                coders.append(make(shape))
            except ValueError as error:
                raise ValueError(f'"{name}": {error}') from error
        if packing.num_numbers > 0:
            coders.append(make((packing.num_numbers,)))
        self.coders = nn.ModuleList(coders)
        self.embed_dim = sum(coder.embed_dim for coder in coders)

    @property
    def encoder(self) -> nn.ModuleList:
        """The encoders of images, in alphabetical order of their keys, then that of numbers."""
        return nn.ModuleList(coder.encoder for coder in self.coders)  # type: ignore[misc]

    def prepare(self, obs: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """What is encoded and predicted of packed observations ``[..., D]``, for each coder."""
        numbers, images = self.packing.unpack(obs)
        parts = self._with_coders([*images, numbers])
        return [coder.prepare(part, generator) for coder, part in parts]

    def encode(self, prepared: Sequence[Tensor]) -> Tensor:
        """Embeddings ``[..., E]`` of what :meth:`prepare` gave."""
        return torch.cat([coder.encode(part) for coder, part in self._with_coders(prepared)], -1)

    def loss(self, z: Tensor, prepared: Sequence[Tensor]) -> Tensor:
        """Sum ``[...]`` of what each coder loses on its part."""
        return torch.stack([coder.loss(z, part) for coder, part in self._with_coders(prepared)]).sum(0)

    def _with_coders(self, parts: Sequence[Tensor]) -> Iterator[tuple[Any, Tensor]]:
        return zip(self.coders, parts, strict=False)  # without numbers nothing encodes them


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
