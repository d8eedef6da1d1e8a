"""Dream-MPC as its authors' code runs it: their recorded decisions, and plain float64 loops."""

import tarfile
from collections import Counter
from statistics import mean, stdev

import numpy as np
import pytest
import torch

from dream_agents.annex import accelerated, enabled
from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.planners import make_planner
from dream_agents.planners.dream import DreamPlanner
from dream_agents.zoo.tdmpc2_import import load_tdmpc2_state_dict

CASES = ["default", "pair", "iterations3", "clipped", "no_penalty"]
OPTIONS = {
    "reuse": "rho",
    "step_size": "lr",
    "uncertainty_coef": "coef",
    "iterations": "iterations",
    "max_gradient_norm": "clip",
}


# ------------------------------------------------------------ recorded decisions


@pytest.fixture(scope="module", params=["tdmpc2", "bmpc"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def golden(kind, checkout):
    with np.load(checkout / "tests" / "data" / f"dream-{kind}-tiny.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def golden_model(kind, checkout, tmp_path_factory):
    with tarfile.open(checkout / "tests" / "data" / f"{kind}-tiny.tar.xz") as archive:
        content = archive.extractfile(f"{kind}-tiny.pt")
        path = tmp_path_factory.mktemp("golden") / f"{kind}-tiny.pt"
        path.write_bytes(content.read())
    checkpoint = load_tdmpc2_state_dict(path)
    model_class = TDMPCWorldModel if kind == "tdmpc2" else BMPCWorldModel
    model = model_class(
        (checkpoint.obs_dim,), checkpoint.action_dim, checkpoint.size, episodic=checkpoint.episodic
    )
    model.load_state_dict(checkpoint.state_dict)
    return model.eval()


def make_case(golden, case):
    """The planner of a case."""
    planner = DreamPlanner()
    for name, key in OPTIONS.items():
        setattr(planner, name, golden[f"{case}/{key}"].item())
    planner.end_values = 2 if golden[f"{case}/pair"] else 99
    return planner


def recorded(planner):
    """What a planner is asked to do in a decision from now on, also by its fast twin: gradient steps and the choice."""
    seen = {"steps": [], "choices": []}
    ascend, choose = planner.ascend, planner.choose
    planner.ascend = lambda *args: seen["steps"].append([arg.clone() for arg in args]) or ascend(*args)
    planner.choose = lambda *args: seen["choices"].append(args[1].clone()) or choose(*args)
    return seen


def replay_draws(golden, place, pair, num_values, monkeypatch):
    """Let ``torch.randn`` give what was drawn in the recorded decision."""
    draws = [torch.as_tensor(noise)[None] for noise in golden[f"{place}/noise"]]
    for noise in golden[f"{place}/end_noise"]:
        draws.append(torch.as_tensor(noise)[None])
        if pair and num_values > 2:  # members 0 and 1 have the largest numbers
            draws.append(torch.arange(num_values, 0, -1.0))
    remaining = iter(draws)

    def draw(shape, **options):
        drawn = next(remaining)
        assert drawn.shape == torch.Size([shape] if isinstance(shape, int) else shape)
        return drawn

    monkeypatch.setattr(torch, "randn", draw)
    return remaining


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_every_recorded_decision(golden, golden_model, case, fast, monkeypatch):
    if fast and not enabled():
        pytest.skip("dream_agents.fast is switched off or not there")
    planner = make_case(golden, case)
    model, runs = accelerated(golden_model, planner) if fast else (golden_model, planner)
    assert (runs is not planner) == fast
    seen = recorded(planner)
    memory = planner.initial_memory(golden_model, 1)
    for t in range(3):
        place = f"{case}/{t}"
        with torch.no_grad():
            z, _ = golden_model.observe(torch.as_tensor(golden[f"{place}/obs"]))
        with monkeypatch.context() as patch:
            remaining = replay_draws(golden, place, golden[f"{case}/pair"], golden_model.num_values, patch)
            plan = runs.plan(model, z, memory, torch.tensor([t == 0]), deterministic=True)
            assert next(remaining, None) is None, "all that was drawn then is drawn now"
        memory = plan.memory
        actual = {
            "initial": seen["steps"][0][0][:, 0],
            "gradient": seen["steps"][-1][1][:, 0],
            "objective": seen["choices"][-1][0],
            "plan": plan.memory["plan"][0],
            "action": plan.action[0],
        }
        assert len(seen["steps"]) == planner.iterations
        for name, value in actual.items():
            expected = golden[f"{place}/{name}"]
            assert value.shape == expected.shape, name
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5, err_msg=f"{place}/{name}")
        assert plan.value.item() == pytest.approx(golden[f"{place}/objective"].max(), abs=1e-5)
        seen["steps"].clear()


# ------------------------------------------------------------ plain float64 loops


def plain_return(model, z, actions, noise, members):
    """Return of one candidate, actions [H, A] from z [Z], with the policy's noise [A] at the end, and its penalty."""
    z, actions = z[None], actions[:, None]
    total, penalty, weight = 0.0, 0.0, 1.0  # weight: gamma^h while the task goes on
    for action in actions:
        total += weight * model.reward(z, action).item()
        z = model.next(z, action)
        penalty += plain_uncertainty(model, z, action)
        weight *= model.discount
        if model.episodic:
            weight *= model.continuation(z).item()
    policy = model.policy(z)
    last = torch.tanh(policy.raw_mean + noise * policy.log_std.exp()) if model.takes_action_in_value else None
    values = model.values(z, last)[:, 0].tolist()
    total += weight * mean(values[m] for m in members)
    return total, penalty + plain_uncertainty(model, z, last)


def plain_uncertainty(model, z, action):
    values = model.values(z, action)[:, 0].tolist()
    return mean(values) * stdev(values)


def plain_gradient(model, z, actions, noise, members, eps=1e-5):
    """Central differences of the return [H, A]; the penalty has no gradient."""
    gradient = torch.zeros_like(actions)
    for place in np.ndindex(*actions.shape):
        shift = torch.zeros_like(actions)
        shift[place] = eps
        up, down = (plain_return(model, z, actions + s * shift, noise, members)[0] for s in (1, -1))
        gradient[place] = (up - down) / (2 * eps)
    return gradient


def random_actions(batch, candidates=3, horizon=3, action_dim=2):
    return torch.rand(horizon, batch, candidates, action_dim, dtype=torch.float64) * 1.6 - 0.8


def generator():
    return torch.Generator().manual_seed(3)


def drawn(model, batch):
    """The policy's noise at the end and the two members, as a planner draws them from :func:`generator`."""
    source = generator()
    noise = torch.randn((batch, 1, 2), generator=source, dtype=torch.float64)
    order = torch.randn(model.num_values, generator=source, dtype=torch.float64).argsort(descending=True)
    return noise[:, 0], order[:2].tolist()


def plan(planner, model, z, deterministic=True, source=None):
    start = torch.ones(len(z), dtype=torch.bool)
    return planner.plan(model, z, planner.initial_memory(model, len(z)), start, deterministic, source)


@pytest.fixture
def model64(model):
    return model.double()


class TestObjective:
    @pytest.mark.parametrize("coefficient", [0.0, 0.01, 0.5])
    @pytest.mark.parametrize("horizon", [1, 3])
    def test_is_a_plain_loop(self, model64, latents, coefficient, horizon):
        planner = DreamPlanner(horizon=horizon, uncertainty_coef=coefficient)
        z, actions = latents(model64, 2), random_actions(2, horizon=horizon)
        noise, members = drawn(model64, 2)
        alone = planner.objective(model64, z, actions, generator())
        with_gradient, _ = planner.objective_and_gradient(model64, z, actions, generator())
        with torch.no_grad():
            for b, n in np.ndindex(2, 3):
                value, penalty = plain_return(model64, z[b], actions[:, b, n], noise[b], members)
                for objective in (alone, with_gradient):
                    expected = pytest.approx(value - coefficient * penalty, rel=1e-6, abs=1e-7)
                    assert objective.value[b, n].item() == expected
                    if coefficient > 0:
                        assert objective.penalty[b, n].item() == pytest.approx(penalty, rel=1e-6, abs=1e-7)

    def test_predictions_that_are_not_numbers_count_as_zero(self, make_model):
        model = make_model("V")
        reward = model.reward
        model.reward = lambda z, a, next_z=None: reward(z, a) * torch.where(a[..., 0] > 0.5, torch.nan, 1.0)
        actions = torch.tensor([[0.6, 0.0], [0.4, 0.0]]).expand(3, 1, 2, 2)
        planner = DreamPlanner()
        value = planner.objective(model, torch.ones(1, 2), actions, None).value
        assert value[0, 0] == 0
        assert value[0, 1] < 0
        improved, _, _ = planner.improve(model, torch.ones(1, 2), actions)
        torch.testing.assert_close(improved[:, :, 0], actions[:, :, 0], msg="it stays as it was")
        assert not torch.allclose(improved[:, :, 1], actions[:, :, 1])
        decision = plan(DreamPlanner(candidates=50), model, torch.zeros(8, 2))
        assert torch.isfinite(decision.action).all()
        assert torch.isfinite(decision.memory["plan"]).all()


class TestGradientStep:
    def test_is_that_of_a_plain_loop(self, model64, latents):
        """However large the penalty is, it takes no part in the gradient."""
        planner = DreamPlanner(uncertainty_coef=10.0, step_size=1e-3)
        planner.max_gradient_norm = 1e9
        z, actions = latents(model64, 1), random_actions(1, 2)
        noise, members = drawn(model64, 1)
        improved, _, _ = planner.improve(model64, z, actions, generator())
        with torch.no_grad():
            for n in range(2):
                gradient = plain_gradient(model64, z[0], actions[:, 0, n], noise[0], members)
                scale = 1e-3 * gradient.abs().max().item()
                assert scale > 0
                expected = actions[:, 0, n] + 1e-3 * gradient
                torch.testing.assert_close(improved[:, 0, n], expected, rtol=0, atol=1e-3 * scale + 1e-9)

    def test_norm_over_all_candidates_is_at_most_20(self, make_model):
        """Environment by environment: the far one is limited, the near one is not."""
        model, z = make_model("V").double(), torch.tensor([[30.0, -30.0], [0.1, 0.2]]).double()
        actions = random_actions(2, 5)
        planner = DreamPlanner(step_size=1e-3)
        _, gradient = planner.objective_and_gradient(model, z, actions, generator())
        far, near = gradient.square().sum((0, 2, 3)).sqrt().tolist()
        assert far > 20 > near
        step = planner.improve(model, z, actions, generator())[0] - actions
        torch.testing.assert_close(step[:, 0], 1e-3 * gradient[:, 0] * 20 / far)
        torch.testing.assert_close(step[:, 1], 1e-3 * gradient[:, 1])

    def test_actions_are_clamped_after_the_last_step_only(self, make_model):
        """The second step starts outside of [-1, 1], where the point mass comes back from."""
        model, z = make_model("V").double(), torch.tensor([[3.0, 3.0]], dtype=torch.float64)
        actions, starts = random_actions(1, 2), []
        planner = DreamPlanner(iterations=2, step_size=1.0)
        ascend = planner.ascend
        planner.ascend = lambda before, gradient: starts.append(before) or ascend(before, gradient)
        improved, _, _ = planner.improve(model, z, actions, generator())
        assert starts[1].abs().max() > 1
        assert improved.abs().max() == 1

    def test_choice_is_by_return_less_penalty_before_the_last_step(self, model64, latents):
        z = latents(model64, 6)
        planner = DreamPlanner(uncertainty_coef=0.5, step_size=1e-2)
        actions, value, _ = planner.improve(model64, z, random_actions(6), generator())
        decision = planner.choose(actions, value, {}, True, None)
        torch.testing.assert_close(decision.action, actions[0, range(6), value.argmax(1)])
        torch.testing.assert_close(decision.value, value.amax(1))


def wide_model(action_dim):
    size = TDMPCSize(8, 16, 16, 2, 3)
    return TDMPCWorldModel((3,), action_dim, size).eval()


class TestDefaults:
    @pytest.mark.parametrize(
        ("action_dim", "options", "iterations"),
        [
            (19, {}, 1),
            (20, {}, 3),
            (20, {"reading": "paper"}, 1),
            (20, {"iterations": 1}, 1),
            (20, {"iterations": 2}, 2),
        ],
        ids=str,
    )
    def test_three_iterations_from_twenty_actions_on(self, action_dim, options, iterations):
        planner, steps = DreamPlanner(**options), []
        ascend = planner.ascend
        planner.ascend = lambda *args: steps.append(1) or ascend(*args)
        model = wide_model(action_dim)
        plan(planner, model, model.encode(torch.randn(1, 3)).detach())
        assert len(steps) == iterations

    def test_a_plan_has_as_many_actions_as_steps(self, make_model):
        for name in ("V", "Q"):
            memory = DreamPlanner(horizon=3, candidates=5).initial_memory(make_model(name), 2)
            assert memory["plan"].shape == (2, 3, 5, 2)

    def test_every_pair_of_values_is_drawn_for_the_end(self, make_model):
        model, planner, source = make_model("V"), DreamPlanner(), generator()
        pairs = [planner.draw(model, torch.zeros(1, 2), source)[1] for _ in range(200)]
        assert all(len(set(pair.tolist())) == 2 for pair in pairs)
        counts = Counter(frozenset(pair.tolist()) for pair in pairs)
        assert set(counts) == {frozenset(pair) for pair in ((0, 1), (0, 2), (1, 2))}
        assert min(counts.values()) > 40

    def test_two_values_are_both_taken(self, make_model):
        model = make_model("V")
        model.num_values = 2
        assert DreamPlanner().draw(model, torch.zeros(1, 2), None)[1] is None

    def test_the_paper_takes_every_value_at_the_end(self, make_model, latents):
        model = make_model("V").double()
        z, actions = latents(model, 2), random_actions(2)
        planner = DreamPlanner(reading="paper", uncertainty_coef=0.0)
        one, other = (planner.objective(model, z, actions, torch.Generator().manual_seed(s)) for s in (0, 1))
        assert torch.equal(one.value, other.value)
        authors = DreamPlanner(uncertainty_coef=0.0)
        values = {
            tuple(authors.objective(model, z, actions, None).value.flatten().tolist()) for _ in range(30)
        }
        assert len(values) == 3

    def test_nothing_is_added_to_the_executed_action(self, model, latents):
        """Exploration is the policy's sampling alone."""
        z = latents(model, 4)
        exploring, calm = (plan(make_planner("dream"), model, z, d, generator()) for d in (False, True))
        assert torch.equal(exploring.action, calm.action)


class TestExpert:
    """What a policy that imitates plans is told."""

    def choose(self, first, **options):
        actions = torch.stack((first, torch.zeros_like(first)))  # [H, B, N, A]
        objective = torch.zeros(first.shape[:2])
        objective[:, -1] = 1
        return DreamPlanner(**options).choose(actions, objective, {}, True, None)

    def test_mean_and_standard_deviation_of_the_first_actions(self):
        first = torch.rand(3, 5, 2) * 2 - 1
        decision = self.choose(first)
        for b, a in np.ndindex(3, 2):
            candidates = first[b, :, a].tolist()
            assert decision.mean[b, a].item() == pytest.approx(mean(candidates), abs=1e-6)
            assert decision.std[b, a].item() == pytest.approx(stdev(candidates), abs=1e-6)
        assert torch.equal(decision.action, first[:, -1])

    def test_standard_deviation_has_a_floor(self):
        close = 0.3 + 1e-3 * torch.randn(2, 5, 2)
        assert torch.equal(self.choose(close).std, torch.full((2, 2), 0.05))
        assert torch.equal(self.choose(close[:, :1]).std, torch.full((2, 2), 0.05)), "of one candidate, too"

    def test_a_number_is_taken_around_the_action(self):
        decision = self.choose(torch.rand(3, 5, 2), expert_std=0.3)
        assert torch.equal(decision.mean, decision.action)
        assert torch.equal(decision.std, torch.full((3, 2), 0.3))
