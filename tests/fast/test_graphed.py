"""Decisions on tensors that stay where they are, and the CUDA graphs that are made of them."""

import warnings

import numpy as np
import pytest
import torch

from dream_agents import DreamMPC
from dream_agents.agents.graphed import FixedDecision, GraphedDecision, planning_in_graphs
from dream_agents.evaluation import evaluate

N_ENVS = 3


@pytest.fixture(scope="module")
def saved(saved_agents):
    return saved_agents("DreamMPC")


@pytest.fixture
def agent(saved):
    return DreamMPC.load(saved, device="cpu")


def decide(agent, observations, deterministic=True):
    """Actions and states of a few decisions, one environment starting anew among them."""
    state, results = None, []
    for decision in range(4):
        starts = np.array([decision == 0, False, decision == 2])
        actions, state = agent.predict(observations(N_ENVS, decision), state, starts, deterministic)
        results += [actions, *state]
    return results


def fixed(agent, deterministic=True, kind=FixedDecision):
    policy = agent.policy
    obs, memory = policy.example_observations(N_ENVS), policy.initial_memory(policy.planner, N_ENVS)
    return {(N_ENVS, deterministic): kind(policy.world_model, policy.planner, obs, memory, deterministic)}


@pytest.mark.parametrize("planner", ["dream", "mppi", "policy"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_fixed_tensors_give_the_same_decisions(agent, observations, planner, deterministic):
    agent.planner = planner
    torch.manual_seed(0)
    expected = decide(agent, observations, deterministic)
    decisions = fixed(agent, deterministic)
    calls = []
    run = decisions[N_ENVS, deterministic]._run
    decisions[N_ENVS, deterministic]._run = lambda: calls.append(1) or run()
    torch.manual_seed(0)
    with agent.policy.deciding_by(decisions):
        actual = decide(agent, observations, deterministic)
    assert len(calls) == 4
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    decide(agent, observations, deterministic)
    assert len(calls) == 4, "only inside the block"


def test_other_planners_and_changed_weights_are_not_decided_by_them(agent):
    (decision,) = fixed(agent).values()
    assert decision.made_for(agent.planner) and decision.weights_hold()
    agent.planner.iterations += 1
    assert not decision.made_for(agent.planner)
    assert not decision.made_for(DreamMPC("Pendulum-v1", model_size="1M", device="cpu").planner)
    with torch.no_grad():
        next(agent.policy.parameters()).add_(1)
    assert not decision.weights_hold()


def test_nothing_changes_on_the_cpu(agent):
    with planning_in_graphs(agent, {1, N_ENVS}, True):
        assert agent.policy._compiled == {}


@pytest.mark.gpu
class TestOnCuda:
    """Run with ``pytest -m gpu`` on a machine with a CUDA device."""

    @pytest.fixture
    def agent(self, saved):
        return DreamMPC.load(saved, device="cuda")

    @pytest.mark.parametrize("planner", ["dream", "policy"])
    @pytest.mark.parametrize("deterministic", [True, False])
    def test_graph_gives_the_same_decisions(self, agent, observations, planner, deterministic):
        agent.planner = planner
        torch.manual_seed(0)
        expected = decide(agent, observations, deterministic)
        torch.manual_seed(0)
        with agent.policy.deciding_by(fixed(agent, deterministic, GraphedDecision)):
            actual = decide(agent, observations, deterministic)
        for ours, theirs in zip(actual, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)

    @pytest.mark.parametrize("planner", ["dream", "mppi", "policy"])
    def test_evaluation_finds_what_it_finds_without_graphs(self, agent, planner, monkeypatch):
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            graphed = evaluate(agent, "Pendulum-v1", planner, episodes=3)
        assert agent.policy._compiled == {}
        monkeypatch.setattr(GraphedDecision, "__init__", _refuse)
        with pytest.warns(UserWarning, match="without a CUDA graph"):
            plain = evaluate(agent, "Pendulum-v1", planner, episodes=3)
        np.testing.assert_allclose(graphed.returns, plain.returns, rtol=1e-2)


def _refuse(*args, **kwargs):
    raise RuntimeError("no graph")
