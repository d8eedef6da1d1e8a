"""Dreamer's gradients against a float64 reference written from the papers, where nothing is at its initial zero."""

import pytest
import torch

from dream_agents import zoo
from dream_agents.learners.dreamer_backbones import DreamerBackbone, GaussianDreamerBackbone
from dream_agents.models.dreamer import DreamerSize
from dream_agents.replay.stream import StreamBatch
from dream_agents.wrappers import make_env

from .plain_dreamer import PlainDreamer

TINY = DreamerSize(12, 10, 5, 4, 11, 2, 6)
LENGTH, BATCH, OBS, ACTION = 6, 3, 4, 2
LEARNING_RATE, TAU = 1e-3, 0.1
CONFIGS = {
    "dreamer": (DreamerBackbone, {}),
    "dreamer through the dynamics": (DreamerBackbone, {"actor_gradient": "dynamics", "imagine_last": 4}),
    "dreamer without the replayed value's gradient": (DreamerBackbone, {"replay_value_gradient": False}),
    "dreamer_gaussian": (GaussianDreamerBackbone, {}),
}
PARTS = {
    "model": ("coder", "rssm", "reward_head", "termination_head"),
    "actor": ("policy_head",),
    "value": ("value_heads",),
}


def make_batch(latent_dim):
    generator = torch.Generator().manual_seed(3)

    def normal(*sizes):
        return torch.randn(LENGTH, BATCH, *sizes, generator=generator)

    is_first, terminated = torch.zeros(LENGTH, BATCH), torch.zeros(LENGTH, BATCH)
    is_first[3, 1] = is_first[4, 2] = 1
    terminated[2, 1] = 1
    actions = normal(ACTION).clamp(-1, 1) * (1 - is_first[..., None])
    context = torch.randn(BATCH, latent_dim, generator=generator)
    rewards = 3 * normal() * (1 - is_first)
    return StreamBatch(2 * normal(OBS), actions, rewards, terminated, is_first, context, lambda latents: None)


def make_learner(backbone, options):
    """A learner whose weights are all drawn, the last layers' and the slow value's included."""
    torch.manual_seed(0)
    kwargs = {
        **backbone.model_defaults,
        **({"embedding": 9} if "embedding" in backbone.model_defaults else {}),
    }
    model = backbone.build_world_model((OBS,), ACTION, TINY, 0.9, True, **kwargs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    # With a large epsilon Adam's first step is nearly the gradient, not its sign.
    config = backbone.config_class(
        sequence_length=LENGTH, horizon=4, autocast=None, free_nats=0.5, adam_eps=1e-2, **options
    )
    return backbone.build_learner(model, config, LEARNING_RATE, TAU, torch.Generator().manual_seed(5))


class ReferenceUpdate(PlainDreamer):
    """One update: gradients of each part after clipping, then Adam's first step with them."""

    def gradients(self, part, losses, limit):
        weights = self.named(*(f"{name}." for name in PARTS[part]))
        found = dict(
            zip(weights, torch.autograd.grad(sum(losses), weights.values(), retain_graph=True), strict=True)
        )
        norm = torch.stack([gradient.norm() for gradient in found.values()]).norm()
        return {name: gradient * min(1.0, limit / float(norm)) for name, gradient in found.items()}

    def stepped(self, gradients, rate):
        """Adam's first step: the moving averages without their bias are the gradient and its square."""
        for name, gradient in gradients.items():
            step = rate * gradient / (gradient.abs() + self.config.adam_eps)
            self.w[name] = (self.w[name] - step).detach().requires_grad_()

    def update(self, batch, generator):
        config = self.config
        together = config.replay_value_gradient and config.replay_value_coef > 0
        loss, latents = self.model_loss(batch, generator)
        model = self.gradients("model", [loss], config.model_clip_norm)
        if not together:
            self.stepped(model, LEARNING_RATE)
            latents = latents.detach()
        if config.imagine_last:
            latents, batch = latents[-config.imagine_last :], batch.last(config.imagine_last)
        actor_loss, value_loss, replay_loss = self.behaviour_losses(latents, batch, generator)
        replayed = config.replay_value_coef * replay_loss
        if together:
            model = self.gradients("model", [loss, replayed], config.model_clip_norm)
        actor = self.gradients("actor", [actor_loss], config.actor_clip_norm)
        value = self.gradients("value", [value_loss, replayed], config.actor_clip_norm)
        if together:
            self.stepped(model, LEARNING_RATE)
        for gradients in (actor, value):
            self.stepped(gradients, config.actor_lr_scale * LEARNING_RATE)
        for name in self.named("value_heads."):
            self.w[f"target_{name}"] = (1 - TAU) * self.w[f"target_{name}"] + TAU * self.w[name]
        return model | actor | value


def relative(ours, expected):
    return ((ours.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(
    "limits", [{}, {"model_clip_norm": 0.5, "actor_clip_norm": 0.02}], ids=["free", "clipped"]
)
@pytest.mark.parametrize("name", CONFIGS)
def test_update(name, limits):
    backbone, options = CONFIGS[name]
    learner = make_learner(backbone, options | limits)
    model, batch = learner.world_model, make_batch(learner.world_model.latent_dim)
    reference = ReferenceUpdate(model, learner.config)
    expected = reference.update(batch, torch.Generator().manual_seed(5))
    metrics = learner.update(batch)
    assert torch.isfinite(torch.stack(list(metrics.values()))).all()
    parameters = dict(model.named_parameters())
    assert expected.keys() == {key for key in parameters if not key.startswith("target_")}
    for key, gradient in expected.items():
        assert gradient.abs().max() > 0, key
        assert relative(parameters[key].grad, gradient) < 1e-3, key
    for key, value in parameters.items():
        torch.testing.assert_close(value.double(), reference.w[key], rtol=1e-5, atol=2e-6, msg=key)


@pytest.fixture(scope="module")
def walker():
    """The trained walker model, and latents ``[4, 16, Z]`` of its policy's episode."""
    model = zoo.load_world_model("dreamer-walker-walk", "cpu")
    env, generator = make_env("dmc_walker-walk-v0", seed=0), torch.Generator().manual_seed(0)
    obs, _ = env.reset(seed=0)
    memory, latents = None, []
    with torch.no_grad():
        for _ in range(64):
            z, memory = model.observe(torch.as_tensor(obs).unsqueeze(0), memory, None, generator)
            action = model.policy(z).sample(generator)
            memory = model.remember_action(memory, action)
            obs, *_ = env.step(action[0].numpy())
            latents.append(z[0])
    env.close()
    return model, torch.stack(latents).view(4, 16, -1)


@pytest.mark.parametrize("batch", range(4))
def test_gradient_through_the_dynamics_of_a_trained_model(walker, batch):
    """A policy's gradient on the way through later policies would show here, and only on a trained model."""
    model, latents = walker
    config = DreamerBackbone.config_class(actor_gradient="dynamics", horizon=15, autocast=None)
    learner = DreamerBackbone.build_learner(model, config, 1e-3, 0.02, torch.Generator().manual_seed(batch))
    z = latents[batch].unsqueeze(1)  # [16, 1, Z]
    zeros = torch.zeros(16, 1)
    replayed = StreamBatch(z, z, zeros, zeros, zeros, None, lambda latents: None)
    actor_loss, _, _ = learner.behaviour_losses(*learner.imagine(z.flatten(0, 1)), replayed, z)
    ours = torch.autograd.grad(actor_loss, list(model.policy_head.parameters()))

    reference = PlainDreamer(model, config)
    generator = torch.Generator().manual_seed(batch)
    expected_loss = reference.behaviour_losses(z.double(), replayed, generator)[0]
    expected = torch.autograd.grad(expected_loss, list(reference.named("policy_head.").values()))
    ours, expected = (torch.cat([part.double().flatten() for part in parts]) for parts in (ours, expected))
    assert torch.cosine_similarity(ours, expected, dim=0) >= 0.999
    assert relative(ours, expected) < 0.02
    assert actor_loss.item() == pytest.approx(expected_loss.item(), rel=1e-3)
