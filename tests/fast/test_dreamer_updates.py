"""Dreamer's updates as CUDA graphs: as on tensors that come and go, with latents remembered after each."""

import copy

import pytest
import torch

from dream_agents.fast.updates import FastUpdates, FixedUpdate, GraphedUpdate, kind_of
from dream_agents.learners.dreamer_backbones import (
    DreamerBackbone,
    GaussianDreamerBackbone,
    PlaNetBackbone,
)
from dream_agents.models.dreamer import DreamerSize
from dream_agents.replay.stream import StreamBatch

from .comparing import assert_alike, weights_of
from .without_values import update_without_values

BACKBONES = {"dreamerv3": DreamerBackbone, "dreamer": GaussianDreamerBackbone, "planet": PlaNetBackbone}
TINY = DreamerSize(12, 10, 4, 4, 10, 2, 6)
LENGTH, BATCH = 6, 3


@pytest.fixture(params=BACKBONES)
def kind(request):
    return request.param


def make_learner(kind, device="cpu", obs_shape=(4,), episodic=True, **options):
    """A small learner whose heads are not at their initial zeros."""
    torch.manual_seed(0)
    backbone = BACKBONES[kind]
    model = backbone.build_world_model(obs_shape, 2, TINY, 0.9, episodic)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    config = backbone.config_class(
        **{"sequence_length": LENGTH, "horizon": 4, "autocast": None, "free_nats": 0.1} | options
    )
    model.to(device)
    return backbone.build_learner(model, config, 1e-3, 0.02, torch.Generator(device).manual_seed(1))


class Memory:
    """Batches that begin where the one before ended, as far as its latents were remembered."""

    def __init__(self, learner, obs_shape=(4,)):
        self.latents, self.obs_shape, self.device = None, obs_shape, learner.device
        self.generator = torch.Generator().manual_seed(3)

    def remember(self, latents):
        self.latents = latents.clone()

    def batch(self):
        if len(self.obs_shape) == 3:
            shape = (LENGTH, BATCH, *self.obs_shape)
            observations = torch.randint(256, shape, generator=self.generator, dtype=torch.uint8)
        else:
            observations = torch.randn(LENGTH, BATCH, *self.obs_shape, generator=self.generator)
        is_first = (torch.rand(LENGTH, BATCH, generator=self.generator) < 0.2).float()
        actions = 2 * torch.rand(LENGTH, BATCH, 2, generator=self.generator) - 1
        rewards = torch.randn(LENGTH, BATCH, generator=self.generator)
        parts = (observations, actions, rewards, is_first.roll(-1, 0), is_first)
        context = None if self.latents is None else self.latents[-1]
        return StreamBatch(*(part.to(self.device) for part in parts), context, self.remember)


def test_fixed_tensors_give_the_same_updates_and_latents(kind):
    plain, fixed = make_learner(kind), make_learner(kind)
    memory, fixed_memory = Memory(plain), Memory(fixed)
    for kept, learner in ((memory, plain), (fixed_memory, fixed)):
        learner.update(kept.batch())  # the first has no context
    update = FixedUpdate(fixed, fixed_memory.batch()._replace(remember=lambda latents: None))
    memory.batch()
    for _ in range(3):
        expected, metrics = plain.update(memory.batch()), update(fixed_memory.batch())
        assert metrics.keys() == expected.keys()
        assert_alike(metrics.values(), expected.values())
        torch.testing.assert_close(fixed_memory.latents, memory.latents)
    assert_alike(weights_of(fixed), weights_of(plain))


@pytest.mark.parametrize("obs_shape", [(4,), (3, 64, 64)], ids=["state", "pixels"])
@pytest.mark.parametrize(("autocast", "episodic"), [(None, False), ("bfloat16", True)])
def test_nothing_in_an_update_waits(kind, obs_shape, autocast, episodic):
    learner = make_learner(kind, obs_shape=obs_shape, episodic=episodic, autocast=autocast)
    learner.on_device = True
    memory = Memory(learner, obs_shape)
    for context in (None, torch.zeros(BATCH, learner.world_model.latent_dim)):
        batch = memory.batch()._replace(context=context, remember=lambda latents: None)
        metrics = update_without_values(copy.deepcopy(learner), BACKBONES[kind], batch)
        assert {metric.shape for metric in metrics.values()} == {torch.Size([])}


@pytest.mark.parametrize(
    "options", [{"actor_gradient": "dynamics"}, {"imagine_last": 2}, {"entropy_coef": 0.0}]
)
def test_nothing_waits_with_other_hyperparameters(options):
    learner = make_learner("dreamerv3", **options)
    batch = Memory(learner).batch()._replace(remember=lambda latents: None)
    update_without_values(learner, DreamerBackbone, batch)


def test_batches_with_and_without_context_share_no_graph():
    batch = Memory(make_learner("dreamerv3")).batch()
    assert kind_of(batch) != kind_of(batch._replace(context=torch.zeros(BATCH, 28)))


def test_loading_makes_other_optimizers(kind):
    learner = make_learner(kind)
    update = FixedUpdate(learner, Memory(learner).batch())
    assert update.holds()
    learner.load_state_dict(learner.state_dict())
    assert not update.holds()


@pytest.mark.gpu
class TestOnCuda:
    """Run with ``pytest -m gpu`` on a machine with a CUDA device."""

    @pytest.mark.parametrize("autocast", [None, "bfloat16"])
    def test_a_graph_gives_the_same_updates(self, kind, autocast):
        plain = make_learner(kind, "cuda", autocast=autocast)
        fast = FastUpdates(make_learner(kind, "cuda", autocast=autocast))
        memory, fast_memory = Memory(plain), Memory(fast.learner)
        for number in range(8):
            for learner in (plain, fast.learner):
                learner.set_learning_rate(1e-3 / (1 + number))
            expected, metrics = plain.update(memory.batch()), fast.update(fast_memory.batch())
            assert_alike(metrics.values(), expected.values(), rtol=2e-2, atol=2e-3)
        (graph,) = fast._graphs.values()
        assert isinstance(graph, GraphedUpdate)
        assert_alike(weights_of(fast.learner), weights_of(plain), rtol=2e-2, atol=2e-3)
        torch.testing.assert_close(fast_memory.latents, memory.latents, rtol=2e-2, atol=2e-3)
