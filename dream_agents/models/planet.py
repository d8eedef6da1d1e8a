"""Networks of PlaNet and of Dreamer before its second version (Hafner et al. 2019, 2020): no layer is normed.

Shapes: D deterministic, S stochastic, E embedding, Z = D + S.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dream_agents.models.autoencoder import DecodesImages
from dream_agents.models.layers import join
from dream_agents.models.rssm import RSSM
from dream_agents.models.stochastic import StochasticState

#: activation functions by name
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"elu": F.elu, "relu": F.relu}
#: height and width of images
IMAGE_SIZE = 64


class PlainLinear(nn.Linear):
    """Linear, activation.

    :param activation: name in :data:`ACTIVATIONS`
    """

    def __init__(self, in_features: int, out_features: int, activation: str = "elu"):
        super().__init__(in_features, out_features)
        self.activation = ACTIVATIONS[activation]

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``."""
        return self.activation(super().forward(input))


def plain_perceptron(in_features: int, units: int, layers: int, activation: str = "elu") -> nn.Sequential:
    """Hidden layers of linear, activation."""
    widths = [in_features, *[units] * layers]
    return nn.Sequential(
        *(PlainLinear(before, after, activation) for before, after in itertools.pairwise(widths))
    )


class PlainRSSM(RSSM):
    """A GRU cell as PyTorch has it, with one layer before it and one hidden layer in prior and posterior.

    :param action_dim: A
    :param embed_dim: E, width of the encoded observation
    :param deterministic: D, width of the GRU and of the layer before it
    :param hidden: width of the layers behind it
    :param stochastic: family of the stochastic part
    :param activation: name in :data:`ACTIVATIONS`
    """

    def __init__(
        self,
        action_dim: int,
        embed_dim: int,
        deterministic: int,
        hidden: int,
        stochastic: StochasticState,
        activation: str = "elu",
    ):
        super().__init__(deterministic, stochastic)
        self.input = PlainLinear(stochastic.dim + action_dim, deterministic, activation)
        self.cell = nn.GRUCell(deterministic, deterministic)
        self.prior = nn.Sequential(
            PlainLinear(deterministic, hidden, activation), nn.Linear(hidden, stochastic.num_statistics)
        )
        self.posterior = nn.Sequential(
            PlainLinear(deterministic + embed_dim, hidden, activation),
            nn.Linear(hidden, stochastic.num_statistics),
        )

    def advance(self, h: Tensor, s: Tensor, action: Tensor) -> Tensor:
        """The GRU's state ``[..., D]`` after taking ``action [..., A]`` in ``[h, s]``; leading dimensions broadcast."""
        x = self.input(join(s, action))
        lead = x.shape[:-1]
        with torch.autocast(x.device.type, enabled=False):  # the cell takes numbers of one type only
            x, h = (value.float() if value.dtype == torch.bfloat16 else value for value in (x, h))
            h = self.cell(
                x.reshape(-1, self.deterministic), h.expand(*lead, -1).reshape(-1, self.deterministic)
            )
        return h.view(*lead, -1)


class PlainVectorCoder(nn.Module):
    """Three layers from flat observations to embeddings, and three from latents back, with ReLU between them.

    :param obs_shape: ``(n,)``
    :param latent_dim: Z
    :param embedding: E, width of all layers
    """

    def __init__(self, obs_shape: tuple[int, ...], latent_dim: int, embedding: int = 1024):
        super().__init__()
        self.embed_dim = embedding
        self.encoder = nn.Sequential(
            plain_perceptron(obs_shape[0], embedding, 2, "relu"), nn.Linear(embedding, embedding)
        )
        self.decoder = nn.Sequential(
            plain_perceptron(latent_dim, embedding, 2, "relu"), nn.Linear(embedding, obs_shape[0])
        )

    def prepare(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What is encoded and predicted of observations ``[..., n]``: they themselves."""
        return obs

    def encode(self, prepared: Tensor) -> Tensor:
        """Embeddings ``[..., E]`` of what :meth:`prepare` gave."""
        return self.encoder(prepared)

    def loss(self, z: Tensor, prepared: Tensor) -> Tensor:
        """Squared error ``[...]`` of what latents ``[..., Z]`` say about observations, summed over entries."""
        return (self.decoder(z).float() - prepared).square().sum(-1)


class PlainImageCoder(DecodesImages):
    """Four strided convolutions with ReLU, and four transposed ones from a linear layer back.

    Images lose their last bits. Uniform noise takes their place, so that no colour is a single point of the density
    that is learned.

    :param obs_shape: channels, height and width, 64 each
    :param latent_dim: Z
    :param depth: channels of the first layer; each layer doubles them
    :param embedding: E; a linear layer follows the convolutions unless they give as many numbers
    :param bits: colour depth
    :raises ValueError: for images of another size
    """

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        latent_dim: int,
        depth: int = 32,
        embedding: int = 1024,
        bits: int = 5,
    ):
        super().__init__()
        channels, height, width = obs_shape
        if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(
                f"images of shape {obs_shape}: Dreamer with Gaussian states takes {IMAGE_SIZE} x {IMAGE_SIZE} pixels; "
                "resize them, e.g. with gymnasium.wrappers.ResizeObservation"
            )
        self.bits, self.embed_dim = bits, embedding
        widths = [depth, 2 * depth, 4 * depth, 8 * depth]
        down: list[nn.Module] = []
        for before, after in zip([channels, *widths], widths, strict=False):
            down += [nn.Conv2d(before, after, 4, 2), nn.ReLU()]  # 64 -> 31 -> 14 -> 6 -> 2
        down.append(nn.Flatten())
        if 4 * widths[-1] != embedding:
            down.append(nn.Linear(4 * widths[-1], embedding))
        self.encoder = nn.Sequential(*down)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, embedding),
            nn.Unflatten(-1, (embedding, 1, 1)),
            nn.ConvTranspose2d(embedding, 4 * depth, 5, 2),  # 1 -> 5 -> 13 -> 30 -> 64
            nn.ReLU(),
            nn.ConvTranspose2d(4 * depth, 2 * depth, 5, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * depth, depth, 6, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(depth, channels, 6, 2),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on a CPU

    def prepare(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bytes ``[..., C, height, width]`` as numbers in [-0.5, 0.5), of the colour depth and with noise below it."""
        levels = 2**self.bits
        noise = torch.rand(obs.shape, generator=generator, device=obs.device)
        return ((obs // (256 // levels)).float() + noise) / levels - 0.5

    def encode(self, prepared: Tensor) -> Tensor:
        """Embeddings ``[..., E]`` of what :meth:`prepare` gave."""
        images = prepared.reshape(-1, *prepared.shape[-3:]).contiguous(memory_format=torch.channels_last)
        return self.encoder(images).view(*prepared.shape[:-3], -1)

    def decoded(self, z: Tensor) -> Tensor:
        """What latents say about images."""
        return self.decoder(z.reshape(-1, z.shape[-1])).float()
