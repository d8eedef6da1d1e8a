"""Images and numbers in one array of bytes."""

import numpy as np
import pytest
import torch

from dream_agents.models.autoencoder import ImageCoder, VectorCoder
from dream_agents.models.dreamer import DreamerSize, DreamerWorldModel
from dream_agents.models.packing import Packing, shift_images
from dream_agents.models.planet import PlainImageCoder, PlainVectorCoder
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel

SHAPES = {"b": (2,), "wrist": (1, 5, 7), "a": (3,), "camera": (3, 6, 6)}


def random_parts(rng, count=4, packing=None):
    packing = packing or Packing(SHAPES)
    numbers = rng.standard_normal((count, packing.num_numbers)).astype(np.float32)
    return numbers, [rng.integers(0, 256, (count, *shape), np.uint8) for shape in packing.images.values()]


class TestPacking:
    @pytest.mark.parametrize(
        "shapes", [SHAPES, {"camera": (1, 5, 5)}, {"camera": (3, 8, 8), "joints": (1,)}], ids=str
    )
    def test_what_is_packed_is_unpacked_to_the_last_digit(self, shapes):
        packing = Packing(shapes)
        numbers, images = random_parts(np.random.default_rng(0), packing=packing)
        packed = packing.pack(numbers, images)
        assert packed.dtype == np.uint8 and packed.shape == (4, packing.size)
        for batch in (torch.as_tensor(packed), torch.as_tensor(packed)[1:], torch.as_tensor(packed)[::2]):
            rows = {4: slice(None), 3: slice(1, None), 2: slice(None, None, 2)}[len(batch)]
            unpacked, parts = packing.unpack(batch)
            np.testing.assert_array_equal(unpacked, numbers[rows])
            for part, image in zip(parts, images, strict=True):
                np.testing.assert_array_equal(part, image[rows])

    def test_keys_are_in_alphabetical_order(self):
        packing = Packing(SHAPES)
        assert list(packing.images) == ["camera", "wrist"] and list(packing.vectors) == ["a", "b"]
        assert vars(packing) == vars(Packing(dict(reversed(SHAPES.items()))))

    def test_hardly_more_than_a_byte_a_pixel(self):
        assert Packing(SHAPES).size <= 3 * 36 + 35 + 4 * 5 + 3

    @pytest.mark.parametrize(
        ("shapes", "message"),
        [({"a": (2, 2)}, r'"a" of shape \(2, 2\)'), ({"a": (2,)}, "have no image")],
    )
    def test_other_shapes_are_refused(self, shapes, message):
        with pytest.raises(ValueError, match=message):
            Packing(shapes)

    def test_images_are_shifted_each_by_its_own_draw_and_numbers_stay(self):
        packing = Packing({"b": (1, 16, 16), "a": (1, 16, 16), "n": (2,)})
        numbers, (image, _) = random_parts(np.random.default_rng(0), 32, packing)
        packed = torch.as_tensor(packing.pack(numbers, [image, image]))
        shifted = shift_images(packed, {"b": (1, 16, 16), "a": (1, 16, 16), "n": (2,)}, 3)
        same, (first, second) = packing.unpack(shifted)
        np.testing.assert_array_equal(same, numbers)
        assert not torch.equal(first, second)
        inner = torch.as_tensor(image)[:, :, 6:10, 6:10]
        for shown in (first, second):  # somewhere in the shifted image
            windows = shown.unfold(2, 4, 1).unfold(3, 4, 1).flatten(2, 3)
            assert (windows == inner.unsqueeze(2)).all((-1, -2)).any(2).all()


class TestTDMPC:
    @pytest.mark.parametrize("latent", [16, 64])
    def test_the_latent_is_the_mean_of_the_encoders(self, latent):
        """Convolutions of 8 filters on 48 x 48 pixels give 32 numbers; a layer makes them as many as the latent has."""
        size = TDMPCSize(16, 16, latent, 2, 2)
        shapes = {"camera": (3, 48, 48), "joints": (2,)}
        model = TDMPCWorldModel(shapes, 1, size, num_channels=8)
        numbers, images = random_parts(np.random.default_rng(0), packing=Packing(shapes))
        obs = torch.as_tensor(Packing(shapes).pack(numbers, images))
        seen = model.encoder.images[0](torch.as_tensor(images[0]))
        felt = model.encoder.numbers(torch.as_tensor(numbers))
        z = model.encode(obs.view(2, 2, -1))
        torch.testing.assert_close(z, ((seen + felt) / 2).view(2, 2, latent))
        torch.testing.assert_close(z.unflatten(-1, (-1, 8)).sum(-1), torch.ones(2, 2, latent // 8))

    def test_where_the_widths_agree_nothing_stands_between(self):
        size = TDMPCSize(16, 16, 128, 2, 2)
        model = TDMPCWorldModel({"camera": (3, 64, 64), "joints": (2,)}, 1, size, num_channels=8)
        assert [name for name, _ in model.encoder.images[0].named_parameters()] == [
            f"{layer}.{part}" for layer in (0, 2, 4, 6) for part in ("weight", "bias")
        ]

    def test_what_needs_images_as_well_as_numbers_can_be_fitted(self):
        """The reward is what the arm says where the lamp is on, and else 0."""
        torch.manual_seed(0)
        shapes = {"camera": (1, 48, 48), "joints": (1,)}
        model = TDMPCWorldModel(shapes, 1, TDMPCSize(32, 32, 32, 2, 2), num_channels=8)
        lamp, arm = np.array([0, 0, 1, 1]), np.array([-0.8, 0.8, -0.8, 0.8])
        image = np.broadcast_to((255 * lamp).astype(np.uint8)[:, None, None, None], (4, 1, 48, 48))
        obs = torch.as_tensor(Packing(shapes).pack(arm[:, None], [image]))
        target, action = torch.as_tensor(lamp * arm).float(), torch.zeros(4, 1)
        optimizer = torch.optim.Adam([*model.encoder.parameters(), *model.reward_head.parameters()], 3e-3)
        for _ in range(150):
            logits = model.reward_logits(model.encode(obs), action)
            optimizer.zero_grad()
            model.two_hot.cross_entropy(logits, target).mean().backward()
            optimizer.step()
        torch.testing.assert_close(model.reward(model.encode(obs), action), target, atol=0.1, rtol=0)


class TestDreamer:
    @pytest.mark.parametrize("latent", ["categorical", "gaussian"])
    def test_each_part_is_embedded_and_predicted_by_its_own(self, latent):
        shapes = {"camera": (3, 64, 64), "joints": (2,), "wrist": (1, 64, 64)}
        model = DreamerWorldModel(shapes, 1, DreamerSize(16, 16, 4, 4, 16, 2), latent=latent)
        packing, coders = Packing(shapes), model.coder.coders
        kinds = (ImageCoder, VectorCoder) if latent == "categorical" else (PlainImageCoder, PlainVectorCoder)
        assert [type(coder) for coder in coders] == [kinds[0], kinds[0], kinds[1]]
        numbers, images = random_parts(np.random.default_rng(0), packing=packing)
        obs = torch.as_tensor(packing.pack(numbers, images))
        parts = [torch.as_tensor(part) for part in (*images, numbers)]
        noise = [torch.Generator().manual_seed(0) for _ in range(2)]
        prepared = model.coder.prepare(obs, noise[0])
        own = [coder.prepare(part, noise[1]) for coder, part in zip(coders, parts, strict=True)]
        embedded = [coder.encode(part) for coder, part in zip(coders, own, strict=True)]
        torch.testing.assert_close(model.coder.encode(prepared), torch.cat(embedded, -1))
        z = torch.randn(4, model.latent_dim)
        losses = [coder.loss(z, part) for coder, part in zip(coders, own, strict=True)]
        torch.testing.assert_close(model.coder.loss(z, prepared), sum(losses))
