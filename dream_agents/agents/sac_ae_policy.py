"""Networks of SAC+AE (Yarats et al. 2021): an encoder of images that actor and critic share, and a decoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from dream_agents.agents.sac_policy import PublishedNetworks

_LAYERS, _FILTERS, _KERNEL = 4, 32, 3


class PixelLatent(BaseFeaturesExtractor):
    """Images ``[B, C, H, W]`` to latents ``[B, features_dim]``: four convolutions, then Linear, LayerNorm and tanh.

    :param observation_space: of images, channels first
    :param features_dim: width of the latent
    :param convolutions: another encoder's, to be shared; gradients then stop before them
    """

    def __init__(
        self, observation_space: spaces.Box, features_dim: int = 50, convolutions: nn.Sequential | None = None
    ):
        super().__init__(observation_space, features_dim)
        self.shares = convolutions is not None
        channels, *size = observation_space.shape
        self.convolutions = convolutions or nn.Sequential(
            *(
                _convolution(channels if layer == 0 else _FILTERS, 2 if layer == 0 else 1)
                for layer in range(_LAYERS)
            )
        )
        height, width = ((pixels - _KERNEL) // 2 + 1 - (_LAYERS - 1) * (_KERNEL - 1) for pixels in size)
        self.map_shape = (_FILTERS, height, width)
        self.to_latent = nn.Sequential(
            nn.Linear(_FILTERS * height * width, features_dim), nn.LayerNorm(features_dim), nn.Tanh()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode images in [0, 1]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.shares):
            maps = self.convolutions(images)
        return self.to_latent(maps.flatten(1))


def _convolution(channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, _FILTERS, _KERNEL, stride), nn.ReLU())


class PixelDecoder(nn.Module):
    """Latents ``[B, Z]`` back to images ``[B, C, H, W]``, the encoder's layers the other way round.

    :param encoder: whose latents are decoded
    """

    def __init__(self, encoder: PixelLatent):
        super().__init__()
        space = encoder._observation_space
        assert space.shape is not None
        channels, height, _ = space.shape
        self.map_shape = encoder.map_shape
        features = self.map_shape[0] * self.map_shape[1] * self.map_shape[2]
        self.from_latent = nn.Sequential(nn.Linear(encoder.features_dim, features), nn.ReLU())
        layers: list[nn.Module] = []
        for _ in range(_LAYERS - 1):
            layers += [nn.ConvTranspose2d(_FILTERS, _FILTERS, _KERNEL), nn.ReLU()]
        # With a stride of two, odd and even heights give the same map.
        layers.append(
            nn.ConvTranspose2d(_FILTERS, channels, _KERNEL, 2, output_padding=(height - _KERNEL) % 2)
        )
        self.deconvolutions = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        """Decode to images around 0, as :func:`five_bits` gives them."""
        return self.deconvolutions(self.from_latent(latent).view(-1, *self.map_shape))


def five_bits(images: Tensor) -> Tensor:
    """Images in [0, 255] at a depth of five bits, with noise in place of what is lost, in [-0.5, 0.5]."""
    levels = torch.floor(images.float() / 8) / 32
    return levels + torch.rand_like(levels) / 32 - 0.5


def reconstruction_loss(latent: Tensor, decoded: Tensor, images: Tensor, latent_coef: float) -> Tensor:
    """Mean squared error of five-bit images, and a penalty on the latents' size (Eq. 7 of Yarats et al. 2021)."""
    return F.mse_loss(decoded, five_bits(images)) + latent_coef * 0.5 * latent.square().sum(1).mean()


class SACAEPolicy(PublishedNetworks):
    """SAC's policy on latents of images.

    The critic's encoder learns from the critic's loss and from reconstruction. The actor shares its convolutions, which
    the actor's loss does not change, and has a projection to latents of its own.

    :param latent_dim: width of the latent
    :param decoder_weight_decay: weight decay of the decoder
    :param log_std_bounds: of the actor
    """

    exact_log_prob = False  # as published: 1e-6 is added to the slope of tanh

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        latent_dim: int = 50,
        decoder_weight_decay: float = 1e-7,
        log_std_bounds: tuple[float, float] = (-10.0, 2.0),
        **kwargs: Any,
    ):
        self.decoder_weight_decay = decoder_weight_decay
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            [1024, 1024] if net_arch is None else net_arch,
            features_extractor_class=PixelLatent,
            features_extractor_kwargs={"features_dim": latent_dim},
            log_std_bounds=log_std_bounds,
            **kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        self.critic = self.make_critic()
        self.critic_target = self.make_critic()
        encoder = self.encoder
        self.decoder = PixelDecoder(encoder)
        assert isinstance(self.observation_space, spaces.Box)
        shared = PixelLatent(self.observation_space, encoder.features_dim, encoder.convolutions)
        self.actor = self.make_actor(shared)
        self.initialize()
        self.critic_target.set_training_mode(False)
        convolutions = set(encoder.convolutions.parameters())
        own = [parameter for parameter in self.actor.parameters() if parameter not in convolutions]
        optimizer, options = self.optimizer_class, {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.actor.optimizer = optimizer(own, **options)
        self.critic.optimizer = optimizer(self.critic.parameters(), **options)
        self.encoder_optimizer = optimizer(encoder.parameters(), **options)
        self.decoder_optimizer = optimizer(
            self.decoder.parameters(), **options | {"weight_decay": self.decoder_weight_decay}
        )

    @staticmethod
    def initialize_layer(module: nn.Module) -> None:
        """Draw the initial weights of a layer: an orthogonal matrix, in convolutions at the kernel's centre."""
        PublishedNetworks.initialize_layer(module)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.zeros_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
            middle = module.kernel_size[0] // 2
            with torch.no_grad():
                nn.init.orthogonal_(module.weight[:, :, middle, middle], nn.init.calculate_gain("relu"))

    @property
    def encoder(self) -> PixelLatent:
        """The critic's encoder."""
        encoder = self.critic.features_extractor
        assert isinstance(encoder, PixelLatent)
        return encoder

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        for name in ("features_extractor_class", "features_extractor_kwargs"):
            del parameters[name]
        return parameters | {
            "latent_dim": self.features_extractor_kwargs["features_dim"],
            "decoder_weight_decay": self.decoder_weight_decay,
        }
