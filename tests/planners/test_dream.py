"""Dream-MPC by the letter against plain float64 loops over candidates and steps (Alg. 1, Eq. 3, 5 and 6)."""

from collections import Counter
from copy import deepcopy
from statistics import mean, stdev

import numpy as np
import pytest
import torch

from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.objective import roll_out_policy


def by_the_letter(**options):
    return DreamPlanner(reading="paper", **options)


def plain_objective(model, z, actions, horizon, uncertainty_coef):
    """J of one candidate, actions [H (+ 1), A] from z [Z], and its summed uncertainty."""
    z, actions = z[None], actions[:, None]
    total, penalty, weight = 0.0, 0.0, 1.0  # weight: gamma^h while the task goes on
    for h in range(horizon):
        total += weight * model.reward(z, actions[h]).item()
        penalty += plain_uncertainty(model, z, actions[h])
        z = model.next(z, actions[h])
        weight *= model.discount
        if model.episodic:
            weight *= model.continuation(z).item()
    last = actions[horizon] if model.takes_action_in_value else None
    total += weight * mean(model.values(z, last)[:, 0].tolist())
    penalty += plain_uncertainty(model, z, last)
    return total - uncertainty_coef * penalty, penalty


def plain_uncertainty(model, z, action):
    values = model.values(z, action)[:, 0].tolist()
    return mean(values) * stdev(values)


def length(model, horizon=3):
    return horizon + (1 if model.takes_action_in_value else 0)


def random_actions(model, batch=2, candidates=3, horizon=3):
    shape = (length(model, horizon), batch, candidates, 2)
    return (torch.rand(shape) * 1.6 - 0.8).to(next(model.parameters()))


def plan(planner, model, z, memory=None, episode_start=True, deterministic=True):
    memory = planner.initial_memory(model, len(z)) if memory is None else memory
    start = torch.full((len(z),), episode_start)
    return planner.plan(model, z, memory, start, deterministic, torch.Generator().manual_seed(0))


@pytest.fixture
def model64(model):
    return model.double()


class TestObjective:
    @pytest.mark.parametrize("coefficient", [0.0, 0.01, 0.5])
    def test_is_eq_6(self, model64, latents, coefficient):
        z, actions = latents(model64, 2), random_actions(model64)
        planner = by_the_letter(uncertainty_coef=coefficient)
        alone = planner.objective(model64, z, actions, None)
        with_gradient, _ = planner.objective_and_gradient(model64, z, actions, None)
        with torch.no_grad():
            for b, n in np.ndindex(2, 3):
                value, penalty = plain_objective(model64, z[b], actions[:, b, n], 3, coefficient)
                for objective in (alone, with_gradient):
                    assert objective.value[b, n].item() == pytest.approx(value, rel=1e-6, abs=1e-7)
                    if coefficient > 0:
                        assert objective.penalty[b, n].item() == pytest.approx(penalty, rel=1e-6, abs=1e-7)

    @pytest.mark.parametrize("horizon", [1, 2, 5])
    def test_any_horizon(self, model64, latents, horizon):
        z, actions = latents(model64, 1), random_actions(model64, 1, 1, horizon)
        with torch.no_grad():
            expected = plain_objective(model64, z[0], actions[:, 0, 0], horizon, 0.01)[0]
            objective = by_the_letter(horizon=horizon).objective(model64, z, actions, None).value[0].item()
        assert objective == pytest.approx(expected, rel=1e-6, abs=1e-7)

    def test_one_value_has_no_uncertainty(self, make_model, latents):
        model = make_model("V")
        model.num_values = 1
        z, actions = latents(model, 2), random_actions(model)
        with_term, without = (
            by_the_letter(uncertainty_coef=c).objective(model, z, actions, None).value for c in (10.0, 0.0)
        )
        torch.testing.assert_close(with_term, without)


class TestGradientStep:
    def test_moves_by_alpha_times_the_gradient(self, model64, latents):
        """Against central differences of the plain objective."""
        planner = by_the_letter(step_size=1e-3, uncertainty_coef=0.02)
        z, actions = latents(model64, 1), random_actions(model64, 1, 2)
        improved, _, info = planner.improve(model64, z, actions)
        norms = []
        for n in range(2):
            gradient, eps = torch.zeros_like(actions[:, 0, n]), 1e-5
            for place in np.ndindex(*gradient.shape):
                shift = torch.zeros_like(gradient)
                shift[place] = eps
                up, down = (
                    plain_objective(model64, z[0], actions[:, 0, n] + sign * shift, 3, 0.02)[0]
                    for sign in (1, -1)
                )
                gradient[place] = (up - down) / (2 * eps)
            expected = actions[:, 0, n] + 1e-3 * gradient
            scale = 1e-3 * gradient.abs().max().item()
            assert scale > 0
            torch.testing.assert_close(improved[:, 0, n], expected, rtol=0, atol=1e-3 * scale + 1e-9)
            norms.append(gradient.norm().item())
        assert info["gradient_norm"].item() == pytest.approx(mean(norms), rel=1e-3)

    def test_every_action_of_the_sequence_moves(self, model64, latents):
        actions = random_actions(model64)
        z = 0.1 * latents(model64, 2) if model64.latent_dim == 2 else latents(model64, 2)
        improved = by_the_letter(step_size=1e-2).improve(model64, z, actions)[0]
        assert improved.shape == actions.shape
        assert (improved - actions).abs().flatten(1).amax(1).min() > 0

    def test_raises_the_objective(self, model64, latents):
        planner = by_the_letter(step_size=1e-3)
        z, actions = latents(model64, 6), random_actions(model64, 6)
        improved, before, info = planner.improve(model64, z, actions)
        after = planner.objective(model64, z, improved, None).value
        assert (after - before).min() > -1e-6
        assert (after - before).max() > 0
        if not model64.episodic:  # where ends are foreseen the objective jumps
            torch.testing.assert_close(info["value_after"], after.mean(1), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(info["value_before"], before.mean(1))

    def test_actions_are_clamped(self, model, latents):
        planner = by_the_letter(step_size=1e6)
        improved = planner.improve(model, latents(model, 4), random_actions(model, 4))[0]
        assert improved.abs().max() == 1
        assert torch.isfinite(improved).all()

    def test_iterations_follow_each_other(self, model64, latents):
        z, actions = latents(model64, 2), random_actions(model64)
        once = by_the_letter(iterations=1)
        first, _, _ = once.improve(model64, z, actions)
        second, objective, _ = once.improve(model64, z, first)
        improved, last, _ = by_the_letter(iterations=2).improve(model64, z, actions)
        torch.testing.assert_close(improved, second)
        torch.testing.assert_close(last, objective)

    def test_finds_the_optimum_of_a_linear_quadratic_problem(self, make_model):
        """Maximise - sum gamma^h (|z_h|^2 + 0.1 |a_h|^2) - gamma^3 1.5 |z_3|^2, with z_h = z + sum a / 2."""
        model, z = make_model("V"), torch.tensor([[0.4, -0.3]])
        gammas = 0.9 ** np.arange(4)
        moves = 0.5 * np.tril(np.ones((4, 4)), -1)[:, :3]  # z_h = z + moves[h] @ a
        weights = np.diag(gammas * [1, 1, 1, 1.5])
        hessian = moves.T @ weights @ moves + 0.1 * np.diag(gammas[:3])
        optimum = np.linalg.solve(hessian, -moves.T @ weights @ np.ones((4, 1)) @ z.numpy())
        assert np.abs(optimum).max() < 1
        planner = by_the_letter(iterations=300, step_size=0.2, reuse=0.0, uncertainty_coef=0.0)
        decision = plan(planner, model, z)
        candidates = decision.memory["plan"][0].transpose(0, 1)  # [N, H, A]
        np.testing.assert_allclose(candidates, np.broadcast_to(optimum, (5, 3, 2)), atol=1e-3)
        np.testing.assert_allclose(decision.action[0], optimum[0], atol=1e-3)

    def test_uncertainty_keeps_away_from_values_that_members_disagree_on(self, make_model):
        """Negative values make mean * std a bonus for agreeing members: Eq. 5 scales by the mean."""
        model = make_model("V")
        z, actions = torch.tensor([[0.5, 0.5]]), random_actions(model, 1)
        bold, careful = (by_the_letter(uncertainty_coef=c).improve(model, z, actions)[0] for c in (0.0, 1.0))
        assert not torch.allclose(bold, careful)


class TestReuse:
    """Eq. 3, seen with iterations=0, where the plan is the initial one."""

    @pytest.mark.parametrize("rho", [0.0, 0.1, 1.0])
    def test_mixes_the_shifted_previous_plan_with_the_policy(self, model, latents, same_noise, rho):
        planner = by_the_letter(reuse=rho, iterations=0, candidates=4)
        z, steps = latents(model, 3), length(model)
        previous = torch.rand(3, steps, 4, 2) * 2 - 1
        with torch.no_grad():
            proposal = roll_out_policy(model, z, steps, 4, None)
        actual = plan(planner, model, z, {"plan": previous}, episode_start=False).memory["plan"]
        for h in range(steps):
            before = previous[:, min(h + 1, steps - 1)]  # the last action is repeated
            torch.testing.assert_close(
                actual[:, h], rho * before + (1 - rho) * proposal[h], atol=1e-5, rtol=1e-4
            )

    def test_nothing_is_reused_at_an_episodes_start(self, model, latents, same_noise):
        planner = by_the_letter(reuse=0.5, iterations=0, candidates=4)
        z, steps = latents(model, 3), length(model)
        with torch.no_grad():
            proposal = roll_out_policy(model, z, steps, 4, None)
        previous = torch.rand(3, steps, 4, 2)
        actual = plan(planner, model, z, {"plan": previous}, episode_start=True).memory["plan"]
        torch.testing.assert_close(actual, proposal.transpose(0, 1), atol=1e-5, rtol=1e-4)

    def test_the_optimised_plan_is_what_is_remembered(self, model, latents, same_noise):
        planner, z = by_the_letter(), latents(model, 2)
        with torch.no_grad():
            proposal = roll_out_policy(model, z, length(model), 5, None)
        improved = planner.improve(model, z, proposal)[0]
        remembered = plan(planner, model, z).memory["plan"]
        torch.testing.assert_close(remembered, improved.transpose(0, 1))
        assert not torch.allclose(improved, proposal)


class TestChoice:
    def test_first_action_of_the_best_candidate_is_taken(self, model, latents, same_noise):
        """The objective is the one whose gradient was taken, before the step."""
        planner, z = by_the_letter(candidates=6), latents(model, 4)
        with torch.no_grad():
            proposal = roll_out_policy(model, z, length(model), 6, None)
        improved, _, _ = planner.improve(model, z, proposal)
        model64 = deepcopy(model).double()
        decision = plan(planner, model, z)
        for b in range(4):
            scores = [
                plain_objective(model64, z[b].double(), proposal[:, b, n].double(), 3, 0.01)[0]
                for n in range(6)
            ]
            best = int(np.argmax(scores))
            torch.testing.assert_close(decision.action[b], improved[0, b, best], rtol=1e-3, atol=1e-4)
            assert decision.value[b].item() == pytest.approx(scores[best], rel=1e-3, abs=1e-4)

    def test_without_iterations_the_best_roll_out_is_taken_as_it_is(self, model, latents, same_noise):
        planner, z = by_the_letter(iterations=0), latents(model, 4)
        with torch.no_grad():
            proposal = roll_out_policy(model, z, length(model), 5, None)
            objective = planner.objective(model, z, proposal, None).value
        decision = plan(planner, model, z)
        torch.testing.assert_close(decision.action, proposal[0, range(4), objective.argmax(1)])
        torch.testing.assert_close(decision.value, objective.amax(1))

    def test_candidates_that_are_not_numbers_are_not_chosen(self, make_model):
        model = make_model("V")
        reward = model.reward
        model.reward = lambda z, a, next_z=None: reward(z, a) * torch.where(a[..., 0] > 0.5, torch.nan, 1.0)
        decision = plan(by_the_letter(candidates=300, step_size=0.0), model, torch.zeros(8, 2))
        assert torch.isfinite(decision.action).all()
        assert torch.isfinite(decision.memory["plan"]).all()
        assert (decision.action[:, 0] <= 0.5).all()
        assert torch.isfinite(decision.value).all()


class TestCost:
    @pytest.mark.parametrize("name", ["V", "Q"])
    def test_takes_n_times_i_times_h_model_evaluations(self, make_model, latents, name):
        model = make_model(name)
        planner, z = by_the_letter(iterations=2), latents(model, 1)
        rows, calls = Counter(), Counter()

        def count(name, function):
            def counted(z, action, *args):
                calls[name] += 1
                rows[name] += z[..., 0].numel() if action is None else action[..., 0].numel()
                return function(z, action, *args)

            return counted

        for method in ("next", "reward", "values"):
            setattr(model, method, count(method, getattr(model, method)))
        planner.improve(model, z, random_actions(model, 1, 5))
        assert rows == {"next": 30, "reward": 30, "values": 40}  # 5 candidates, 2 iterations, 3 steps
        assert calls == {"next": 6, "reward": 2, "values": 4}, "only the dynamics runs step by step"

    def test_plan_has_a_last_action_only_for_values_that_take_one(self, make_model):
        planner = by_the_letter(horizon=3, candidates=5)
        assert planner.initial_memory(make_model("V"), 2)["plan"].shape == (2, 3, 5, 2)
        assert planner.initial_memory(make_model("Q"), 2)["plan"].shape == (2, 4, 5, 2)


def test_what_is_logged(model, latents):
    info = plan(by_the_letter(), model, latents(model, 3)).info
    expected = {
        "value",
        "value_before",
        "value_after",
        "gradient_norm",
        "step",
        "uncertainty",
        "candidate_spread",
    }
    assert expected <= set(info)
    assert all(info[name].shape == (3,) for name in expected)
