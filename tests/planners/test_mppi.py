"""MPPI against plain float64 loops over sequences and steps."""

from statistics import mean, stdev

import numpy as np
import pytest
import torch

from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.planners.mppi import MPPIPlanner
from dream_agents.planners.objective import roll_out_policy


def plain_score(model, z, actions, noise, members, uncertainty_coef):
    """Return of one sequence, actions [H, A] from z [Z], ended by the policy's action with this noise [A]."""
    z, actions = z[None], actions[:, None]
    total, penalty, weight = 0.0, 0.0, 1.0
    for action in actions:
        total += weight * model.reward(z, action).item()
        penalty += plain_uncertainty(model, z, action)
        z = model.next(z, action)
        weight *= model.discount
        if model.episodic:
            weight *= model.continuation(z).item()
    policy = model.policy(z)
    last = torch.tanh(policy.raw_mean + noise * policy.log_std.exp()) if model.takes_action_in_value else None
    values = model.values(z, last)[:, 0].tolist()
    total += weight * mean(values[m] for m in members)
    return total - uncertainty_coef * (penalty + plain_uncertainty(model, z, last))


def plain_uncertainty(model, z, action):
    values = model.values(z, action)[:, 0].tolist()
    return mean(values) * stdev(values)


def plan(planner, model, z, memory=None, episode_start=True, deterministic=True):
    memory = planner.initial_memory(model, len(z)) if memory is None else memory
    start = torch.full((len(z),), episode_start)
    return planner.plan(model, z, memory, start, deterministic, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("coefficient", [0.0, 0.01, 0.5])
def test_score_is_the_predicted_return(model, latents, same_noise, coefficient):
    model.double()
    planner = MPPIPlanner(uncertainty_coef=coefficient)
    z, actions = latents(model, 2), torch.rand(3, 2, 4, 2, dtype=torch.float64) * 1.6 - 0.8
    with torch.no_grad():
        scores = planner.score(model, z, actions, [0, 2], None)
        noise = same_noise(2, 4, 2).double()
        for b in range(2):
            for n in range(4):
                expected = plain_score(model, z[b], actions[:, b, n], noise[b, n], [0, 2], coefficient)
                assert scores[b, n].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("coefficient", [0.0, 0.01])
def test_scores_that_are_not_numbers_count_as_zero(make_model, value, coefficient):
    model = make_model("V")
    reward = model.reward
    model.reward = lambda z, a, next_z=None: reward(z, a).masked_fill(a[..., 0] > 0.5, value)
    actions = torch.tensor([[0.6, 0.0], [0.4, 0.0]]).expand(3, 1, 2, 2)
    with torch.no_grad():
        scores = MPPIPlanner(uncertainty_coef=coefficient).score(model, torch.ones(1, 2), actions, [0], None)
        assert scores[0, 0] == 0
        assert scores[0, 1] < 0
        decision = plan(MPPIPlanner(uncertainty_coef=coefficient), model, torch.ones(3, 2))
    assert torch.isfinite(decision.action).all()
    assert torch.isfinite(decision.memory["mean"]).all()


class TestOneIteration:
    """With scores that are a known function of the actions."""

    H, B, N, E, P = 2, 3, 20, 6, 4

    @pytest.fixture
    def scored(self, make_model, monkeypatch):
        """Planner, model, and the score of an action sequence [H, ..., A]."""
        options = {"min_std": 0.05, "max_std": 0.8, "temperature": 3.0}
        planner = MPPIPlanner(self.H, 1, self.N, self.P, self.E, **options)
        goal = torch.tensor([[0.5, -0.2], [-0.4, 0.1]])

        def score(actions):
            return -(actions - goal.reshape(2, *[1] * (actions.dim() - 2), 2)).square().sum((0, -1))

        planner.score = lambda model, z, actions, members, generator: score(actions)
        return planner, make_model("V"), score

    def moments(self, planner, score, start_mean, policy_actions, noise):
        """Elites, weights, mean and standard deviation of one environment in plain NumPy."""
        sampled = np.clip(start_mean[:, None] + planner.max_std * noise, -1, 1)  # [H, N, A]
        sequences = np.concatenate((policy_actions, sampled), 1)
        scores = score(torch.from_numpy(sequences)).numpy()
        best = np.argsort(-scores)[: planner.elites]
        weights = np.exp(planner.temperature * (scores[best] - scores[best[0]]))
        weights /= weights.sum()
        mean = sum(w * sequences[:, n] for w, n in zip(weights, best, strict=True))
        variance = sum(w * (sequences[:, n] - mean) ** 2 for w, n in zip(weights, best, strict=True))
        std = np.clip(np.sqrt(variance), planner.min_std, planner.max_std)
        return sequences[:, best], weights, mean, std, (weights * scores[best]).sum()

    def test_moments_of_the_elites(self, scored, same_noise):
        planner, model, score = scored
        z, memory = torch.randn(self.B, 2), {"mean": torch.rand(self.B, self.H, 2) - 0.5}
        policy_actions = roll_out_policy(model, z, self.H, self.P, None).double().detach().numpy()
        noise = same_noise(self.H, self.B, self.N - self.P, 2).double().numpy()
        decision = plan(planner, model, z, memory, episode_start=False)
        for b in range(self.B):
            start = np.stack((memory["mean"][b, 1].double().numpy(), np.zeros(2)))
            elites, weights, mean, std, value = self.moments(
                planner, score, start, policy_actions[:, b], noise[:, b]
            )
            np.testing.assert_allclose(decision.memory["mean"][b], mean, atol=1e-5)
            np.testing.assert_allclose(decision.std[b], std[0], atol=1e-5)
            np.testing.assert_allclose(decision.action[b], elites[0, weights.argmax()], atol=1e-6)
            assert decision.value[b].item() == pytest.approx(value, abs=1e-5)

    def test_elites_are_drawn_by_weight(self, scored, same_noise, monkeypatch):
        planner, model, score = scored
        many = 5000
        monkeypatch.undo()  # real draws, but the same candidates everywhere
        randn = torch.randn
        candidates = randn(self.H, 1, self.N, 2)
        planner.policy_samples = 0
        monkeypatch.setattr(torch, "randn", lambda shape, **_: candidates.expand(shape))
        start = np.zeros((self.H, 2))
        none = np.zeros((self.H, 0, 2))
        elites, weights, *_ = self.moments(planner, score, start, none, candidates[:, 0].double().numpy())
        decision = plan(planner, model, torch.zeros(many, 2))
        for elite, weight in zip(elites[0], weights, strict=True):
            share = np.isclose(decision.action.numpy(), elite, atol=1e-5).all(1).mean()
            assert share == pytest.approx(weight, abs=5 * np.sqrt(weight * (1 - weight) / many) + 1e-9)

    def test_executed_noise_has_the_first_steps_spread(self, scored, same_noise):
        planner, model, _ = scored
        planner.max_std = 0.3
        z = torch.randn(self.B, 2)
        calm, exploring = (plan(planner, model, z, deterministic=d) for d in (True, False))
        expected = (calm.action + same_noise(self.B, 2) * calm.std).clamp(-1, 1)
        torch.testing.assert_close(exploring.action, expected)
        assert torch.equal(exploring.mean, calm.mean)


class TestDistribution:
    def test_later_iterations_start_from_the_earlier_ones(self, make_model):
        model, z = make_model("V"), torch.tensor([[0.4, -0.3]])
        few, many = (plan(MPPIPlanner(iterations=n, policy_samples=0), model, z) for n in (1, 6))
        assert (many.std < 0.5 * few.std).all()
        assert (many.value > few.value).all()

    def test_finds_the_optimum_of_a_linear_quadratic_problem(self, make_model):
        """The same one as in test_dream.py; score of two values of scales 0.5, 1 and 3."""
        model, z = make_model("V"), torch.tensor([[0.4, -0.3]])
        model.scales.fill_(1.5)
        gammas = 0.9 ** np.arange(4)
        moves = 0.5 * np.tril(np.ones((4, 4)), -1)[:, :3]
        weights = np.diag(gammas * [1, 1, 1, 1.5])
        hessian = moves.T @ weights @ moves + 0.1 * np.diag(gammas[:3])
        optimum = np.linalg.solve(hessian, -moves.T @ weights @ np.ones((4, 1)) @ z.numpy())
        planner = MPPIPlanner(iterations=12, samples=2000, elites=200, min_std=0.01, temperature=5.0)
        np.testing.assert_allclose(plan(planner, model, z).memory["mean"][0], optimum, atol=0.05)

    @pytest.mark.parametrize("start", [False, True])
    def test_warm_start_is_shifted_by_one(self, make_model, monkeypatch, start):
        """Without noise the new mean is the one that planning started from."""
        z, memory = torch.randn(2, 2), {"mean": torch.rand(2, 3, 2) - 0.5}
        monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.zeros(shape))
        actual = plan(MPPIPlanner(policy_samples=0), make_model("V"), z, memory, start).memory["mean"]
        expected = torch.zeros(2, 3, 2)
        if not start:
            expected[:, 0], expected[:, 1] = memory["mean"][:, 1], memory["mean"][:, 2]
        torch.testing.assert_close(actual, expected)

    def test_spread_stays_within_its_limits(self, make_model, monkeypatch):
        z = torch.zeros(2, 2)
        planner = MPPIPlanner(iterations=1, max_std=0.2, temperature=0.0, policy_samples=0)
        planner.score = lambda model, z, actions, *_: actions[0].abs().sum(-1)  # likes both ends
        torch.testing.assert_close(plan(planner, make_model("V"), z).std, torch.full((2, 2), 0.2))
        monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.zeros(shape))
        decision = plan(MPPIPlanner(min_std=0.07, policy_samples=0), make_model("V"), z)
        torch.testing.assert_close(decision.std, torch.full((2, 2), 0.07))

    @pytest.mark.parametrize(("action_dim", "iterations"), [(19, 6), (20, 8)])
    def test_more_iterations_from_twenty_actions_on(self, action_dim, iterations, make_model):
        model, calls = make_model("V"), []
        model.action_dim = action_dim
        planner = MPPIPlanner(policy_samples=0)
        planner.score = lambda model, z, actions, *_: calls.append(1) or actions.sum((0, -1))
        plan(planner, model, torch.zeros(1, action_dim))
        assert len(calls) == iterations

    def test_policy_samples_are_candidates(self, make_model):
        """A policy that knows the optimum gets through where random sequences cannot."""
        model = make_model("V")
        planner = MPPIPlanner(iterations=1, samples=30, policy_samples=10, elites=1)
        planner.score = lambda model, z, actions, *_: -(actions - 0.123).abs().sum((0, -1))
        model.policy = PointPolicy
        torch.testing.assert_close(plan(planner, model, torch.zeros(2, 2)).action, torch.full((2, 2), 0.123))


class PointPolicy:
    """Always 0.123."""

    def __init__(self, z):
        self.mean = torch.full_like(z, 0.123)

    def expand(self, *sizes):
        self.mean = self.mean.expand(*sizes, -1)
        return self

    def sample(self, generator=None):
        return self.mean


def test_what_is_logged(model, latents):
    info = plan(MPPIPlanner(), model, latents(model, 3)).info
    assert {"value", "value_best", "value_policy", "std"} <= set(info)
    assert (info["value_best"] >= info["value"] - 1e-5).all()


def test_dreaming_in_bfloat16_is_close_and_leaves_the_gaussian_exact():
    torch.manual_seed(0)
    model = TDMPCWorldModel((7,), 3, TDMPCSize(32, 32, 32, 2, 3)).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    with torch.no_grad():
        z = model.encode(torch.randn(2, 7))
    exact, rounded = plan(MPPIPlanner(), model, z), plan(MPPIPlanner(autocast="bfloat16"), model, z)
    assert not torch.equal(exact.value, rounded.value)
    scale = exact.value.abs().max().item()
    torch.testing.assert_close(rounded.value, exact.value, rtol=0.05, atol=0.05 * scale)
    for tensor in (rounded.mean, rounded.std, rounded.memory["mean"]):
        assert tensor.dtype == torch.float32
    assert not torch.equal(rounded.memory["mean"], rounded.memory["mean"].bfloat16().float())
    assert not torch.is_autocast_enabled("cpu")


def test_sequences_have_the_models_precision(make_model):
    planner = MPPIPlanner(samples=20, policy_samples=0, elites=5)
    decision = plan(planner, make_model("V").double(), torch.zeros(1, 2, dtype=torch.float64))
    assert decision.action.dtype == decision.memory["mean"].dtype == torch.float64


def test_unknown_precision():
    with pytest.raises(ValueError, match=r"autocast='float16'\) is not known; use \"bfloat16\" or None"):
        MPPIPlanner(autocast="float16")
