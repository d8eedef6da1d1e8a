"""Deciding the fast way: what the plain way decides, whatever happened to the weights."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch

from dream_agents import DreamMPC, make_planner
from dream_agents.fast import decider as module
from dream_agents.fast.accelerate import fast_model
from dream_agents.fast.decider import FastDecider
from dream_agents.fast.graphed import FixedDecision
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.planners import Plan
from dream_agents.planners.adaptive import AdaptivePlanner
from dream_agents.planners.decision import Decider, initial_memory
from dream_agents.planners.dream import DreamPlanner

OBS, ACTIONS, N_ENVS = 7, 3, 2


@pytest.fixture
def model(kind, make_model):
    """Wide enough that products with its weights are packed."""
    return make_model(kind, TDMPCSize(64, 256, 128, 2, 3), episodic=True)


def outputs(model):
    """What the networks say at a few places."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(6, OBS, generator=generator)
    action = torch.rand(6, 5, ACTIONS, generator=generator) * 2 - 1
    with torch.no_grad():
        z = model.observe(obs)[0].unsqueeze(1)
        return [model.next(z, action), model.reward(z, action), model.policy(z).mean, model.values(z, action)]


def assert_same(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        scale = max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * scale)


# ------------------------------------------------------------------ packed weights


def fused_update(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05, fused=True)
    z = model.encode(torch.ones(2, OBS))
    (
        model.reward(z, torch.ones(2, ACTIONS)).sum()
        + model.policy(z).mean.sum()
        + model.values(z, torch.ones(2, ACTIONS)).sum()
    ).backward()
    optimizer.step()


def in_place(model):
    with torch.no_grad():
        model.dynamics[1].bias[5] += 1


def behind_the_counter(model):
    for parameter in model.parameters():
        parameter.data.mul_(1.1)


def swapped(model):
    for parameter in model.parameters():
        parameter.data = 1.1 * parameter.data


def loaded(model):
    model.load_state_dict({name: 1.1 * value for name, value in model.state_dict().items()})


def assigned(model):
    state = {name: 1.1 * value for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


class TestPacking:
    def test_from_the_second_decision_with_the_same_weights_on(self, model, monkeypatch):
        packs = []
        make = module.fast_model
        monkeypatch.setattr(module, "fast_model", lambda m, pack=False: packs.append(pack) or make(m, pack))
        decider = FastDecider(model)
        first, second, third = (decider.fast_model() for _ in range(3))
        assert packs == [False, True]
        assert first is not second
        assert second is third

    def test_not_while_weights_change_from_decision_to_decision(self, model):
        decider = FastDecider(model)
        first = decider.fast_model()
        for _ in range(3):
            in_place(model)
            assert decider.fast_model() is first
        assert decider.fast_model() is not first, "they have stayed now"

    @pytest.mark.parametrize("decisions", [1, 2], ids=["unpacked", "packed"])
    @pytest.mark.parametrize(
        "change", [fused_update, in_place, behind_the_counter, swapped, loaded, assigned]
    )
    def test_changes_of_the_weights_are_noticed(self, model, change, decisions):
        decider = FastDecider(model)
        before = [outputs(decider.fast_model()) for _ in range(decisions)][-1]
        change(model)
        for _ in range(2):
            after = outputs(decider.fast_model())
            assert_same(after, outputs(model))
            assert not torch.allclose(after[0], before[0], atol=1e-3)

    def test_other_precisions_are_not_packed(self, model):
        decider = FastDecider(model.double())
        assert decider.fast_model() is decider.fast_model()
        decider = FastDecider(model.float())
        with torch.autocast("cpu", torch.bfloat16):
            assert decider.fast_model() is decider.fast_model()

    def test_other_models_are_left_alone(self):
        agent = DreamMPC("Pendulum-v1", backbone="dreamer", device="cpu", seed=0)
        assert FastDecider(agent.world_model).fast_model() is agent.world_model


class TestOwn:
    """What somebody puts into a model or a planner is called, also after decisions without it."""

    def act(self, model, planner):
        memory = initial_memory(model, planner, N_ENVS)
        starts, generator = torch.ones(N_ENVS, dtype=torch.bool), torch.Generator().manual_seed(0)
        return self.decider.act(torch.ones(N_ENVS, OBS), memory, starts, planner, True, generator)[0]

    @pytest.fixture(autouse=True)
    def decided(self, model):
        self.decider = FastDecider(model)
        return [self.act(model, DreamPlanner()) for _ in range(3)]

    def test_methods_of_a_model(self, model, decided):
        called = []
        model.reward = lambda *args: (called.append(args), type(model).reward(model, *args))[1]
        assert_same([self.act(model, DreamPlanner())], decided[:1])
        assert called
        assert fast_model(model) is model
        del model.reward
        assert fast_model(model) is not model

    def test_forward_hooks(self, model, decided):
        seen = []
        handle = model.encoder.register_forward_hook(lambda *args: seen.append(args))
        assert_same([self.act(model, DreamPlanner())], decided[:1])
        assert len(seen) == 1
        handle.remove()
        self.act(model, DreamPlanner())
        assert len(seen) == 1

    @pytest.mark.parametrize(
        ("kind_of_planner", "method"), [(DreamPlanner, "propose"), (AdaptivePlanner, "direction")]
    )
    def test_methods_of_a_planner(self, model, kind_of_planner, method):
        planner, called = kind_of_planner(), []
        own = getattr(planner, method)
        setattr(planner, method, lambda *args: (called.append(args), own(*args))[1])
        self.act(model, planner)
        assert called


# ------------------------------------------------------------------------ the door


def decide(agent, observations, deterministic=True, decisions=4):
    """Actions and states of a few decisions, one environment starting again among them."""
    torch.manual_seed(0)
    state, results = None, []
    for decision in range(decisions):
        starts = np.array([decision == 0, decision in (0, 2)])
        actions, state = agent.predict(observations(N_ENVS, decision), state, starts, deterministic)
        results += [actions, *state]
    return results


@pytest.fixture
def agent(saved):
    return DreamMPC.load(saved, device="cpu")


class Own:
    """A planner of somebody's own, that differentiates if it is told to."""

    def __init__(self, uses_autograd):
        self.uses_autograd, self.inference = uses_autograd, []

    def initial_memory(self, model, batch_size):
        return {}

    def plan(self, model, z, memory, episode_start, deterministic=False, generator=None):
        self.inference.append(torch.is_inference_mode_enabled())
        action = torch.zeros(len(z), model.action_dim)
        if self.uses_autograd:
            with torch.enable_grad():
                action.requires_grad_()
                (action,) = torch.autograd.grad(model.reward(z, action).sum(), action)
        return Plan(action.clamp(-1, 1), {}, action, action, z[:, 0])


class TestDecider:
    def test_agents_have_one(self, agent):
        assert isinstance(agent.policy.decider, FastDecider)
        assert agent.policy.decider is agent.policy.decider

    @pytest.mark.parametrize("planner", ["dream", "adaptive", "policy+grad", "mppi", "policy"])
    @pytest.mark.parametrize("deterministic", [True, False])
    def test_decides_as_the_plain_one(self, agent, observations, planner, deterministic):
        agent.planner = planner
        fast = decide(agent, observations, deterministic)
        agent.policy._decider = Decider(agent.world_model)
        for ours, theirs in zip(fast, decide(agent, observations, deterministic), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)

    def test_it_is_not_saved(self, agent, observations):
        names = list(agent.policy.state_dict())
        expected = decide(agent, observations)
        assert list(agent.policy.state_dict()) == names
        for policy in (copy.deepcopy(agent.policy), pickle.loads(pickle.dumps(agent.policy))):
            assert policy._decider is None
            for ours, theirs in zip(decide(policy, observations), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_another_world_model_gets_another(self, agent):
        before = agent.policy.decider
        agent.policy.world_model = copy.deepcopy(agent.policy.world_model)
        assert agent.policy.decider is not before
        assert agent.policy.decider.model is agent.policy.world_model

    @pytest.mark.parametrize("uses_autograd", [True, False])
    def test_planners_that_differentiate_can(self, agent, observations, uses_autograd):
        agent.planner = Own(uses_autograd)
        actions, _ = agent.predict(observations(N_ENVS), deterministic=True)
        assert agent.planner.inference == [not uses_autograd]
        assert np.any(actions != 0) == uses_autograd


@pytest.mark.parametrize(
    "options",
    [{"backbone": "tdmpc2"}, {"backbone": "bmpc", "training_planner": "dream"}],
    ids=["tdmpc2", "bmpc imitating dream"],
)
def test_learning_is_the_same_without(options, monkeypatch):
    def learn():
        size = TDMPCSize(16, 16, 16, 2, 3)
        agent = DreamMPC(
            "Pendulum-v1", model_size=size, learning_starts=20, batch_size=16, device="cpu", seed=0, **options
        )
        agent.learn(26)
        return agent.replay_buffer.actions[:26].copy(), type(agent.policy.decider)

    fast, fast_decider = learn()
    monkeypatch.setenv("DREAM_AGENTS_FAST", "0")
    plain, plain_decider = learn()
    assert (fast_decider, plain_decider) == (FastDecider, Decider)
    np.testing.assert_allclose(fast, plain, atol=1e-4)
    assert len(np.unique(plain[20:])) > 3  # some may be at a bound


# --------------------------------------------------------------------- CUDA graphs


class Refused:
    """A decision that can't be captured."""

    tries = 0

    def __init__(self, *args):
        Refused.tries += 1
        raise RuntimeError("it waits for the GPU\nand more")


class TestGraphs:
    """When they are captured and dropped, with decisions on fixed tensors for graphs."""

    @pytest.fixture
    def model(self, make_model):
        return make_model("tdmpc")

    @pytest.fixture
    def decider(self, model, monkeypatch):
        monkeypatch.setattr(module, "GraphedDecision", FixedDecision)
        return FastDecider(model)

    def ask(self, decider, planner, n_envs=N_ENVS, deterministic=True):
        memory = {f"planner.{k}": v for k, v in planner.initial_memory(decider.model, n_envs).items()}
        memory["decision"] = torch.zeros(n_envs, dtype=torch.int64)
        return decider._graph(torch.zeros(n_envs, OBS), memory, planner, deterministic)

    def test_captured_after_three_equal_calls(self, decider):
        planner = DreamPlanner()
        for other in ({"n_envs": 5}, {"deterministic": False}):
            assert self.ask(decider, planner, **other) is None
        assert self.ask(decider, planner) is None
        assert self.ask(decider, DreamPlanner()) is None
        assert self.ask(decider, planner) is None
        graph = self.ask(decider, planner)
        assert isinstance(graph, FixedDecision)
        assert self.ask(decider, planner) is graph
        assert self.ask(decider, planner, n_envs=5) is None
        assert self.ask(decider, planner, n_envs=5) is not None
        assert self.ask(decider, planner) is graph

    def test_kept_while_weights_change_where_they_are(self, decider, model):
        planner = DreamPlanner()
        graph = [self.ask(decider, planner) for _ in range(3)][-1]
        fused_update(model)
        assert self.ask(decider, planner) is graph

    @pytest.mark.parametrize("change", [swapped, assigned])
    def test_dropped_when_weights_move(self, decider, model, change):
        planner = DreamPlanner()
        graph = [self.ask(decider, planner) for _ in range(3)][-1]
        change(model)
        later = [self.ask(decider, planner) for _ in range(3)]
        assert later[:2] == [None, None]
        assert later[2] is not None
        assert later[2] is not graph

    def test_dropped_when_an_option_changes(self, decider):
        planner = DreamPlanner()
        graph = [self.ask(decider, planner) for _ in range(3)][-1]
        planner.step_size = 0.2
        later = [self.ask(decider, planner) for _ in range(3)]
        assert later[:2] == [None, None]
        assert later[2] is not None
        assert later[2] is not graph

    def test_refused_once_with_a_warning(self, decider, monkeypatch):
        monkeypatch.setattr(module, "GraphedDecision", Refused)
        monkeypatch.setattr(Refused, "tries", 0)
        planner = make_planner("mppi", samples=20, elites=5, policy_samples=2)
        with pytest.warns(
            UserWarning, match=r"^MPPIPlanner plans without a CUDA graph \(it waits for the GPU\)$"
        ):
            assert [self.ask(decider, planner) for _ in range(3)] == [None] * 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert [self.ask(decider, planner, n) for n in (2, 2, 2, 5, 5, 5)] == [None] * 6
        assert Refused.tries == 1
        with pytest.warns(UserWarning, match="DreamPlanner plans without"):
            [self.ask(decider, DREAM) for _ in range(3)]

    def test_a_clock_can_not_be_captured(self, decider):
        planner = make_planner("adaptive", budget_ms=5)
        assert [self.ask(decider, planner) for _ in range(4)] == [None] * 4

    def test_a_few_are_kept(self, decider, monkeypatch):
        monkeypatch.setattr(module, "_MOST_GRAPHS", 2)
        planner = DreamPlanner()
        _, second, third = ([self.ask(decider, planner, n) for _ in range(3)][-1] for n in (1, 2, 3))
        assert self.ask(decider, planner, 3) is third
        assert self.ask(decider, planner, 2) is second
        assert self.ask(decider, planner, 1) is None, "the oldest one had to go"


DREAM = DreamPlanner()
