"""Two-hot scalars and the squashed Gaussian against plain float64 formulas."""

import numpy as np
import pytest
import torch

from dream_agents.models.heads import SquashedGaussian, TwoHot, symexp, symlog

BINS = np.linspace(-10, 10, 101)


def dense_two_hot(x):
    """Hat functions around the bins: a definition that needs no neighbour."""
    position = np.clip(np.sign(x) * np.log(1 + np.abs(x)), -10, 10)
    return np.maximum(0, 1 - np.abs(position[..., None] - BINS) / 0.2)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def as64(x):
    return x.detach().double().numpy()


@pytest.fixture
def two_hot():
    return TwoHot()


VALUES = torch.tensor([0.0, 0.1, -0.1, 1.0, -1.0, 3.7, -88.8, 512.25, 9_999.0, -21_000.0])


def test_symlog():
    x = as64(VALUES)
    np.testing.assert_allclose(as64(symlog(VALUES)), np.sign(x) * np.log(1 + np.abs(x)), rtol=1e-6)


def test_symexp_inverts_symlog():
    torch.testing.assert_close(symexp(symlog(VALUES)), VALUES, rtol=1e-5, atol=1e-6)
    assert symlog(symexp(torch.tensor(-7.5))).item() == pytest.approx(-7.5)


class TestTwoHot:
    def test_encode(self, two_hot):
        values = torch.cat((VALUES, torch.randn(200) * 50)).reshape(2, -1)
        np.testing.assert_allclose(as64(two_hot.encode(values)), dense_two_hot(as64(values)), atol=2e-5)

    def test_a_bins_own_value_lies_in_it_alone(self, two_hot):
        values = np.sign(BINS) * (np.exp(np.abs(BINS)) - 1)
        target = two_hot.double().encode(torch.from_numpy(values))
        np.testing.assert_allclose(as64(target), np.eye(101), atol=1e-9)

    @pytest.mark.parametrize(("value", "last_bin"), [(22_026.0, 100), (1e9, 100), (-1e9, 0), (np.inf, 100)])
    def test_values_beyond_the_bins_count_as_the_outermost(self, two_hot, value, last_bin):
        value = torch.tensor(value)
        expected = torch.nn.functional.one_hot(torch.tensor(last_bin), 101).float()
        torch.testing.assert_close(two_hot.encode(value), expected)
        logits = torch.randn(101)
        expected = -log_softmax(as64(logits))[last_bin]
        assert two_hot.cross_entropy(logits, value).item() == pytest.approx(expected, rel=1e-5)

    def test_decode(self, two_hot):
        logits = 2 * torch.randn(4, 5, 101)
        mean = (np.exp(log_softmax(as64(logits))) * BINS).sum(-1)
        np.testing.assert_allclose(
            as64(two_hot.decode(logits)), np.sign(mean) * (np.exp(np.abs(mean)) - 1), rtol=1e-4, atol=1e-5
        )

    def test_decode_inverts_encode(self, two_hot):
        logits = torch.log(two_hot.encode(VALUES) + 1e-12)
        torch.testing.assert_close(two_hot.decode(logits), VALUES, rtol=1e-3, atol=1e-4)

    def test_equal_logits_mean_zero(self, two_hot):
        assert two_hot.decode(torch.zeros(101)).item() == pytest.approx(0, abs=1e-5)

    def test_cross_entropy(self, two_hot):
        logits = 2 * torch.randn(3, 10, 101)
        values = VALUES.expand(3, 10)
        expected = -(dense_two_hot(as64(values)) * log_softmax(as64(logits))).sum(-1)
        np.testing.assert_allclose(as64(two_hot.cross_entropy(logits, values)), expected, rtol=1e-4)

    def test_gradient_of_cross_entropy_is_softmax_minus_target(self, two_hot):
        logits = torch.randn(10, 101, requires_grad=True)
        two_hot.cross_entropy(logits, VALUES).sum().backward()
        expected = np.exp(log_softmax(as64(logits))) - dense_two_hot(as64(VALUES))
        np.testing.assert_allclose(as64(logits.grad), expected, atol=2e-5)

    def test_values_keep_their_digits_under_autocast(self, two_hot):
        logits = torch.log(two_hot.encode(VALUES) + 1e-12)
        expected = two_hot.decode(logits)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = two_hot.decode(logits).float()
        torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-5)

    def test_bins_are_no_weights(self, two_hot):
        assert not two_hot.state_dict()
        assert not list(two_hot.parameters())


class TestSquashedGaussian:
    def test_density_integrates_to_one(self):
        for raw_mean, log_std in [(0.0, 0.0), (0.7, -0.5), (-0.4, -1.5)]:
            distribution = SquashedGaussian(
                torch.tensor([raw_mean]).double(), torch.tensor([log_std]).double()
            )
            action = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1, None]
            total = torch.trapezoid(distribution.log_prob(action).exp(), action[:, 0])
            assert total.item() == pytest.approx(1, abs=1e-3)

    def test_log_prob(self):
        raw_mean, log_std, action = torch.randn(6, 3), torch.randn(6, 3), torch.rand(6, 3) * 1.9 - 0.95
        u, mean, std = np.arctanh(as64(action)), as64(raw_mean), np.exp(as64(log_std))
        gaussian = -((u - mean) ** 2) / (2 * std**2) - np.log(std * np.sqrt(2 * np.pi))
        expected = (gaussian - np.log(1 - as64(action) ** 2 + 1e-6)).sum(-1)
        actual = SquashedGaussian(raw_mean, log_std).log_prob(action)
        np.testing.assert_allclose(as64(actual), expected, rtol=1e-4, atol=1e-4)

    def test_log_prob_is_finite_at_the_bounds(self):
        distribution = SquashedGaussian(torch.zeros(2, 1), torch.zeros(2, 1))
        assert torch.isfinite(distribution.log_prob(torch.tensor([[-1.0], [1.0]]))).all()

    def test_samples_are_distributed_as_log_prob_says(self):
        distribution = SquashedGaussian(torch.full((40_000, 1), 0.5), torch.full((40_000, 1), -0.3))
        samples = as64(distribution.sample())
        assert np.all(np.abs(samples) <= 1)
        edges = torch.linspace(-1, 1, 4001, dtype=torch.float64)
        one = SquashedGaussian(torch.tensor([0.5]).double(), torch.tensor([-0.3]).double())
        middles = (edges[1:] + edges[:-1]) / 2
        density = one.log_prob(middles[:, None]).exp()
        expected = torch.cat((torch.zeros(1), density.cumsum(0) / 2000))
        actual = np.searchsorted(np.sort(samples[:, 0]), edges.numpy()) / len(samples)
        assert np.abs(actual - as64(expected)).max() < 0.01  # Kolmogorov and Smirnov, five standard errors

    def test_mean_is_the_deterministic_action(self):
        raw_mean = torch.randn(4, 2)
        distribution = SquashedGaussian(raw_mean, torch.zeros(4, 2))
        np.testing.assert_allclose(as64(distribution.mean), np.tanh(as64(raw_mean)), rtol=1e-5)

    def test_sample_is_tanh_of_mean_plus_noise_times_std(self):
        raw_mean, log_std = torch.randn(4, 2), torch.randn(4, 2)
        action, noise = SquashedGaussian(raw_mean, log_std).sample_with_noise()
        expected = np.tanh(as64(raw_mean) + as64(noise) * np.exp(as64(log_std)))
        np.testing.assert_allclose(as64(action), expected, rtol=1e-4, atol=1e-6)

    def test_generator_decides_the_sample(self):
        distribution = SquashedGaussian(torch.zeros(4, 2), torch.zeros(4, 2))
        one, same, other = (distribution.sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)

    def test_samples_pass_gradients(self):
        raw_mean = torch.randn(5, 2, requires_grad=True)
        log_std = torch.randn(5, 2, requires_grad=True)
        action, noise = SquashedGaussian(raw_mean, log_std).sample_with_noise()
        action.sum().backward()
        slope = 1 - as64(action) ** 2
        np.testing.assert_allclose(as64(raw_mean.grad), slope, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            as64(log_std.grad), slope * as64(noise) * np.exp(as64(log_std)), rtol=1e-4, atol=1e-6
        )

    def test_expand_repeats_the_distribution(self):
        raw_mean, log_std = torch.randn(4, 1, 2), torch.randn(4, 1, 2)
        many = SquashedGaussian(raw_mean, log_std).expand(-1, 3)
        assert many.mean.shape == (4, 3, 2)
        action, noise = many.sample_with_noise()
        torch.testing.assert_close(action, torch.tanh(raw_mean + noise * log_std.exp()))
        assert not torch.equal(noise[:, 0], noise[:, 1])  # each draws for itself

    def test_entropy_estimates_the_integral(self):
        distribution = SquashedGaussian(torch.full((20_000, 1), 0.3), torch.full((20_000, 1), -0.7))
        one = SquashedGaussian(torch.tensor([0.3]).double(), torch.tensor([-0.7]).double())
        action = torch.linspace(-1, 1, 100_001, dtype=torch.float64)[1:-1, None]
        log_prob = one.log_prob(action)
        expected = -torch.trapezoid(log_prob.exp() * log_prob, action[:, 0])
        assert distribution.entropy.mean().item() == pytest.approx(expected.item(), abs=0.03)

    def test_scaled_entropy(self):
        raw_mean, log_std, noise = torch.randn(5, 3), torch.randn(5, 3), torch.randn(5, 3)
        std = np.exp(as64(log_std))
        log_density = (-0.5 * as64(noise) ** 2 - np.log(std * np.sqrt(2 * np.pi))).sum(-1)
        actual = SquashedGaussian(raw_mean, log_std).scaled_entropy(noise)
        np.testing.assert_allclose(as64(actual), -3 * log_density, rtol=1e-5)
