"""Alg. 1 in one pass: its written-out gradient against autograd in float64, its plans against the planner's own."""

from copy import deepcopy

import pytest
import torch

from dream_agents.annex import accelerated
from dream_agents.fast.accelerate import fast_model, fast_planner, uses_autograd
from dream_agents.fast.dream import FastDream
from dream_agents.fast.gradient import End, act_at, dream, objective_and_gradient
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.planners import make_planner
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.objective import planning_objective

OBS, ACTIONS = 7, 3


def sized(members):
    return TDMPCSize(8, 16, 16, 2, members)


def problem(model, batch, candidates, horizon):
    """Latents, actions, noise of the action at the end, and the members that count there."""
    like = next(model.parameters())
    with torch.no_grad():
        z = model.encode(torch.randn(batch, OBS).to(like))
    actions = (torch.rand(horizon, batch, candidates, ACTIONS) * 2 - 1).to(like)
    members = torch.tensor([2, 0], device=like.device) if model.num_values > 2 else None
    return z, actions, torch.randn(batch, 1, ACTIONS).to(like), members


@torch.no_grad()
def written_out(model, z, actions, noise, members, coefficient):
    fast = fast_model(model)
    steps = dream(fast, z, actions)
    end = act_at(fast, steps[-1].latent, noise)
    return objective_and_gradient(fast, steps, actions, end, members, coefficient)[:2]


def autograd(model, z, actions, noise, members, coefficient):
    """Objective, penalty and gradient in float64, by autograd."""
    model, actions = deepcopy(model).double().cpu(), actions.double().requires_grad_()
    objective = planning_objective(
        model,
        z.double(),
        actions,
        lambda last: model.policy(last).at(noise.double()),
        coefficient,
        uncertainty_after=True,
        members=members,
    )
    return objective, torch.autograd.grad(objective.value.sum(), actions)[0]


class TestGradient:
    @pytest.mark.parametrize("coefficient", [0.0, 0.01, 1.0])
    @pytest.mark.parametrize("episodic", [False, True])
    @pytest.mark.parametrize("members", [1, 2, 5])
    def test_every_kind_of_model(self, kind, make_model, members, episodic, coefficient):
        model = make_model(kind, sized(members), episodic).double()
        for batch, candidates, horizon in [(1, 1, 1), (2, 5, 3)]:
            given = *problem(model, batch, candidates, horizon), coefficient
            objective, gradient = written_out(model, *given)
            expected, expected_gradient = autograd(model, *given)
            torch.testing.assert_close(objective.value, expected.value)
            torch.testing.assert_close(objective.penalty, expected.penalty)
            torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-9)
            assert gradient.abs().max() > 0

    @pytest.mark.parametrize("episodic", [False, True])
    def test_of_an_action_of_its_own_at_the_end(self, make_model, episodic):
        model = make_model("tdmpc", episodic=episodic).double()
        z, actions, _, members = problem(model, 2, 5, 3)
        last = torch.rand_like(actions[0]).requires_grad_()
        actions.requires_grad_()
        expected = planning_objective(model, z, actions, lambda _: last, members=members).value
        gradients = torch.autograd.grad(expected.sum(), (actions, last))
        with torch.no_grad():
            fast = fast_model(model)
            steps = dream(fast, z, actions)
            objective, *actual = objective_and_gradient(fast, steps, actions, End(last), members)
        torch.testing.assert_close(objective.value, expected.detach())
        for ours, theirs in zip(actual, gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("candidates", [5, 60], ids=["few", "many"])
    def test_real_sizes_in_single_precision(self, kind, make_model, candidates):
        """Few and many rows take different kernels."""
        model = make_model(kind, "1M", episodic=True)
        given = *problem(model, 4, candidates, 3), 0.01
        objective, gradient = written_out(model, *given)
        expected, expected_gradient = autograd(model, *given)
        scale = expected.value.abs().max().item()
        torch.testing.assert_close(objective.value.double(), expected.value, rtol=1e-3, atol=1e-4 * scale)
        largest = expected_gradient.abs().max().item()
        torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-2, atol=1e-3 * largest)

    def test_equal_members_have_a_finite_one(self):
        model = TDMPCWorldModel((OBS,), ACTIONS, sized(3)).eval()  # new: all values are 0
        objective, gradient = written_out(model, *problem(model, 2, 3, 3), 1.0)
        assert torch.isfinite(gradient).all()
        torch.testing.assert_close(objective.penalty, torch.zeros(2, 3), atol=1e-6, rtol=0)

    @pytest.mark.gpu
    @pytest.mark.parametrize("candidates", [5, 60])
    def test_cuda_agrees(self, kind, make_model, candidates):
        model = make_model(kind, "1M", episodic=True)
        z, actions, noise, members = problem(model, 4, candidates, 3)
        expected, expected_gradient = autograd(model, z, actions, noise, members, 0.01)
        there = [None if t is None else t.cuda() for t in (z, actions, noise, members)]
        objective, gradient = written_out(model.cuda(), *there, 0.01)
        torch.testing.assert_close(objective.value.cpu().double(), expected.value, rtol=1e-3, atol=1e-3)
        largest = expected_gradient.abs().max().item()
        torch.testing.assert_close(gradient.cpu().double(), expected_gradient, rtol=1e-2, atol=1e-3 * largest)


def plans(model, planner, batch=3, deterministic=True, pack=False):
    """What the planner itself and its twin decide, from a previous plan, one environment at its start."""
    with torch.no_grad():
        z, _ = model.observe(torch.randn(batch, OBS).to(next(model.parameters())))
    memory = {k: torch.rand_like(v) * 2 - 1 for k, v in planner.initial_memory(model, batch).items()}
    start = torch.arange(batch) % 2 == 1
    twin = fast_planner(fast_model(model, pack), planner)
    assert isinstance(twin, FastDream)
    return [
        p.plan(m, z, memory, start, deterministic, torch.Generator().manual_seed(1))
        for p, m in ((planner, model), (twin, fast_model(model, pack)))
    ]


def assert_same(plain, fast, **tolerance):
    for name in ("action", "mean", "std", "value"):
        torch.testing.assert_close(getattr(fast, name), getattr(plain, name), msg=name, **tolerance)
    torch.testing.assert_close(fast.memory["plan"], plain.memory["plan"], **tolerance)
    assert set(fast.info) == set(plain.info)
    for name, value in plain.info.items():
        torch.testing.assert_close(fast.info[name], value, msg=name, **tolerance)


class TestPlans:
    @pytest.mark.parametrize("iterations", [0, 1, 2, 3])
    @pytest.mark.parametrize("reuse", [0.0, 0.4])
    @pytest.mark.parametrize("members", [1, 2, 5])
    @pytest.mark.parametrize("episodic", [False, True], ids=["endless", "episodic"])
    def test_are_the_planners_own(self, kind, make_model, episodic, members, reuse, iterations):
        model = make_model(kind, sized(members), episodic).double()
        planner = DreamPlanner(iterations=iterations, reuse=reuse, uncertainty_coef=0.1)
        assert_same(*plans(model, planner), rtol=1e-6, atol=1e-8)

    @pytest.mark.parametrize("iterations", [1, 10])
    @pytest.mark.parametrize("episodic", [False, True], ids=["endless", "episodic"])
    def test_of_policy_grad_are_the_planners_own(self, kind, make_model, episodic, iterations):
        model = make_model(kind, episodic=episodic).double()
        assert_same(*plans(model, make_planner("policy+grad", iterations=iterations)), rtol=1e-6, atol=1e-8)

    @pytest.mark.parametrize("pack", [False, True])
    @pytest.mark.parametrize("batch", [1, 16])
    def test_at_real_sizes_in_single_precision(self, kind, make_model, pack, batch):
        model = make_model(kind, "1M", episodic=True)
        plain, fast = plans(model, DreamPlanner(iterations=2), batch, pack=pack)
        for name in ("action", "mean", "value"):
            torch.testing.assert_close(getattr(fast, name), getattr(plain, name), rtol=1e-3, atol=2e-3)

    @pytest.mark.parametrize(
        "options", [{}, {"horizon": 1}, {"candidates": 1}, {"uncertainty_coef": 0.0}], ids=str
    )
    def test_with_other_options(self, kind, make_model, options):
        model = make_model(kind).double()
        assert_same(*plans(model, DreamPlanner(**options)), rtol=1e-6, atol=1e-8)

    def test_draw_the_same_random_numbers(self, kind, make_model):
        """Noise on the executed action comes last."""
        model = make_model(kind).double()
        planner = DreamPlanner(exploration_std=0.3, iterations=2)
        assert_same(*plans(model, planner, deterministic=False), rtol=1e-6, atol=1e-8)

    def test_large_gradients_are_limited(self, kind, make_model):
        model, planner = make_model(kind).double(), DreamPlanner(iterations=2)
        planner.max_gradient_norm = 1e-3
        plain, fast = plans(model, planner)
        assert_same(plain, fast, rtol=1e-6, atol=1e-8)
        assert 0 < plain.info["step"].max() < 1e-3

    def test_predictions_that_are_not_numbers_count_as_zero(self, kind, make_model):
        model = make_model(kind).double()
        with torch.no_grad():
            model.reward_head[-1].bias.fill_(torch.nan)
        plain, fast = plans(model, DreamPlanner(iterations=2, uncertainty_coef=0.0))
        for plan in (plain, fast):
            assert torch.equal(plan.value, torch.zeros_like(plan.value))
            assert torch.isfinite(plan.action).all()
        torch.testing.assert_close(fast.action, plain.action)

    def test_record_nothing_and_leave_inputs_alone(self, kind, make_model):
        model = make_model(kind)
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        fast, twin = accelerated(model, DreamPlanner(iterations=3))
        with torch.no_grad():
            z, _ = model.observe(torch.randn(2, OBS))
        memory = {"plan": torch.rand(2, 3, 5, ACTIONS)}
        before = z.clone(), memory["plan"].clone()
        plan = twin.plan(fast, z, memory, torch.tensor([False, True]))
        assert torch.equal(z, before[0])
        assert torch.equal(memory["plan"], before[1])
        assert not any(
            t.requires_grad for t in (plan.action, plan.value, plan.memory["plan"], *plan.info.values())
        )
        assert all(parameter.grad is None for parameter in model.parameters())
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


class TestWhichPlanners:
    @pytest.mark.parametrize(
        ("name", "options", "taken"),
        [
            ("dream", {}, True),
            ("policy+grad", {}, True),
            ("dream", {"reading": "paper"}, False),
            ("dream", {"return_lambda": 0.95}, False),
            ("dream", {"terminal_value": False}, False),
            ("dream", {"proposal_noise": 0.2}, False),
            ("grad", {}, False),
        ],
        ids=str,
    )
    def test_only_those_whose_gradient_is_written_out(self, name, options, taken, make_model):
        planner = make_planner(name, **options)
        twin = fast_planner(fast_model(make_model("tdmpc")), planner)
        assert isinstance(twin, FastDream) == taken
        assert uses_autograd(twin) != taken
        assert taken or twin is planner

    def test_none_on_other_models(self, make_model):
        planner = DreamPlanner()
        assert fast_planner(make_model("tdmpc"), planner) is planner

    def test_planners_of_others_are_left_alone(self, make_model):
        """A class that is derived from one of these may do anything."""

        class Mine(DreamPlanner):
            pass

        mine = Mine()
        assert fast_planner(fast_model(make_model("tdmpc")), mine) is mine
