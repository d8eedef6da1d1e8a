"""The recurrent state-space model against what its equations say."""

import numpy as np
import pytest
import torch

from dream_agents.models.planet import PlainRSSM
from dream_agents.models.rssm import NormedRSSM
from dream_agents.models.stochastic import Categorical, Gaussian

KINDS = {
    "categorical": (NormedRSSM, lambda: Categorical(6, 4)),
    "normed gaussian": (NormedRSSM, lambda: Gaussian(5)),
    "gaussian": (PlainRSSM, lambda: Gaussian(5)),
}


@pytest.fixture(params=list(KINDS))
def rssm(request):
    torch.manual_seed(0)
    kind, stochastic = KINDS[request.param]
    return kind(action_dim=2, embed_dim=7, deterministic=8, hidden=9, stochastic=stochastic())


def observe(rssm, embeddings, actions, is_first, context=None):
    return rssm.observe(embeddings, actions, is_first, context, torch.Generator().manual_seed(1))


def inputs(length=5, batch=3):
    generator = torch.Generator().manual_seed(2)
    embeddings = torch.randn(length, batch, 7, generator=generator)
    actions = 2 * torch.rand(length, batch, 2, generator=generator) - 1
    return embeddings, actions, torch.zeros(length, batch)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_one_percent_of_the_probability_is_uniform():
    logits = torch.randn(3, 24, generator=torch.Generator().manual_seed(0)) * 30
    expected = 0.99 * softmax(logits.double().numpy().reshape(3, 4, 6), 1) + 0.01 / 4
    probabilities = Categorical(6, 4).probabilities(logits)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    assert probabilities.min() >= 0.0025


def test_categorical_samples_are_one_hot_and_as_frequent_as_their_probabilities():
    states = Categorical(6, 4)
    logits = torch.randn(24, generator=torch.Generator().manual_seed(0)).expand(20_000, 24)
    noise = states.noise(20_000, generator=torch.Generator().manual_seed(1), device=logits.device)
    samples = states.sample(logits, noise).view(-1, 4, 6)
    assert ((samples == 0) | (samples == 1)).all()
    assert (samples.sum(1) == 1).all()
    torch.testing.assert_close(samples.mean(0), states.probabilities(logits[0]), atol=0.015, rtol=0)
    mode = states.sample(logits[:1], None).view(4, 6)
    assert torch.equal(mode.argmax(0), logits[0].view(4, 6).argmax(0))


def test_gradient_goes_straight_through_categorical_samples():
    states = Categorical(6, 4)
    logits = torch.randn(2, 24).requires_grad_()
    weights = torch.randn(2, 24)
    (straight,) = torch.autograd.grad((states.sample(logits, None) * weights).sum(), logits)
    expected = (states.probabilities(logits).flatten(-2) * weights).sum()
    torch.testing.assert_close(straight, torch.autograd.grad(expected, logits)[0])
    assert straight.abs().max() > 0


def test_categorical_divergence_and_entropy():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 24, generator=generator)
    p, q = (0.99 * softmax(x.double().numpy().reshape(3, 4, 6), 1) + 0.0025 for x in (first, second))
    states = Categorical(6, 4)
    np.testing.assert_allclose(states.kl(first, second), (p * np.log(p / q)).sum((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(states.entropy(first), -(p * np.log(p)).sum((1, 2)), rtol=1e-4)


def test_gaussian_divergence_and_entropy():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 10, generator=generator)
    normals = []
    for x in (first, second):
        mean, raw = x.double().numpy()[:, :5], x.double().numpy()[:, 5:]
        normals.append((mean, np.log1p(np.exp(raw)) + 0.1))
    (m, s), (n, t) = normals
    expected = (np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5).sum(1)
    states = Gaussian(5)
    np.testing.assert_allclose(states.kl(first, second), expected, rtol=1e-4)
    np.testing.assert_allclose(
        states.entropy(first), (0.5 * np.log(2 * np.pi * np.e * s**2)).sum(1), rtol=1e-4
    )


def step_by_step(rssm, embeddings, actions, is_first, context):
    """The recursion as autograd sees it, with the layers as they are."""
    noise = rssm.stochastic.noise(
        *is_first.shape, generator=torch.Generator().manual_seed(1), device=embeddings.device
    )
    z, latents, statistics = context, [], []
    for embedding, action, first, drawn in zip(embeddings, actions, is_first, noise, strict=True):
        keep = 1 - first.unsqueeze(-1)
        h = rssm.advance(*rssm.split(z * keep), action * keep)
        statistics.append(rssm.posterior(torch.cat((h, embedding), -1)))
        z = torch.cat((h, rssm.stochastic.sample(statistics[-1], drawn)), -1)
        latents.append(z)
    return torch.stack(latents), torch.stack(statistics)


def test_filter_and_its_gradient_are_those_of_the_recursion(rssm):
    embeddings, actions, is_first = inputs()
    embeddings.requires_grad_()
    is_first[2, 1] = 1
    context = torch.randn(3, rssm.latent_dim)
    parameters = [embeddings, *(p for n, p in rssm.named_parameters() if not n.startswith("prior"))]
    weights = [torch.randn(5, 3, rssm.latent_dim), torch.randn(5, 3, rssm.stochastic.num_statistics)]
    results = []
    for function in (observe, step_by_step):
        outputs = function(rssm, embeddings, actions, is_first, context)
        loss = sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True))
        results.append((*outputs, *torch.autograd.grad(loss, parameters)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_nothing_passes_the_start_of_an_episode(rssm):
    embeddings, actions, is_first = inputs()
    other = torch.cat((embeddings[:3] + 1, embeddings[3:]))
    before = torch.cat(
        (actions[:4] * 0.5, actions[4:])
    )  # the action before the start is another episode's, too
    assert not torch.equal(
        observe(rssm, embeddings, actions, is_first)[0][3], observe(rssm, other, actions, is_first)[0][3]
    )
    is_first[3] = 1
    expected = observe(rssm, embeddings, actions, is_first)[0]
    context = torch.randn(3, rssm.latent_dim)
    torch.testing.assert_close(observe(rssm, other, before, is_first, context)[0][3:], expected[3:])


def test_context_continues_a_sequence(rssm):
    embeddings, actions, is_first = inputs()
    whole = step_by_step(rssm, embeddings, actions, is_first, torch.zeros(3, rssm.latent_dim))[0]
    h = rssm.advance(*rssm.split(whole[1]), actions[2])
    continued = observe(rssm, embeddings[2:], actions[2:], is_first[2:], whole[1])[0]
    torch.testing.assert_close(rssm.split(continued)[0][0], h)


def test_imagination_broadcasts_latents_to_candidates(rssm):
    z, actions = torch.randn(3, 1, rssm.latent_dim), torch.randn(3, 4, 2)
    together = rssm.imagine(z, actions)
    assert together.shape == (3, 4, rssm.latent_dim)
    torch.testing.assert_close(together[1, 2], rssm.imagine(z[1, 0], actions[1, 2]))
