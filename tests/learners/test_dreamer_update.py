"""Dreamer's update against its equations."""

import numpy as np
import pytest
import torch

from dream_agents.learners.dreamer import ReturnRange, lambda_returns
from dream_agents.learners.dreamer_backbones import DreamerBackbone, GaussianDreamerBackbone
from dream_agents.learners.dreamer_config import DreamerConfig, GaussianDreamerConfig
from dream_agents.models.dreamer import DreamerSize
from dream_agents.models.symexp import SymexpTwoHot
from dream_agents.replay.stream import StreamBatch

TINY = DreamerSize(12, 10, 4, 4, 10, 2, 6)
LENGTH, BATCH = 7, 3
BACKBONES = {
    "categorical": (DreamerBackbone, DreamerConfig),
    "gaussian": (GaussianDreamerBackbone, GaussianDreamerConfig),
}


def make_learner(latent="categorical", obs_shape=(4,), episodic=True, **options):
    torch.manual_seed(0)
    backbone, config_class = BACKBONES[latent]
    model = backbone.build_world_model(obs_shape, 2, TINY, 0.9, episodic)
    config = config_class(**{"sequence_length": LENGTH, "horizon": 4, "autocast": None} | options)
    return backbone.build_learner(model, config, 1e-3, 0.02, torch.Generator().manual_seed(0))


def make_batch(obs_shape=(4,), context=None, remember=lambda latents: None):
    generator = torch.Generator().manual_seed(3)
    if len(obs_shape) == 3:
        observations = torch.randint(256, (LENGTH, BATCH, *obs_shape), generator=generator, dtype=torch.uint8)
    else:
        observations = torch.randn(LENGTH, BATCH, *obs_shape, generator=generator)
    is_first = torch.zeros(LENGTH, BATCH)
    is_first[3, 1] = 1
    terminated = torch.zeros(LENGTH, BATCH)
    terminated[2, 1] = 1
    actions = (2 * torch.rand(LENGTH, BATCH, 2, generator=generator) - 1) * (1 - is_first[..., None])
    rewards = torch.randn(LENGTH, BATCH, generator=generator) * (1 - is_first)
    return StreamBatch(observations, actions, rewards, terminated, is_first, context, remember)


def reference_lambda_returns(rewards, values, discounts, lambdas):
    """Mixture of the n-step returns, summed explicitly in float64."""
    horizon = len(rewards)
    returns = np.zeros_like(rewards)
    for start in range(horizon):
        weight = np.ones_like(rewards[0])  # of not having stopped
        discounted, total = np.ones_like(rewards[0]), np.zeros_like(rewards[0])
        for t in range(start, horizon):
            total += weight * discounted * rewards[t]
            discounted = discounted * discounts[t]
            stops = 1 - lambdas[t] if t < horizon - 1 else 1
            total += weight * stops * discounted * values[t + 1]
            weight = weight * lambdas[t]
        returns[start] = total
    return returns


@pytest.mark.parametrize("constant", [True, False])
def test_lambda_returns(constant):
    rng = np.random.default_rng(0)
    rewards, discounts = rng.normal(size=(5, 3)), 0.9 * (rng.random((5, 3)) > 0.2)
    values = rng.normal(size=(6, 3))
    lambdas = np.full((5, 3), 0.95) if constant else 0.95 * (rng.random((5, 3)) > 0.3)
    tensors = [torch.from_numpy(x) for x in (rewards, values, discounts)]
    ours = lambda_returns(*tensors, 0.95 if constant else torch.from_numpy(lambdas))
    # The last return has no longer one to mix with: its bootstrap is the value whatever lambda is.
    expected = reference_lambda_returns(rewards, values, discounts, lambdas)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_range_of_returns_is_at_least_one():
    running, rng = ReturnRange(0.9, torch.device("cpu")), np.random.default_rng(0)
    expected = np.zeros(2)
    for scale in (0.1, 50.0, 50.0, 50.0):
        returns = scale * rng.normal(size=(4, 100))
        ours = running.update(torch.from_numpy(returns).float())
        expected = 0.9 * expected + 0.1 * np.quantile(returns, [0.05, 0.95])
        assert ours.item() == pytest.approx(max(1.0, expected[1] - expected[0]), rel=1e-4)
    assert ours > 10


def test_two_hot_over_symexp_bins():
    head = SymexpTwoHot()
    grid = np.sign(g := np.linspace(-10, 10, 127)) * np.expm1(np.abs(g))
    rng = np.random.default_rng(0)
    logits, x = rng.normal(size=(5, 128)), np.array([-300.0, -0.3, 0.0, 2.5, 1e6])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(head.decode(torch.from_numpy(logits)), p[:, :127] @ grid, rtol=1e-4)
    expected = []
    for row, value in zip(np.log(p), np.clip(x, grid[0], grid[-1]), strict=True):
        upper = max(np.searchsorted(grid, value), 1)
        weight = (value - grid[upper - 1]) / (grid[upper] - grid[upper - 1])
        expected.append(-(1 - weight) * row[upper - 1] - weight * row[upper])
    tensor = torch.from_numpy(logits).requires_grad_()
    ours = head.loss(tensor, torch.from_numpy(x))
    np.testing.assert_allclose(ours.detach(), expected, rtol=1e-4)
    doubled = head.loss(tensor, torch.from_numpy(x), torch.from_numpy(x))
    torch.testing.assert_close(doubled, 2 * ours)


def test_two_hot_gradient_and_fixed_point():
    head = SymexpTwoHot()
    logits = torch.zeros(2, 128, requires_grad=True)
    assert head.decode(logits).abs().max() < 1e-2
    targets = torch.tensor([37.0, -1.5])
    (grad,) = torch.autograd.grad(head.loss(logits, targets).sum(), logits)
    reference = torch.zeros(2, 128, requires_grad=True)
    classes, weights = head._neighbours(targets)
    loss = -(reference.log_softmax(-1).gather(-1, classes) * weights).sum()
    torch.testing.assert_close(grad, torch.autograd.grad(loss, reference)[0])
    # Cross-entropy is least where the head puts the target's weights, and that decodes to the target.
    best = torch.full((2, 128), -60.0).scatter(-1, classes, weights.log())
    torch.testing.assert_close(head.decode(best), targets, rtol=1e-4, atol=1e-4)


def test_divergences_below_the_free_nats_are_not_trained():
    learner, batch = make_learner(free_nats=1e6), make_batch()
    loss, _, metrics = learner.model_loss(batch)
    assert metrics["train/dynamics_loss"] == metrics["train/representation_loss"] == 1e6
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in learner.world_model.rssm.prior.parameters())
    learner = make_learner(free_nats=0.0)
    learner.model_loss(batch)[0].backward()
    assert all(p.grad.any() for p in learner.world_model.rssm.prior.parameters())


@pytest.mark.parametrize(
    ("latent", "observation", "representation"), [("categorical", 1, 0.1), ("gaussian", 0.5, 1)]
)
def test_world_models_loss_is_the_weighted_sum(latent, observation, representation):
    learner = make_learner(latent, dynamics_coef=0.3, free_nats=0.2)
    _, _, metrics = learner.model_loss(make_batch())
    weights = {
        "observation": observation,
        "reward": 1,
        "termination": 1,
        "dynamics": 0.3,
        "representation": representation,
    }
    expected = sum(weight * metrics[f"train/{name}_loss"] for name, weight in weights.items())
    torch.testing.assert_close(metrics["train/loss"], expected)


def test_reconstruction_is_of_symlog_observations():
    learner, batch = make_learner(), make_batch()
    _, latents, metrics = learner.model_loss(batch)
    observations = batch.observations.numpy()
    target = np.sign(observations) * np.log1p(np.abs(observations))
    error = learner.world_model.coder.decoder(latents).detach().numpy() - target
    expected = (error.astype(np.float64) ** 2).sum(-1).mean()
    assert metrics["train/observation_loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("latent", BACKBONES)
@pytest.mark.parametrize("obs_shape", [(4,), (3, 64, 64)], ids=["state", "pixels"])
def test_update_changes_every_network_and_remembers_latents(latent, obs_shape):
    learner = make_learner(latent, obs_shape, free_nats=0.1)
    remembered = []
    model = learner.world_model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(3):
        metrics = learner.update(make_batch(obs_shape, remember=remembered.append))
    assert all(torch.isfinite(value) for value in metrics.values())
    assert [latents.shape for latents in remembered] == 3 * [(LENGTH, BATCH, model.latent_dim)]
    same = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    # The last layers of the value start at zero, so that its moving average starts to move one layer after the other.
    assert all(name.startswith("target_value_heads.0") for name in same), same


@pytest.mark.parametrize("latent", BACKBONES)
def test_imagination_starts_from_every_state_and_acts_within_bounds(latent, monkeypatch):
    learner, taken = make_learner(latent), []
    rssm, noise = learner.world_model.rssm, torch.randn
    imagine = rssm.imagine
    monkeypatch.setattr(
        rssm, "imagine", lambda z, action, *rest: (taken.append(action), imagine(z, action, *rest))[1]
    )
    monkeypatch.setattr(torch, "randn", lambda *size, **options: 50 * noise(*size, **options))
    z = noise(5, learner.world_model.latent_dim)
    states, actions = learner.imagine(z)
    assert states.shape == (5, 5, learner.world_model.latent_dim) and actions.shape == (4, 5, 2)
    assert torch.equal(states[0], z)
    assert torch.stack(taken).abs().max() == 1


def test_context_matters_and_stops_at_the_start_of_an_episode():
    context = torch.randn(BATCH, make_learner().world_model.latent_dim)
    latents = []
    for given in (None, context):
        learner = make_learner()
        latents.append(learner.model_loss(make_batch(context=given))[1])
    assert not torch.allclose(latents[0][0], latents[1][0])
    torch.testing.assert_close(latents[0][3:, 1], latents[1][3:, 1])


def test_imagination_starts_from_the_last_steps_only():
    learner = make_learner(imagine_last=2)
    starts = []
    imagine = learner.imagine
    learner.imagine = lambda z: (starts.append(z), imagine(z))[1]
    remembered = []
    learner.update(make_batch(remember=remembered.append))
    torch.testing.assert_close(starts[0], remembered[0][-2:].flatten(0, 1))
    assert len(remembered[0]) == LENGTH


@pytest.mark.parametrize("normalize", [True, False])
def test_actor_through_the_dynamics(normalize):
    options = {"actor_gradient": "dynamics", "entropy_coef": 0.1, "normalize_returns": normalize}
    learner = make_learner(**options)
    features = torch.randn(4, 5, learner.world_model.latent_dim)
    returns = 1e3 * torch.randn(4, 5)
    weights = torch.rand(4, 5)
    loss, metrics = learner._actor_loss(features, torch.zeros(4, 5, 2), returns, torch.zeros(4, 5), weights)
    low, high = 0.01 * np.quantile(returns, [0.05, 0.95])  # the first step of the moving average
    scale = high - low if normalize else 1.0
    entropy = learner.world_model.policy(features).entropy
    torch.testing.assert_close(loss, -(weights * (returns / scale + 0.1 * entropy)).mean().float())
    assert metrics["train/return_scale"].item() == pytest.approx(scale, rel=1e-4)


def test_imagine_last_that_is_longer_than_a_sequence_is_refused():
    with pytest.raises(ValueError, match="imagine_last=8 must be from 0 to sequence_length=7"):
        DreamerConfig(sequence_length=7, imagine_last=8)


@pytest.mark.parametrize("option", ["imagine_last", "sequence_length"])
def test_one_step_has_no_replayed_reward(option):
    with pytest.raises(ValueError, match=rf"^{option}=1: .*at least 2, or replay_value_coef=0"):
        DreamerConfig(**{option: 1})
    options = {"sequence_length": LENGTH, option: 1, "replay_value_coef": 0.0}
    if option == "imagine_last":
        make_learner(**options).update(make_batch())
    assert getattr(DreamerConfig(**options), option) == 1
