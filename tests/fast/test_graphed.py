"""Decisions on tensors that stay where they are, and the CUDA graphs that are made of them."""

import warnings

import numpy as np
import pytest
import torch

from dream_agents import DreamMPC
from dream_agents.evaluation import evaluate
from dream_agents.fast import decider as module
from dream_agents.fast.decider import FastDecider
from dream_agents.fast.graphed import FixedDecision, GraphedDecision
from dream_agents.planners.decision import Decider
from dream_agents.planners.dream import DreamPlanner

N_ENVS = 3


@pytest.fixture
def agent(saved):
    return DreamMPC.load(saved, device="cpu")


def decide(agent, observations, deterministic=True, decisions=4):
    """Actions and states of a few decisions, one environment starting again among them."""
    torch.manual_seed(0)
    state, results = None, []
    for decision in range(decisions):
        starts = np.array([decision == 0, False, decision == 2])
        actions, state = agent.predict(observations(N_ENVS, decision), state, starts, deterministic)
        results += [actions, *state]
    return results


def fixed(agent, deterministic=True):
    policy = agent.policy
    obs, memory = policy.example_observations(N_ENVS), policy.initial_memory(policy.planner, N_ENVS)
    return FixedDecision(policy.world_model, policy.planner, obs, memory, deterministic)


class ByFixed(Decider):
    """Decides by one :class:`FixedDecision`."""

    def __init__(self, decision):
        super().__init__(decision._model)
        self.decision = decision

    def plan(self, obs, memory, episode_start, planner, deterministic, generator):
        return self.decision(obs, memory, episode_start, generator)


@pytest.mark.parametrize("planner", ["dream", "adaptive", "mppi", "policy"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_fixed_tensors_give_the_same_decisions(agent, observations, planner, deterministic):
    agent.planner = planner
    expected = decide(agent, observations, deterministic)
    agent.policy._decider = ByFixed(fixed(agent, deterministic))
    for ours, theirs in zip(decide(agent, observations, deterministic), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_weights_may_change_where_they_are(agent, observations):
    decision = fixed(agent)
    agent.policy._decider = ByFixed(decision)
    before = decide(agent, observations)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.mul_(1.1)
    assert decision.weights_hold()
    after = decide(agent, observations)
    agent.policy._decider = None
    for ours, theirs in zip(after, decide(agent, observations), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert not np.allclose(after[0], before[0], atol=1e-3)


def test_other_planners_and_moved_weights_are_not_decided_by_them(agent):
    decision = fixed(agent)
    assert decision.made_for(agent.planner) and decision.weights_hold()
    agent.planner.step_size *= 2
    assert not decision.made_for(agent.planner)
    assert not decision.made_for(DreamPlanner())
    parameter = next(agent.world_model.parameters())
    parameter.data = parameter.data.clone()
    assert not decision.weights_hold()


def test_plans_belong_to_the_caller(agent, observations):
    """The next decision, on the same tensors, leaves them alone."""
    decision = fixed(agent)
    memory = agent.policy.initial_memory(agent.planner, N_ENVS)
    starts, generator = torch.ones(N_ENVS, dtype=torch.bool), torch.Generator()
    plan, new = decision(torch.as_tensor(observations(N_ENVS)), memory, starts, generator)
    kept = [tensor.clone() for tensor in (plan.action, plan.mean, plan.std, plan.value, *new.values())]
    decision(torch.as_tensor(observations(N_ENVS, 1)), new, ~starts, generator)
    for tensor, before in zip(
        (plan.action, plan.mean, plan.std, plan.value, *new.values()), kept, strict=True
    ):
        assert torch.equal(tensor, before)


def test_there_are_no_graphs_on_the_cpu(agent, observations):
    decide(agent, observations, decisions=6)
    assert agent.policy.decider._graphs == {}


@pytest.mark.gpu
class TestOnCuda:
    """Run with ``pytest -m gpu`` on a machine with a CUDA device."""

    @pytest.fixture
    def agent(self, saved):
        return DreamMPC.load(saved, device="cuda")

    @pytest.mark.parametrize("planner", ["dream", "adaptive", "policy"])
    @pytest.mark.parametrize("deterministic", [True, False])
    def test_graph_gives_the_same_decisions(self, agent, observations, planner, deterministic):
        agent.planner = planner
        agent.policy._decider = Decider(agent.world_model)
        expected = decide(agent, observations, deterministic, decisions=8)
        agent.policy._decider = FastDecider(agent.world_model)
        actual = decide(agent, observations, deterministic, decisions=8)
        (graph,) = agent.policy.decider._graphs.values()
        assert isinstance(graph, GraphedDecision)
        for ours, theirs in zip(actual, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)

    def test_weights_may_change_where_they_are(self, agent, observations):
        decide(agent, observations, decisions=8)
        (graph,) = agent.policy.decider._graphs.values()
        with torch.no_grad():
            for parameter in agent.policy.parameters():
                parameter.mul_(1.1)
        actual = decide(agent, observations, decisions=8)
        assert list(agent.policy.decider._graphs.values()) == [graph]
        agent.policy._decider = Decider(agent.world_model)
        for ours, theirs in zip(actual, decide(agent, observations, decisions=8), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)

    @pytest.mark.parametrize("planner", ["dream", "adaptive", "policy"])
    def test_evaluation_finds_what_it_finds_without_graphs(self, agent, planner, monkeypatch):
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            graphed = evaluate(agent, "Pendulum-v1", planner, episodes=3)
        agent.policy._decider = None
        monkeypatch.setattr(module, "GraphedDecision", _refuse)
        with pytest.warns(UserWarning, match="without a CUDA graph"):
            plain = evaluate(agent, "Pendulum-v1", planner, episodes=3)
        np.testing.assert_allclose(graphed.returns, plain.returns, rtol=1e-2)

    def test_planners_that_wait_for_the_gpu_plan_without(self, agent, observations):
        agent.planner = "mppi"
        with pytest.warns(UserWarning, match="MPPIPlanner plans without a CUDA graph"):
            decide(agent, observations, decisions=8)
        assert agent.policy.decider._graphs == {}


def _refuse(*args, **kwargs):
    raise RuntimeError("no graph")
