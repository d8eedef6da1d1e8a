"""Images: TD-MPC2's convolutional encoder and its augmentation (Hansen et al. 2024, Appendix; Yarats et al. 2022)."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dream_agents.models.kernels import is_tracing
from dream_agents.models.layers import NormedLinear, SimNorm

#: kernel and stride of each layer
_CONVOLUTIONS = ((7, 2), (5, 2), (3, 2), (3, 1))
#: what a group of SimNorm is made of
IMAGE_GROUPS = ("positions", "channels")


class PixelEncoder(nn.Sequential):
    """Four convolutions with ReLU between, flattened and normed by SimNorm.

    Images of 64 x 64 become ``16 * num_channels`` numbers.

    :param image_shape: channels, height and width
    :param num_channels: filters of each layer
    :param simnorm_dim: group size of SimNorm
    :param latent_dim: width of the latents; where the convolutions give another one, a normed layer stands between.
        None for theirs
    :param image_groups: what SimNorm's groups are made of: ``"positions"`` of one filter, as published, to which all
        images of one colour are the same; or the ``"channels"`` of one position, which tells black from white
    :raises ValueError: for images that are too small, sizes that don't make whole groups, and unknown groups
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_channels: int = 32,
        simnorm_dim: int = 8,
        latent_dim: int | None = None,
        image_groups: str = "positions",
    ):
        if image_groups not in IMAGE_GROUPS:
            raise ValueError(f"image_groups={image_groups!r}: choose from {', '.join(IMAGE_GROUPS)}")
        channels, height, width = image_shape
        for kernel, stride in _CONVOLUTIONS:
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            if min(height, width) < 1:
                raise ValueError(
                    f"images of shape {image_shape} are too small; four convolutions need 39 x 39 pixels"
                )
        features = num_channels * height * width
        self.out_features = latent_dim or features
        if num_channels < 1 or self.out_features % simnorm_dim != 0:
            raise ValueError(
                f"num_channels={num_channels} gives images of shape {image_shape} {self.out_features} features, "
                f"which are no groups of {simnorm_dim}; use a multiple of 8"
            )
        layers: list[nn.Module] = []
        for kernel, stride in _CONVOLUTIONS:
            layers += [nn.Conv2d(channels, num_channels, kernel, stride), nn.ReLU()]
            channels = num_channels
        last: nn.Module = SimNorm(simnorm_dim)
        if features != self.out_features:
            last = NormedLinear(features, self.out_features, SimNorm(simnorm_dim))
        flatten = nn.Flatten() if image_groups == "positions" else _ChannelsLast()
        super().__init__(*layers[:-1], flatten, last)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on a CPU

    def forward(self, input: Tensor) -> Tensor:
        """Map images ``[..., C, height, width]`` of bytes to latents ``[..., Z]``; bytes count as x / 255 - 0.5."""
        first = cast("nn.Conv2d", self[0])
        # (x - 128 + 0.5) / 255: whole numbers up to 128 fit into any floating-point type, the rest goes to the weights
        weight, bias = first.weight / 255, cast("Tensor", first.bias)
        bias = bias + 0.5 * weight.sum((1, 2, 3))
        images = input.reshape(-1, *input.shape[-3:]).contiguous(memory_format=torch.channels_last)
        centred = _centred(images).to(_compute_dtype(first.weight))
        latents = F.conv2d(centred, weight, bias, first.stride)
        for layer in list(self)[1:]:
            latents = layer(latents)
        return latents.view(*input.shape[:-3], -1)


def _centred(images: Tensor) -> Tensor:
    """Bytes minus 128: eight bits hold them, but ONNX does not compute with such numbers."""
    return images.float() - 128 if is_tracing() else (images - 128).view(torch.int8)


class _ChannelsLast(nn.Module):
    """Flattens ``[N, C, height, width]``, the channels of a position next to each other."""

    def forward(self, input: Tensor) -> Tensor:
        return input.permute(0, 2, 3, 1).flatten(1)


def _compute_dtype(weight: Tensor) -> torch.dtype:
    """The type in which convolutions with such weights are computed."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def random_shift(images: Tensor, pad: int, generator: torch.Generator | None = None) -> Tensor:
    """Shift each image by up to ``pad`` pixels in each direction, repeating the pixels at its border.

    A draw of whole pixels for each image: what grid sampling on the padded image comes to (Yarats et al. 2022).

    :param images: ``[..., C, height, width]``
    :param pad: the largest shift
    :param generator: source of the draws, on the images' device
    :return: images of the same shape, whose channels lie side by side in memory as convolutions read them
    """
    device, (channels, height, width) = images.device, images.shape[-3:]
    pixels = images.reshape(-1, channels, height, width).permute(0, 2, 3, 1)  # [N, height, width, C]
    shifts = torch.randint(-pad, pad + 1, (2, len(pixels), 1), generator=generator, device=device)
    rows, columns = (
        (torch.arange(size, device=device) + shift).clamp(0, size - 1)  # [N, size]
        for size, shift in zip((height, width), shifts, strict=True)
    )
    rows = rows + height * torch.arange(len(pixels), device=device).unsqueeze(1)
    chosen = width * rows[:, :, None] + columns[:, None, :]  # [N, height, width]
    shifted = pixels.reshape(-1, channels).index_select(0, chosen.flatten())
    return shifted.view(*images.shape[:-3], height, width, channels).movedim(-1, -3)
