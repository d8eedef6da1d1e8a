"""BMPC's world model: values of states, a clamped policy, and a wider one for replanning."""

import dataclasses
import math

import pytest
import torch

from dream_agents.models.bmpc import BMPC_SIZES, BMPCWorldModel
from dream_agents.models.heads import ClampedGaussian
from dream_agents.models.tdmpc import TDMPC_SIZES, TDMPCSize

TINY = TDMPCSize(12, 14, 16, 2, 3)


@pytest.fixture
def model():
    """A model all of whose parameters matter."""
    model = BMPCWorldModel((5,), 2, TINY, discount=0.9, episodic=True)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


class TestWorldModel:
    def test_values_are_those_of_states(self, model):
        assert not model.takes_action_in_value
        z = model.encode(torch.randn(7, 5))
        values = model.values(z, None)
        assert values.shape == (3, 7)
        for action in (torch.zeros(7, 2), torch.ones(7, 2)):
            assert torch.equal(model.values(z, action), values)
            assert torch.equal(model.target_values(z, action), model.target_values(z, None))
        assert values.std(1).min() > 0

    def test_sizes_are_tdmpc2s_with_two_values(self):
        for name, size in BMPC_SIZES.items():
            assert size == dataclasses.replace(TDMPC_SIZES[name], num_values=2)
        with torch.device("meta"):
            model = BMPCWorldModel((39,), 6)
        assert (model.num_values, model.latent_dim, model.size.mlp_dim) == (2, 512, 512)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trained == pytest.approx(3.2e6, rel=0.02)  # the paper's 3.5M have a task embedding on top
        with pytest.raises(ValueError, match='"6M" is not a size; choose one of 1M'):
            BMPCWorldModel((5,), 2, "6M")

    def test_values_start_at_zero(self):
        model = BMPCWorldModel((5,), 2, TINY)
        values = model.values(model.encode(torch.randn(9, 5)), None)
        torch.testing.assert_close(values, torch.zeros(3, 9), rtol=0, atol=1e-5)

    def test_images_are_observed(self):
        model = BMPCWorldModel((9, 64, 64), 2, TINY, num_channels=8).eval()
        images = torch.randint(256, (4, 9, 64, 64), dtype=torch.uint8)
        z, _ = model.observe(images)
        assert z.shape == (4, 128)
        assert model.values(z, None).shape == (3, 4)

    @pytest.mark.parametrize(("raw", "acting", "replanning"), [(100.0, 1.0, 1.0), (-100.0, -3.0, -2.0)])
    def test_replanning_explores_more(self, model, raw, acting, replanning):
        model.policy_head[-1].bias.data[2:] = raw
        z = model.encode(torch.randn(7, 5)).detach()
        wide = model.for_replanning()
        for expected, one in [(acting, model), (replanning, wide)]:
            for no_grad in (False, True):
                with torch.set_grad_enabled(not no_grad):
                    policy = one.policy(z)
                torch.testing.assert_close(policy.log_std, torch.full((7, 2), expected))
                torch.testing.assert_close(policy.mean, model.policy(z).mean, rtol=1e-4, atol=1e-6)


class TestClampedGaussian:
    """Against PyTorch's own normal distribution."""

    @pytest.fixture
    def pair(self):
        mean, log_std = torch.rand(6, 3) * 2 - 1, torch.randn(6, 3)
        return ClampedGaussian(mean, log_std), torch.distributions.Normal(mean, log_std.exp())

    def test_density_and_entropy(self, pair):
        own, expected = pair
        action = torch.rand(6, 3) * 2 - 1
        torch.testing.assert_close(own.log_prob(action), expected.log_prob(action).sum(-1))
        torch.testing.assert_close(own.entropy, expected.entropy().sum(-1))

    def test_divergence(self, pair):
        own, normal = pair
        mean, std = torch.randn(6, 3), torch.rand(6, 3) + 0.1
        expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(mean, std))
        torch.testing.assert_close(own.divergence_from(mean, std), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            own.divergence_from(own.mean, own.log_std.exp()), torch.zeros(6, 3), rtol=0, atol=1e-5
        )

    def test_samples_are_clamped_not_squashed(self):
        policy = ClampedGaussian(torch.tensor([0.9]), torch.tensor([math.log(0.5)])).expand(20_000)
        samples = policy.sample(torch.Generator().manual_seed(0))
        assert samples.shape == (20_000, 1)
        share = (samples == 1).float().mean().item()
        assert share == pytest.approx(0.4207, abs=0.02)  # P(0.9 + 0.5 x > 1)
        inside = samples[(samples > 0.4) & (samples < 1)]
        assert inside.mean().item() == pytest.approx(0.4 + 0.6 * 0.54, abs=0.03)
        assert samples.min() >= -1

    def test_samples_follow_mean_and_deviation(self):
        mean = torch.zeros(1, requires_grad=True)
        log_std = torch.tensor([-2.0], requires_grad=True)
        ClampedGaussian(mean, log_std).sample(torch.Generator().manual_seed(1)).sum().backward()
        assert mean.grad.item() == 1
        assert log_std.grad.item() != 0
