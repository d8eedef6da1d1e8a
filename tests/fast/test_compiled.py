"""Decisions that were compiled: the results of the others, and never an old weight's or another planner's."""

import copy
import os
import shutil

import numpy as np
import pytest
import torch

from dream_agents import DreamMPC, make_planner
from dream_agents.planners.dream import DreamPlanner

N_ENVS = 3

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler"
)


@pytest.fixture(scope="module")
def compiled(saved):
    """An agent compiled for N_ENVS environments. Tests leave it as it is."""
    agent = DreamMPC.load(saved, device="cpu")
    agent.planner.weights = torch.ones(3)  # options of planners may be tensors
    agent.compile_planner(N_ENVS)
    return agent


@pytest.fixture
def plain(saved):
    return DreamMPC.load(saved, device="cpu")


def decide(agent, observations, decisions=4, deterministic=True):
    """Actions and states of a few decisions, one environment starting again among them."""
    state, results = None, []
    for decision in range(decisions):
        starts = np.array([decision == 0, False, decision == 2])
        actions, state = agent.predict(observations(N_ENVS, decision), state, starts, deterministic)
        results += [actions, *state]
    return results


def assert_same(actual, expected):
    for ours, reference in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-4)


def compiled_calls(agent, monkeypatch):
    """Count what compiled decisions decide."""
    calls = []
    compiled = agent.policy.decider._compiled
    for key, decision in list(compiled.items()):
        monkeypatch.setitem(compiled, key, Counting(decision, calls))
    return calls


class Counting:
    def __init__(self, decision, calls):
        self.decision, self.calls = decision, calls

    def __getattr__(self, name):
        return getattr(self.decision, name)

    def __call__(self, *args):
        self.calls.append(len(args[0]))
        return self.decision(*args)


@needs_compiler
class TestCompiled:
    def test_same_decisions(self, compiled, plain, observations, monkeypatch):
        calls = compiled_calls(compiled, monkeypatch)
        assert_same(decide(compiled, observations), decide(plain, observations))
        assert calls == [N_ENVS] * 4

    def test_actions_belong_to_the_caller(self, compiled, observations):
        first, state = compiled.predict(observations(N_ENVS), deterministic=True)
        kept = first.copy(), [array.copy() for array in state]
        compiled.predict(observations(N_ENVS, 1), state, deterministic=True)
        np.testing.assert_array_equal(first, kept[0])
        for array, same in zip(state, kept[1], strict=True):
            np.testing.assert_array_equal(array, same)

    def test_other_calls_plan_as_before(self, compiled, plain, observations, monkeypatch):
        calls = compiled_calls(compiled, monkeypatch)
        np.testing.assert_array_equal(
            compiled.predict(observations(2), deterministic=True)[0],
            plain.predict(observations(2), deterministic=True)[0],
        )
        torch.manual_seed(0)
        noisy, _ = compiled.predict(observations(N_ENVS))
        torch.manual_seed(0)
        np.testing.assert_array_equal(noisy, plain.predict(observations(N_ENVS))[0])
        assert calls == []

    def test_another_planner(self, compiled, observations, monkeypatch):
        calls = compiled_calls(compiled, monkeypatch)
        own = compiled.planner
        compiled.planner = "policy"
        compiled.predict(observations(N_ENVS), deterministic=True)
        compiled.planner = own
        for option, value in (("step_size", 0.5), ("weights", torch.zeros(3))):
            with monkeypatch.context() as patch:
                patch.setattr(own, option, value)
                compiled.predict(observations(N_ENVS), deterministic=True)
        assert calls == []
        compiled.predict(observations(N_ENVS), deterministic=True)
        assert calls == [N_ENVS]

    def test_iterations_are_compiled_as_many_as_there_may_be(self, plain, observations, monkeypatch):
        plain.planner = make_planner("adaptive", iterations=2, horizon=1, samples=1, steps=(0.1,))
        expected = decide(plain, observations, decisions=3)
        plain.compile_planner(N_ENVS)
        calls = compiled_calls(plain, monkeypatch)
        assert_same(decide(plain, observations, decisions=3), expected)
        assert calls == [N_ENVS] * 3

    def test_it_is_not_saved(self, compiled, plain, observations, tmp_path):
        compiled.save(tmp_path / "agent")
        for agent in (DreamMPC.load(tmp_path / "agent", device="cpu"), copy.deepcopy(compiled.policy)):
            assert_same(decide(agent, observations), decide(plain, observations))

    def test_changed_weights_are_noticed(self, plain, observations):
        plain.compile_planner(N_ENVS)
        with torch.no_grad():
            for parameter in plain.policy.parameters():
                parameter.mul_(1.1)
        with pytest.warns(UserWarning, match="compile_planner"):
            actions, _ = plain.predict(observations(N_ENVS), deterministic=True)
        again, _ = plain.predict(observations(N_ENVS), deterministic=True)
        np.testing.assert_array_equal(actions, again)
        fresh = copy.deepcopy(plain.policy)
        np.testing.assert_array_equal(actions, fresh.predict(observations(N_ENVS), deterministic=True)[0])


class WithAutograd(DreamPlanner):
    uses_autograd = True


class TestRefused:
    def test_other_random_numbers(self, plain):
        plain.planner = "mppi"
        with pytest.raises(ValueError, match=r"MPPIPlanner can't be compiled.*randperm"):
            plain.compile_planner()

    def test_autograd(self, plain):
        plain.planner = make_planner(WithAutograd())
        with pytest.raises(ValueError, match=r"WithAutograd.*uses_autograd"):
            plain.compile_planner()

    def test_a_clock(self, plain):
        plain.planner = make_planner("adaptive", budget_ms=5)
        with pytest.raises(ValueError, match=r"AdaptivePlanner\(budget_ms=5\).*set budget_ms=None"):
            plain.compile_planner()

    def test_no_environments(self, plain):
        with pytest.raises(ValueError, match="n_envs=0"):
            plain.compile_planner(0)

    @pytest.mark.skipif(os.name == "nt", reason="compilers are found another way")
    def test_no_compiler(self, plain, monkeypatch):
        monkeypatch.setenv("CXX", "no-such-compiler")
        with pytest.raises(RuntimeError, match=r"no-such-compiler.*CXX"):
            plain.compile_planner()
