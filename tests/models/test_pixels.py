import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dream_agents.models.pixels import PixelEncoder, random_shift
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel

TINY = TDMPCSize(16, 16, 16, 2, 2)


def images(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def reference(encoder, x):
    """The encoder as its description says it, in float64 and with NumPy's softmax."""
    weights = [(m.weight.double(), m.bias.double()) for m in encoder if isinstance(m, torch.nn.Conv2d)]
    x = x.double() / 255 - 0.5
    for i, ((weight, bias), stride) in enumerate(zip(weights, (2, 2, 2, 1), strict=True)):
        x = F.conv2d(x, weight, bias, stride)
        x = x.relu() if i < 3 else x
    groups = x.flatten(1).detach().numpy().reshape(len(x), -1, 8)
    exp = np.exp(groups - groups.max(-1, keepdims=True))
    return (exp / exp.sum(-1, keepdims=True)).reshape(len(x), -1)


class TestEncoder:
    def test_is_the_published_one(self):
        encoder = PixelEncoder((9, 64, 64))
        convolutions = [m for m in encoder if isinstance(m, torch.nn.Conv2d)]
        assert [(m.out_channels, *m.kernel_size[:1], *m.stride[:1]) for m in convolutions] == [
            (32, 7, 2),
            (32, 5, 2),
            (32, 3, 2),
            (32, 3, 1),
        ]
        x = images(5, 9, 64, 64)
        latents = encoder(x)
        assert latents.shape == (5, 512)
        np.testing.assert_allclose(latents.detach(), reference(encoder, x), atol=1e-6)

    def test_leading_dimensions_change_nothing(self):
        encoder, x = PixelEncoder((9, 64, 64), 8), images(4, 3, 9, 64, 64)
        flat = encoder(x.flatten(0, 1))
        torch.testing.assert_close(encoder(x), flat.view(4, 3, -1))
        torch.testing.assert_close(encoder(x[0, 0]), flat[0])

    def test_other_sizes_have_other_latents(self):
        assert PixelEncoder((3, 84, 84), 8)(images(2, 3, 84, 84)).shape == (2, 8 * 6 * 6)

    def test_refuses_images_that_are_too_small(self):
        assert PixelEncoder((3, 39, 39), 8).out_features == 8
        with pytest.raises(ValueError, match=r"\(3, 38, 39\) are too small; four convolutions need 39 x 39"):
            PixelEncoder((3, 38, 39), 8)

    def test_refuses_features_that_make_no_groups(self):
        with pytest.raises(ValueError, match=r"num_channels=4 .* 4 features.* multiple of 8"):
            PixelEncoder((3, 39, 39), 4)


class TestRandomShift:
    def test_is_grid_sampling_of_the_padded_image(self):
        pad, x = 3, images(64, 9, 20, 24)
        shifted = random_shift(x, pad, torch.Generator().manual_seed(1))
        down, right = torch.randint(-pad, pad + 1, (2, 64, 1), generator=torch.Generator().manual_seed(1))
        padded = F.pad(x.double(), (pad,) * 4, mode="replicate")
        grids = torch.stack(
            torch.broadcast_tensors(
                ((torch.arange(24) + right + pad + 0.5) * 2 / 30 - 1)[:, None, :],
                ((torch.arange(20) + down + pad + 0.5) * 2 / 26 - 1)[:, :, None],
            ),
            -1,
        )
        expected = F.grid_sample(padded, grids.double(), mode="bilinear", align_corners=False)
        assert shifted.dtype == torch.uint8
        torch.testing.assert_close(shifted.double(), expected, atol=1e-2, rtol=0)

    def test_every_shift_is_drawn_equally_often_and_apart_for_each_image(self):
        size, pad = 16, 3
        x = torch.arange(size * size).view(1, size, size).expand(5000, 1, size, size)
        corners = random_shift(x, pad, torch.Generator().manual_seed(0))[:, 0, 8, 8]
        counts = torch.bincount((corners - (5 * size + 5)).remainder(size) + 7 * ((corners // size) - 5))
        assert len(counts[counts > 0]) == 49
        assert counts[counts > 0].min() > 60 and counts.max() < 150  # 102 on average

    def test_border_is_repeated(self):
        x = torch.arange(5.0).expand(40, 1, 5, 5)
        for image in random_shift(x, 2, torch.Generator().manual_seed(0)):
            row = image[0, 0]
            shift = int(row[2]) - 2
            assert row.tolist() == [min(max(i + shift, 0), 4) for i in range(5)]

    def test_same_generator_same_shifts_and_none_at_zero(self):
        x = images(3, 4, 9, 12, 12)
        first, second = (random_shift(x, 3, torch.Generator().manual_seed(7)) for _ in range(2))
        assert first.shape == x.shape and torch.equal(first, second) and not torch.equal(first, x)
        assert torch.equal(random_shift(x, 0), x)


class TestWorldModel:
    def test_latent_has_the_encoders_width(self):
        model = TDMPCWorldModel((9, 64, 64), 2, "1M")
        assert (model.latent_dim, model.size.latent_dim) == (512, 512)
        z, _ = model.observe(images(3, 9, 64, 64))
        assert z.shape == (3, 512)
        assert model.next(z, torch.zeros(3, 2)).shape == (3, 512)

    def test_size_makes_the_same_networks_again(self):
        model = TDMPCWorldModel((9, 64, 64), 2, TINY, num_channels=8)
        again = TDMPCWorldModel((9, 64, 64), 2, model.size, num_channels=8)
        again.load_state_dict(model.state_dict())
        x = images(2, 9, 64, 64)
        assert torch.equal(again.encode(x), model.encode(x))

    def test_weights_start_as_convolutions_do(self):
        """Only linear layers have TD-MPC2's narrow initialisation."""
        first = TDMPCWorldModel((9, 64, 64), 2, TINY).encoder[0]
        bound = (9 * 49) ** -0.5
        assert 0.5 * bound < first.weight.std() < 0.7 * bound

    def test_refuses_other_shapes(self):
        with pytest.raises(ValueError, match=r"\(4, 4\) are neither flat.*nor images.*FlattenObservation"):
            TDMPCWorldModel((4, 4), 2)
