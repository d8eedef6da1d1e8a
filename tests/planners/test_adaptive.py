"""Adaptive Dream-MPC against plain float64 loops over candidates and steps."""

import numpy as np
import pytest
import torch

from dream_agents import make_planner
from dream_agents.planners.adaptive import AdaptivePlanner, Candidates, worst_if_not_a_number


def plain_return(model, z, actions, horizon):
    """Predicted return of one plan, actions [L, A] from z [Z]."""
    z, total, weight = z[None], 0.0, 1.0
    for h in range(horizon):
        total += weight * model.reward(z, actions[h][None]).item()
        z = model.next(z, actions[h][None])
        weight *= model.discount * (model.continuation(z).item() if model.episodic else 1.0)
    last = actions[horizon][None] if model.takes_action_in_value else None
    return total + weight * model.values(z, last).mean().item()


def plain_gradient(model, z, actions, horizon, eps=1e-5):
    """Central differences of :func:`plain_return`."""
    gradient = torch.zeros_like(actions)
    for place in np.ndindex(*actions.shape):
        shift = torch.zeros_like(actions)
        shift[place] = eps
        up, down = (plain_return(model, z, actions + sign * shift, horizon) for sign in (1, -1))
        gradient[place] = (up - down) / (2 * eps)
    return gradient


def plan(planner, model, z, memory=None, starts=True, deterministic=True):
    memory = planner.initial_memory(model, len(z)) if memory is None else memory
    start = torch.full((len(z),), starts)
    return planner.plan(model, z, memory, start, deterministic, torch.Generator().manual_seed(0))


def previous(planner, model, batch):
    shape = planner.initial_memory(model, batch)["plan"].shape
    return {"plan": torch.rand(shape, dtype=torch.float64) * 1.6 - 0.8}


@pytest.fixture
def model64(model):
    return model.double()


class TestCandidates:
    def test_mean_first_then_samples_then_wider_ones_and_the_previous_plan_last(
        self, model64, latents, same_noise
    ):
        planner = AdaptivePlanner(samples=2, wide=1, wide_scale=3.0)
        z, memory = latents(model64, 1), previous(AdaptivePlanner(), model64, 1)
        with torch.no_grad():
            actions = planner.propose(model64, z, memory, torch.zeros(1, dtype=torch.bool), None)
            length = planner.plan_length(model64)
            noise = same_noise(length, 1, 3, 2, dtype=torch.float64)
            for n, scale in enumerate((0.0, 1.0, 1.0, 3.0)):
                latent = z
                for h in range(length):
                    drawn = scale * noise[h, :, n - 1] if n else torch.zeros(1, 2, dtype=torch.float64)
                    expected = model64.policy(latent).at(drawn)
                    torch.testing.assert_close(actions[h, :, n], expected)
                    latent = model64.next(latent, expected)
            torch.testing.assert_close(actions[: length - 1, 0, 4], memory["plan"][0, 1:])
            latent = z
            for h in range(length - 1):
                latent = model64.next(latent, memory["plan"][:, h + 1])
            torch.testing.assert_close(actions[-1, :, 4], model64.policy(latent).mean)

    def test_at_an_episodes_start_the_mean_stands_in_for_the_previous_plan(self, model64, latents):
        planner = AdaptivePlanner(samples=1)
        z, memory = latents(model64, 2), previous(planner, model64, 2)
        with torch.no_grad():
            actions = planner.propose(model64, z, memory, torch.tensor([True, False]), None)
        torch.testing.assert_close(actions[:, 0, -1], actions[:, 0, 0])
        assert not torch.allclose(actions[:, 1, -1], actions[:, 1, 0])

    def test_the_best_are_improved(self):
        values = torch.tensor([[1.0, 5.0, 3.0, 4.0]])
        actions = torch.arange(4.0).view(1, 1, 4, 1)
        chosen = AdaptivePlanner(improved=2).select(Candidates(actions, values))
        assert chosen.value.tolist() == [[5.0, 4.0]]
        assert chosen.actions.flatten().tolist() == [1.0, 3.0]


class TestImprovement:
    def test_each_candidate_takes_the_best_of_the_steps_along_its_gradient(self, model64, latents):
        planner = AdaptivePlanner(steps=(0.05, 0.3))
        z = latents(model64, 2)
        actions = torch.rand(planner.plan_length(model64), 2, 3, 2, dtype=torch.float64) * 1.6 - 0.8
        with torch.no_grad():
            before = Candidates(actions, planner.value(model64, z, actions))
        direction = planner.direction(model64, z, actions)
        with torch.no_grad():
            after = planner.search(model64, z, before, direction)
            for b, n in np.ndindex(2, 3):
                one = actions[:, b, n]
                assert before.value[b, n].item() == pytest.approx(
                    plain_return(model64, z[b], one, 3), rel=1e-6
                )
                gradient = plain_gradient(model64, z[b], one, 3)
                gradient = gradient / gradient.abs().max()
                tried = [one, *((one + step * gradient).clamp(-1, 1) for step in planner.steps)]
                returns = [plain_return(model64, z[b], actions, 3) for actions in tried]
                best = int(np.argmax(returns))
                assert after.value[b, n].item() == pytest.approx(returns[best], rel=1e-5, abs=1e-6)
                torch.testing.assert_close(after.actions[:, b, n], tried[best], rtol=0, atol=1e-4)

    @pytest.mark.parametrize("scale", [1e-4, 1e4])
    def test_the_returns_scale_changes_nothing(self, make_model, scale):
        """Dream-MPC's step would be a thousand times as large, or nothing."""
        one, other = make_model("V"), make_model("V")
        other.reward = lambda *args: scale * type(one).reward(other, *args)
        other.values = lambda *args: scale * type(one).values(other, *args)
        z = torch.tensor([[0.4, -0.3], [1.0, 0.7]], dtype=torch.float64)
        for options in ({}, {"samples": 4, "temperature": 0.5}):
            plans = [plan(AdaptivePlanner(**options), model.double(), z) for model in (one, other)]
            torch.testing.assert_close(plans[0].action, plans[1].action)
            torch.testing.assert_close(plans[0].std, plans[1].std)

    def test_more_iterations_never_predict_less(self, model64, latents):
        z = latents(model64, 4)
        values = [plan(AdaptivePlanner(iterations=count), model64, z).value for count in (1, 2, 5)]
        assert (values[1] >= values[0]).all() and (values[2] >= values[1]).all()
        assert (values[2] > values[0]).any()

    def test_it_stops_where_nothing_is_gained(self, make_model):
        model = make_model("V")
        model.reward = lambda z, a, next_z=None: torch.zeros_like(a[..., 0])
        model.values = lambda z, a, members=None: torch.zeros_like(z[None, ..., 0])
        planner = AdaptivePlanner(iterations=50)
        planner.direction = lambda model, z, actions: torch.zeros_like(actions)
        assert plan(planner, model, torch.zeros(2, 2)).info["iterations"].tolist() == [1, 1]

    def test_a_budget_buys_iterations(self, make_model, monkeypatch):
        """The clock here moves by a millisecond whenever it is read: two readings an iteration at most."""
        now = iter(np.arange(0, 1, 1e-3))
        monkeypatch.setattr("dream_agents.planners.adaptive.time.perf_counter", lambda: next(now))
        model, z = make_model("V").double(), torch.tensor([[3.0, -2.0]], dtype=torch.float64)
        steps = {"steps": (1e-3,)}  # so that there is something to gain for long
        counts = [
            plan(AdaptivePlanner(budget_ms=budget, **steps), model, z).info["iterations"].item()
            for budget in (0.5, 6.0, 12.0)
        ]
        assert counts[0] == 1
        assert 3 <= counts[1] < counts[2] <= 12


class TestChoice:
    def test_the_best_candidate_acts_and_is_remembered(self, model64, latents):
        planner = AdaptivePlanner(samples=3)
        decision = plan(planner, model64, latents(model64, 3))
        torch.testing.assert_close(decision.action, decision.memory["plan"][:, 0])

    def test_or_the_weighted_mean(self, make_model, latents):
        planner, model = AdaptivePlanner(samples=5, temperature=0.5), make_model("Q").double()
        values = torch.tensor([[0.0, 1.0, 3.0]], dtype=torch.float64)
        actions = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64).view(1, 1, 3, 1)
        candidates = Candidates(actions, values)
        decision = planner.choose(candidates, candidates, 1, True, None)
        weights = np.exp((values[0].numpy() - 3) / (0.5 * values[0].numpy().std()))
        weights /= weights.sum()
        mean = weights @ [-0.5, 0, 0.5]
        assert decision.action.item() == pytest.approx(mean)
        spread = np.sqrt(weights @ (np.array([-0.5, 0, 0.5]) - mean) ** 2)
        assert decision.std.item() == pytest.approx(max(0.1, spread))
        assert plan(planner, model, latents(model, 2)).action.abs().max() <= 1

    @pytest.mark.parametrize(("std", "expected"), [(0.05, 0.05), (None, 0.1)])
    def test_noise_is_what_is_asked_for_or_the_spread(self, std, expected):
        """All candidates alike, so that the spread is its smallest, 0.1."""
        candidates = Candidates(torch.zeros(1, 4000, 3, 2), torch.zeros(4000, 3))
        generator = torch.Generator().manual_seed(0)
        decision = AdaptivePlanner(exploration_std=std).choose(candidates, candidates, 1, False, generator)
        assert decision.action.std(0).tolist() == pytest.approx([expected] * 2, rel=0.1)

    @pytest.mark.parametrize("temperature", [0.0, 0.3])
    def test_predictions_that_are_not_numbers_are_not_chosen(self, make_model, temperature):
        model = make_model("V")
        reward = model.reward
        model.reward = lambda z, a, next_z=None: reward(z, a) * torch.where(a[..., 0] > 0.5, torch.nan, 1.0)
        planner = AdaptivePlanner(samples=300, steps=(1e-3,), temperature=temperature)
        decision = plan(planner, model, torch.zeros(8, 2))
        assert torch.isfinite(decision.action).all() and torch.isfinite(decision.value).all()
        assert (decision.action[:, 0] <= 0.5).all()

    def test_and_leave_the_weights_of_the_others_as_they_are(self):
        planner = AdaptivePlanner(temperature=0.3)
        values = torch.tensor([[0.0, 1.0, 3.0, torch.nan, -torch.inf]])
        expected = torch.cat((planner.weights(values[:, :3]), torch.zeros(1, 2)), 1)
        torch.testing.assert_close(planner.weights(worst_if_not_a_number(values)), expected)
        nothing = worst_if_not_a_number(torch.full((1, 4), torch.nan))
        torch.testing.assert_close(planner.weights(nothing), torch.full((1, 4), 0.25))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": ()}, "one step or several"),
        ({"steps": (0.1, -0.1)}, "one step or several"),
        ({"improved": 0}, "improved must be above 0"),
        ({"iterations": 0}, "iterations must be above 0"),
        ({"budget_ms": 0}, "budget_ms must be above 0"),
        ({"samples": -1}, "samples must be at least 0"),
        ({"temperature": -1}, "temperature must be at least 0"),
        ({"return_lambda": 2}, r"return_lambda must lie in \[0, 1\]"),
    ],
    ids=str,
)
def test_senseless_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_planner("adaptive", **options)
