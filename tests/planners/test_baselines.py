"""Dream-MPC on Dreamer (Alg. 3) and the planners it is compared with, against float64 loops and known optima."""

import numpy as np
import pytest
import torch

from dream_agents import make_planner
from dream_agents.planners.objective import planning_objective, roll_out_policy, sum_of_rewards


def plan(planner, model, z, memory=None, episode_start=True, deterministic=True, seed=0):
    memory = planner.initial_memory(model, len(z)) if memory is None else memory
    start = torch.full((len(z),), episode_start)
    return planner.plan(model, z, memory, start, deterministic, torch.Generator().manual_seed(seed))


def path(model, z, actions, horizon):
    """Rewards r_0 .. r_{H-1}, values v_1 .. v_H and whether the task goes on at 1 .. H, of one candidate."""
    takes = model.takes_action_in_value
    rewards, values, goes_on, z = [], [], [], z[None]
    for h in range(horizon):
        rewards.append(model.reward(z, actions[h][None]).item())
        z = model.next(z, actions[h][None])
        action = actions[h + 1][None] if takes else None
        values.append(model.values(z, action).mean().item())
        goes_on.append(model.continuation(z).item() if model.episodic else 1.0)
    return rewards, values, goes_on


def lambda_return(rewards, values, goes_on, discount, lam):
    """Eq. 14 from the returns of 1 to H steps (Eq. 13)."""
    horizon, alive = len(rewards), np.cumprod([1.0, *goes_on])
    returns = [
        sum(discount**h * alive[h] * rewards[h] for h in range(n)) + discount**n * alive[n] * values[n - 1]
        for n in range(1, horizon + 1)
    ]
    shorter = sum(lam ** (n - 1) * returns[n - 1] for n in range(1, horizon))
    return (1 - lam) * shorter + lam ** (horizon - 1) * returns[-1]


def objective_of(model, z, actions, coefficient, **options):
    """Of H + 1 actions, of which the last one is for the value at the end."""
    return planning_objective(model, z, actions[:-1], lambda last: actions[-1], coefficient, **options)


class TestObjective:
    @pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
    @pytest.mark.parametrize("horizon", [1, 4])
    def test_lambda_return_is_eq_14(self, model, latents, lam, horizon):
        model = model.double()
        z = latents(model, 2)
        actions = torch.rand(horizon + 1, 2, 3, 2, dtype=torch.float64) * 2 - 1
        with torch.no_grad():
            objective = objective_of(model, z, actions, 0.0, return_lambda=lam).value
            for b, n in np.ndindex(2, 3):
                expected = lambda_return(*path(model, z[b], actions[:, b, n], horizon), model.discount, lam)
                assert objective[b, n].item() == pytest.approx(expected, rel=1e-6, abs=1e-7)

    def test_penalty_is_that_of_eq_6_whatever_the_return(self, model, latents):
        model = model.double()
        z, actions = latents(model, 2), torch.rand(4, 2, 3, 2, dtype=torch.float64) * 2 - 1
        with torch.no_grad():
            six = objective_of(model, z, actions, 0.3)
            fourteen = objective_of(model, z, actions, 0.3, return_lambda=0.9)
            without = objective_of(model, z, actions, 0.0, return_lambda=0.9)
        torch.testing.assert_close(fourteen.penalty, six.penalty)
        torch.testing.assert_close(fourteen.value, without.value - 0.3 * six.penalty)

    def test_without_a_terminal_value_it_is_the_sum_of_rewards(self, model, latents):
        """Eq. 12, which is not discounted; what comes after an end does not count."""
        model = model.double()
        z, actions = latents(model, 2), torch.rand(3, 2, 3, 2, dtype=torch.float64) * 2 - 1
        asked = []
        model.values = lambda *args: asked.append(args)
        with torch.no_grad():
            objective = sum_of_rewards(model, z, actions).value
            for b, n in np.ndindex(2, 3):
                latent, total, alive = z[b][None], 0.0, 1.0
                for h in range(3):
                    total += alive * model.reward(latent, actions[h, b, n][None]).item()
                    latent = model.next(latent, actions[h, b, n][None])
                    alive *= model.continuation(latent).item() if model.episodic else 1.0
                assert objective[b, n].item() == pytest.approx(total, rel=1e-6, abs=1e-7)
        assert not asked, "values were asked for"


class TestDreamOnDreamer:
    def test_candidates_are_one_roll_out_with_noise(self, model, latents, same_noise):
        planner = make_planner("dream", horizon=4, candidates=6, iterations=0, reuse=0, proposal_noise=0.2)
        z = latents(model, 3)
        with torch.no_grad():
            roll_out = roll_out_policy(model, z, 4, 1, None)  # [H, B, 1, A]
        expected = (roll_out + 0.2 * same_noise(4, 3, 6, 2)).clamp(-1, 1)
        actual = plan(planner, model, z).memory["plan"].transpose(0, 1)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        assert actual.std(2).min() > 0.01

    def test_noise_has_the_standard_deviation_that_is_asked_for(self, make_model):
        planner = make_planner("dream", candidates=4000, iterations=0, proposal_noise=0.1)
        actions = plan(planner, make_model("V"), torch.zeros(1, 2)).memory["plan"]
        inside = actions.mean(2).abs() < 0.6
        assert actions.std(2)[inside].tolist() == pytest.approx([0.1] * int(inside.sum()), rel=0.1)


def linear_quadratic_optimum(z, horizon, discount=0.9, last_weight=1.5):
    """Maximise - sum gamma^h (|z_h|^2 + 0.1 |a_h|^2) - gamma^H 1.5 |z_H|^2 of the point mass, z_h = z + sum a / 2."""
    gammas = discount ** np.arange(horizon + 1)
    moves = 0.5 * np.tril(np.ones((horizon + 1, horizon + 1)), -1)[:, :horizon]
    weights = np.diag(gammas * [*[1] * horizon, last_weight])
    hessian = moves.T @ weights @ moves + 0.1 * np.diag(gammas[:horizon])
    return np.linalg.solve(hessian, -moves.T @ weights @ np.ones((horizon + 1, 1)) @ z)


Z = np.array([[0.4, -0.3]])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cem", {"samples": 2000, "iterations": 20}),
        ("cem", {"samples": 2000, "iterations": 20, "policy_samples": 50}),
        ("grad", {"candidates": 5, "iterations": 400, "step_size": 0.2}),
    ],
)
@pytest.mark.parametrize("terminal_value", [True, False])
def test_finds_the_optimum_of_a_linear_quadratic_problem(name, options, terminal_value, make_model):
    planner = make_planner(name, horizon=3, terminal_value=terminal_value, **options)
    decision = plan(planner, make_model("V"), torch.tensor(Z, dtype=torch.float32))
    kind = {} if terminal_value else {"discount": 1.0, "last_weight": 0.0}
    optimum = linear_quadratic_optimum(Z, 3, **kind)
    assert np.abs(optimum).max() < 1
    np.testing.assert_allclose(decision.action[0], optimum[0], atol=0.02 if name == "cem" else 1e-3)


class TestCEM:
    def test_is_a_loop_of_sampling_and_refitting(self, model, latents):
        """Algorithm 2 of Hafner et al. 2019, one environment."""
        planner = make_planner("cem", horizon=3, samples=20, elites=5, iterations=3)
        z = latents(model, 1)
        decision = plan(planner, model, z, seed=7)
        generator = torch.Generator().manual_seed(7)
        mean, std = torch.zeros(3, 1, 1, 2), torch.ones(3, 1, 1, 2)
        for _ in range(3):
            noise = torch.randn((3, 1, 20, 2), generator=generator)
            sequences = (mean + std * noise).clamp(-1, 1)
            with torch.no_grad():
                scores = sum_of_rewards(model, z, sequences).value[0]
            best = sequences[:, :, scores.argsort(descending=True)[:5]]
            mean, std = best.mean(2, keepdim=True), best.std(2, keepdim=True)
        torch.testing.assert_close(decision.action, mean[0, :, 0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(decision.std, std[0, :, 0], rtol=1e-3, atol=1e-4)

    def test_roll_outs_of_the_policy_are_among_the_sequences(self, make_model):
        """Random sequences score badly here, and the policy knows better."""
        model = make_model("V")
        model.reward = lambda z, a, next_z=None: -(a - 0.97).square().sum(-1) * 100
        model.policy = lambda z: type(model).policy(model, torch.full_like(z, -100.0))
        alone, seeded = (
            plan(
                make_planner("cem", samples=20, elites=2, iterations=1, policy_samples=n),
                model,
                torch.zeros(8, 2),
            )
            for n in (0, 5)
        )
        assert (seeded.info["value_best"] > alone.info["value_best"]).all()
        assert (seeded.value > alone.value).all()
        assert (seeded.action > 0.97).all()
        assert set(alone.info) == {"value", "value_best", "std"}
        assert set(seeded.info) == {"value", "value_best", "std", "value_policy"}

    def test_sequences_that_are_not_numbers_are_not_chosen(self, make_model):
        model = make_model("V")
        reward = model.reward
        model.reward = lambda z, a, next_z=None: reward(z, a) * torch.where(a[..., 0] > 0.2, torch.nan, 1.0)
        decision = plan(make_planner("cem", samples=2000, elites=10, horizon=2), model, torch.zeros(8, 2))
        assert torch.isfinite(decision.action).all()
        assert (decision.action[:, 0] <= 0.2).all()


class TestGrad:
    def test_starts_from_clamped_gaussians(self, make_model):
        planner = make_planner("grad", horizon=3, candidates=2000, proposal_std=0.5)
        start = torch.ones(2, dtype=torch.bool)
        actions = planner.propose(make_model("Q"), torch.zeros(2, 2), {}, start, torch.Generator())
        assert actions.shape == (3, 2, 2000, 2), "without a value at the end there is no action for it"
        assert actions.abs().max() == 1
        share = (actions.abs() == 1).double().mean().item()
        assert share == pytest.approx(0.0455, abs=0.01), "beyond two standard deviations"

    def test_gradients_are_limited_action_by_action(self, make_model):
        model, z = make_model("V").double(), torch.full((1, 2), 3.0, dtype=torch.float64)
        actions = torch.zeros(4, 1, 3, 2, dtype=torch.float64)
        free, limited = (
            make_planner("grad", horizon=4, iterations=1, step_size=1e-3, max_gradient=limit).improve(
                model, z, actions
            )[0]
            / 1e-3
            for limit in (None, 1.0)
        )
        assert free.norm(dim=-1).max() > 5
        torch.testing.assert_close(limited, free / free.norm(dim=-1, keepdim=True).clamp_min(1))


def test_policy_grad_is_dream_with_one_candidate_and_a_horizon_of_one(model, latents):
    z = latents(model, 4)
    options = {"horizon": 1, "candidates": 1, "iterations": 10, "step_size": 0.05, "reuse": 0}
    options |= {"exploration_std": 0.3}
    expected = plan(make_planner("dream", **options, uncertainty_coef=0), model, z, deterministic=False)
    actual = plan(make_planner("policy+grad"), model, z, deterministic=False)
    assert torch.equal(actual.action, expected.action)
    assert torch.equal(actual.value, expected.value)
