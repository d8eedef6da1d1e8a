"""Updates as CUDA graphs: on fixed tensors they are what they were, and nothing in them waits for the device."""

import copy

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException

from dream_agents.fast.updates import FastUpdates, FixedUpdate, GraphedUpdate, kind_of
from dream_agents.learners.base import PLAN_MEAN, PLAN_STD
from dream_agents.learners.bmpc import BMPCBackbone
from dream_agents.learners.tdmpc2 import TDMPC2Backbone
from dream_agents.models import layers
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.replay import SequenceBatch

from .comparing import assert_alike, weights_of
from .without_values import update_without_values

BACKBONES = {"tdmpc": TDMPC2Backbone, "bmpc": BMPCBackbone}
OBS, ACTIONS, BATCH = 7, 3, 6


def make_learner(kind, device="cpu", obs_shape=(OBS,), episodic=False, dropout=0.0, **options):
    """A small learner whose heads are not at their initial zeros."""
    torch.manual_seed(0)
    backbone = BACKBONES[kind]
    size = TDMPCSize(8, 16, 16, 2, 3)
    model = backbone.build_world_model(obs_shape, ACTIONS, size, 0.9, episodic, value_dropout=dropout)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.to(device)
    config = backbone.config_class(**options)
    return backbone.build_learner(model, config, 1e-3, 0.01, torch.Generator(device).manual_seed(1))


def make_batches(count, device="cpu", masked=False, obs_shape=(OBS,)):
    """Batches with plans, and with a mask where asked."""
    source = torch.Generator().manual_seed(2)
    made = []
    for _ in range(count):
        observations = torch.randn(4, BATCH, *obs_shape, generator=source)
        if len(obs_shape) == 3:
            observations = (observations * 60 + 128).clamp(0, 255).to(torch.uint8)
        actions = torch.rand(3, BATCH, ACTIONS, generator=source) * 2 - 1
        extra = {PLAN_MEAN: 0.5 * actions, PLAN_STD: torch.full_like(actions, 0.3)}
        mask = torch.ones(3, BATCH)
        mask[2, :2] = 0
        parts = (observations, actions, torch.rand(3, BATCH, generator=source), torch.zeros(3, BATCH))
        batch = SequenceBatch(*(part.to(device) for part in parts))
        extra = {name: value.to(device) for name, value in extra.items()}
        made.append(batch._replace(extra=extra, mask=mask.to(device) if masked else None))
    return made


@pytest.mark.parametrize("masked", [False, True])
def test_fixed_tensors_give_the_same_updates(kind, masked):
    plain, fixed = make_learner(kind), make_learner(kind)
    batches = make_batches(4, masked=masked)
    update = FixedUpdate(fixed, batches[-1])
    for batch in batches:
        expected, metrics = plain.update(batch), update(batch)
        assert metrics.keys() == expected.keys()
        assert_alike(metrics.values(), expected.values())
    assert_alike(weights_of(fixed), weights_of(plain))


def test_updates_for_random_decisions_are_those_of_pretrain():
    plain, fixed = make_learner("bmpc"), make_learner("bmpc")
    (batch,) = make_batches(1)
    before = copy.deepcopy(fixed.world_model.policy_head.state_dict())
    plain.pretrain(batch)
    FixedUpdate(fixed, batch, "pretrain")(batch)
    assert_alike(weights_of(fixed), weights_of(plain))
    assert_alike(fixed.world_model.policy_head.state_dict().values(), before.values())


@pytest.mark.parametrize("obs_shape", [(OBS,), (3, 64, 64)])
@pytest.mark.parametrize(("masked", "autocast", "episodic"), [(False, None, False), (True, "bfloat16", True)])
def test_nothing_in_an_update_waits(kind, masked, obs_shape, autocast, episodic, monkeypatch):
    learner = make_learner(kind, obs_shape=obs_shape, episodic=episodic, dropout=0.1, autocast=autocast)
    learner.on_device = True
    monkeypatch.setattr(layers, "_products_one_by_one", lambda: False)  # both as on a CUDA device
    (batch,) = make_batches(1, masked=masked, obs_shape=obs_shape)
    metrics = update_without_values(learner, BACKBONES[kind], batch)
    assert {metric.shape for metric in metrics.values()} == {torch.Size([])}


def test_drawing_numbers_of_members_would_wait(kind):
    with pytest.raises(DataDependentOutputException):
        update_without_values(make_learner(kind), BACKBONES[kind], *make_batches(1))


def test_members_that_stay_on_the_device_have_the_same_values(make_model, kind):
    model = make_model(kind)
    z, action = torch.randn(5, 16), torch.rand(5, 3)
    action = action if kind == "tdmpc" else None
    expected = model.values(z, action, [2, 0])
    actual = model.values(z, action, torch.tensor([2, 0]).split(1))
    assert_alike(actual, expected)


def test_pairs_that_stay_on_the_device_are_two_members_equally_often():
    learner = make_learner("tdmpc")
    learner.on_device = True
    pairs = [tuple(sorted(int(member) for member in learner._random_pair())) for _ in range(600)]
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert counts.keys() == {(0, 1), (0, 2), (1, 2)}
    assert all(150 < count < 250 for count in counts.values())


def test_rates_that_are_tensors_change_where_they_are_and_are_saved_as_numbers():
    learner = make_learner("tdmpc")
    rates = [torch.zeros(()) for _ in learner._groups()]
    for group, rate in zip(learner._groups(), rates, strict=True):
        group["lr"] = rate
    learner.set_learning_rate(2e-3)
    assert [float(rate) for rate in rates] == pytest.approx([6e-4, 2e-3, 2e-3])
    state = learner.state_dict()
    assert [type(group["lr"]) for group in state["model"]["param_groups"]] == [float, float]
    other = make_learner("tdmpc")
    other.load_state_dict(state)
    assert [group["lr"] for group in other._groups()] == pytest.approx([6e-4, 2e-3, 2e-3])
    other.set_learning_rate(1e-3)
    learner.load_state_dict(other.state_dict())
    assert [group["lr"] for group in learner._groups()] == rates
    assert [float(rate) for rate in rates] == pytest.approx([3e-4, 1e-3, 1e-3])


def test_a_graph_is_for_what_it_was_captured_with():
    learner = make_learner("tdmpc")
    (batch,), (masked,) = make_batches(1), make_batches(1, masked=True)
    update = FixedUpdate(learner, batch)
    assert update.holds()
    learner.config.horizon = 2
    assert not update.holds()
    learner.config.horizon = 3
    assert update.holds()
    learner.update(batch)
    assert update.holds()
    learner.load_state_dict(learner.state_dict())
    assert not update.holds()
    update = FixedUpdate(learner, batch)
    weight = next(learner.world_model.parameters())
    weight.data = weight.data.clone()
    assert not update.holds()
    assert kind_of(batch) != kind_of(masked)
    assert kind_of(batch) != kind_of(batch._replace(extra=None))


def test_there_are_no_graphs_on_the_cpu(kind):
    plain, fast = make_learner(kind), FastUpdates(make_learner(kind))
    for batch in make_batches(6):
        plain.update(batch)
        fast.update(batch)
    assert fast._graphs == {}
    assert_alike(weights_of(fast.learner), weights_of(plain))


@pytest.mark.gpu
class TestOnCuda:
    """Run with ``pytest -m gpu`` on a machine with a CUDA device."""

    @pytest.mark.parametrize("masked", [False, True])
    @pytest.mark.parametrize("autocast", [None, "bfloat16"])
    def test_a_graph_gives_the_same_updates(self, kind, masked, autocast):
        plain = make_learner(kind, "cuda", autocast=autocast)
        fast = FastUpdates(make_learner(kind, "cuda", autocast=autocast))
        for number, batch in enumerate(make_batches(10, "cuda", masked)):
            for learner in (plain, fast.learner):
                learner.set_learning_rate(1e-3 / (1 + number))
            expected, metrics = plain.update(batch), fast.update(batch)
            assert_alike(metrics.values(), expected.values(), rtol=1e-2, atol=1e-3)
        (graph,) = fast._graphs.values()
        assert isinstance(graph, GraphedUpdate)
        assert_alike(weights_of(fast.learner), weights_of(plain), rtol=1e-2, atol=1e-3)

    def test_what_was_loaded_is_captured_again(self, kind):
        plain, fast = make_learner(kind, "cuda"), FastUpdates(make_learner(kind, "cuda"))
        batches = make_batches(12, "cuda")
        for batch in batches[:6]:
            plain.update(batch)
            fast.update(batch)
        fast.learner.load_state_dict(copy.deepcopy(plain.state_dict()))
        fast.learner.world_model.load_state_dict(plain.world_model.state_dict())
        fast.learner.generator.set_state(plain.generator.get_state())
        for batch in batches[6:]:
            plain.update(batch)
            fast.update(batch)
        assert len(fast._graphs) == 1
        assert_alike(weights_of(fast.learner), weights_of(plain), rtol=1e-2, atol=1e-3)

    def test_what_waits_is_updated_without_a_graph(self):
        learner = make_learner("tdmpc", "cuda")
        learner.on_device = False  # draws numbers
        fast = FastUpdates(learner)
        *first, third, fourth = make_batches(4, "cuda")
        for batch in first:
            fast.update(batch)
        with pytest.warns(UserWarning, match="updates are done without a CUDA graph"):
            fast.update(third)
        fast.update(fourth)
        assert fast._graphs == {}
