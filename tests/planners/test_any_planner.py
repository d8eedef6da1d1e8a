"""What holds for every planner on every world model."""

import pytest
import torch

from dream_agents import registry
from dream_agents.planners import Planner, make_planner
from dream_agents.planners.mppi import MPPIPlanner
from dream_agents.planners.objective import roll_out_policy

PLANNERS = {
    "policy": ("policy", {}),
    "mppi": ("mppi", {"samples": 40, "policy_samples": 6, "elites": 8, "iterations": 3}),
    "dream": ("dream", {"candidates": 4}),
    "dream, to the letter": ("dream", {"candidates": 4, "reading": "paper"}),
    "dream, Alg. 3": ("dream", {"horizon": 4, "proposal_noise": 0.2, "return_lambda": 0.9}),
    "adaptive": ("adaptive", {}),
    "adaptive, weighted": ("adaptive", {"wide": 4, "improved": 4, "iterations": 3, "temperature": 0.5}),
    "cem": ("cem", {"horizon": 4, "samples": 40, "elites": 8, "iterations": 4}),
    "cem, policy and value": (
        "cem",
        {"horizon": 3, "samples": 40, "elites": 8, "policy_samples": 6, "terminal_value": True},
    ),
    "grad": ("grad", {"horizon": 4, "candidates": 6, "iterations": 3}),
    "policy+grad": ("policy+grad", {}),
}


def make(key):
    name, options = PLANNERS[key]
    return make_planner(name, **options)


@pytest.fixture(params=PLANNERS)
def planner(request):
    return make(request.param)


@pytest.fixture
def model(any_model):
    return any_model


def test_every_registered_planner_is_in_the_grid():
    assert {name for name, _ in PLANNERS.values()} == set(registry.planners.builtin)


def starts(*values):
    return torch.tensor(values, dtype=torch.bool)


def plan(planner, model, z, memory=None, episode_start=None, deterministic=False, seed=0):
    device = z.device
    if memory is None:
        memory = planner.initial_memory(model, len(z))
    if episode_start is None:
        episode_start = torch.ones(len(z), dtype=torch.bool, device=device)
    generator = torch.Generator(device).manual_seed(seed)
    return planner.plan(model, z, memory, episode_start, deterministic, generator)


def random_memory(planner, model, batch):
    return {k: torch.rand_like(v) * 2 - 1 for k, v in planner.initial_memory(model, batch).items()}


def test_follows_the_contract(planner, model, latents):
    assert isinstance(planner, Planner)
    z = latents(model, 5)
    memory = planner.initial_memory(model, 5)
    assert all(torch.all(value == 0) for value in memory.values())
    for deterministic in (False, True):
        decision = plan(planner, model, z, memory, deterministic=deterministic)
        for tensor in (decision.action, decision.mean, decision.std):
            assert tensor.shape == (5, 2)
            assert torch.isfinite(tensor).all()
        assert decision.value.shape == (5,)
        assert decision.action.abs().max() <= 1
        assert decision.mean.abs().max() <= 1
        assert {k: (v.shape, v.dtype) for k, v in decision.memory.items()} == {
            k: (v.shape, v.dtype) for k, v in memory.items()
        }
        for name, value in decision.info.items():
            assert value.shape in ((), (5,)), name
            assert torch.isfinite(value).all(), name
        tensors = [decision.action, decision.mean, decision.std, decision.value]
        tensors += [*decision.memory.values(), *decision.info.values()]
        assert not any(tensor.requires_grad for tensor in tensors)


def test_no_parameter_gets_a_gradient(planner, model, latents):
    z = latents(model, 3)
    flags = [p.requires_grad for p in model.parameters()]
    assert any(flags)
    for no_grad in (False, True):
        with torch.set_grad_enabled(not no_grad):
            plan(planner, model, z)
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


def test_inputs_are_left_alone(planner, model, latents):
    z, memory = latents(model, 3), random_memory(planner, model, 3)
    before = z.clone(), {k: v.clone() for k, v in memory.items()}
    plan(planner, model, z, memory, starts(True, False, True))
    assert torch.equal(z, before[0])
    assert all(torch.equal(v, before[1][k]) for k, v in memory.items())


@pytest.mark.parametrize("deterministic", [False, True])
def test_generator_decides_everything_random(planner, model, latents, deterministic):
    z, memory = latents(model, 3), random_memory(planner, model, 3)
    state = torch.get_rng_state()
    one, same, other = (
        plan(planner, model, z, memory, starts(False, False, True), deterministic, seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert torch.equal(one.action, same.action)
    assert all(torch.equal(v, same.memory[k]) for k, v in one.memory.items())
    if not deterministic:
        assert not torch.equal(one.action, other.action)


def test_environments_together_are_planned_as_each_alone(planner, model, latents, same_noise):
    z, memory = latents(model, 4), random_memory(planner, model, 4)
    start = starts(False, True, False, True)
    together = plan(planner, model, z, memory, start)
    for b in range(4):
        alone = plan(
            planner, model, z[b : b + 1], {k: v[b : b + 1] for k, v in memory.items()}, start[b : b + 1]
        )
        for name in ("action", "mean", "std", "value"):
            torch.testing.assert_close(
                getattr(together, name)[b], getattr(alone, name)[0], rtol=1e-3, atol=1e-4, msg=name
            )
        for key, value in alone.memory.items():
            torch.testing.assert_close(together.memory[key][b], value[0], rtol=1e-3, atol=1e-4)


def test_memory_is_ignored_where_an_episode_starts(planner, model, latents, same_noise):
    z, memory = latents(model, 3), random_memory(planner, model, 3)
    fresh = plan(planner, model, z)
    mixed = plan(planner, model, z, memory, starts(True, False, True))
    for b in (0, 2):
        torch.testing.assert_close(mixed.action[b], fresh.action[b])
        for key, value in mixed.memory.items():
            torch.testing.assert_close(value[b], fresh.memory[key][b])
    if getattr(planner, "reuse", isinstance(planner, MPPIPlanner)) > 0:  # where it counts in any case
        assert any(not torch.allclose(mixed.memory[key][1], fresh.memory[key][1]) for key in memory)


def test_memory_that_is_not_a_number_is_ignored_at_a_start(planner, model, latents):
    memory = {k: torch.full_like(v, torch.nan) for k, v in planner.initial_memory(model, 2).items()}
    assert torch.isfinite(plan(planner, model, latents(model, 2), memory, starts(True, True)).action).all()


@pytest.mark.parametrize("key", [key for key in PLANNERS if key != "policy"])
@pytest.mark.parametrize("world", ["V", "Q"])
def test_planning_steers_to_the_goal(key, world, make_model):
    planner, model = make(key), make_model(world)
    z = torch.tensor([[1.5, -1.0], [-0.5, 2.0]])
    memory, start = planner.initial_memory(model, 2), starts(True, True)
    returns = torch.zeros(2)
    for step in range(12):
        decision = plan(planner, model, z, memory, start, deterministic=True, seed=step)
        memory, start = decision.memory, starts(False, False)
        with torch.no_grad():
            returns += model.reward(z, decision.action)
            z = model.next(z, decision.action)
    assert z.norm(dim=1).max() < 0.6
    assert returns.min() > -12


@pytest.mark.parametrize("key", ["dream", "dream, to the letter", "dream, Alg. 3", "grad", "policy+grad"])
@pytest.mark.parametrize("world", ["V", "Q", "tdmpc"])
def test_a_small_gradient_step_does_not_lower_the_objective(key, world, make_model, latents):
    """For the authors the uncertainty is a constant to the gradient, and is left out here."""
    name, options = PLANNERS[key]
    planner = make_planner(name, **options | {"iterations": 1, "step_size": 1e-3})
    model = make_model(world).double()
    z = latents(model, 5)
    before = plan_of(planner, model, z)
    after, _, _ = planner.improve(model, z, before, torch.Generator().manual_seed(1))
    if planner.uncertainty_coef and planner.reading == "authors":
        planner.uncertainty_coef = 0.0
    low, high = (
        planner.objective(model, z, actions, torch.Generator().manual_seed(1)).value
        for actions in (before, after)
    )
    assert (high - low).min() >= -1e-9
    assert (high - low).max() > 0


def plan_of(planner, model, z):
    memory, start = planner.initial_memory(model, len(z)), torch.ones(len(z), dtype=torch.bool)
    with torch.no_grad():
        return planner.propose(model, z, memory, start, torch.Generator().manual_seed(0))


class TestExploration:
    """Over 4,000 environments that are alike but for their random numbers."""

    def decide(self, planner, model, deterministic):
        z = torch.tensor([[0.3, -0.2]]).expand(4000, 2)
        return plan(planner, model, z, deterministic=deterministic)

    @pytest.mark.parametrize("std", [0.05, 0.2])
    def test_dream_adds_gaussian_noise_unless_deterministic(self, std, make_model):
        planner, model = (
            make_planner("dream", candidates=2, exploration_std=std, expert_std=2 * std),
            make_model("V"),
        )
        decision = self.decide(planner, model, deterministic=True)
        assert torch.equal(decision.action, decision.mean)
        decision = self.decide(planner, model, deterministic=False)
        noise = (decision.action - decision.mean)[decision.mean.abs().amax(1) < 1 - 4 * std]
        assert noise.std(0).tolist() == pytest.approx([std, std], rel=0.1)
        assert noise.mean(0).abs().max() < 5 * std / len(noise) ** 0.5
        torch.testing.assert_close(decision.std, torch.full((4000, 2), 2 * std))

    def test_mppi_adds_noise_of_its_own_spread_unless_deterministic(self, make_model):
        planner = make_planner("mppi", samples=30, policy_samples=0, elites=10, iterations=4)
        decision = self.decide(planner, make_model("V"), deterministic=True)
        assert torch.equal(decision.action, decision.mean)
        decision = self.decide(planner, make_model("V"), deterministic=False)
        inside = (decision.mean.abs() + 4 * decision.std).amax(1) < 1
        noise = ((decision.action - decision.mean) / decision.std)[inside]
        assert len(noise) > 300
        assert noise.std(0).tolist() == pytest.approx([1, 1], rel=0.15)

    def test_policy_acts_with_its_mean_or_a_sample(self, make_model):
        model = make_model("V")
        distribution = model.policy(torch.tensor([0.3, -0.2]))
        decision = self.decide(make_planner("policy"), model, deterministic=True)
        torch.testing.assert_close(decision.action, distribution.mean.expand(4000, 2))
        action = self.decide(make_planner("policy"), model, deterministic=False).action
        raw = torch.atanh(action)
        torch.testing.assert_close(raw.mean(0), distribution.raw_mean, atol=0.03, rtol=0)
        torch.testing.assert_close(raw.std(0), distribution.log_std.exp(), atol=0.03, rtol=0)


class TestPolicyRollOut:
    @pytest.mark.parametrize("name", ["V", "Q", "tdmpc"])
    def test_is_a_loop_of_policy_and_dynamics(self, name, make_model, latents, same_noise):
        model = make_model(name)
        z = latents(model, 3)
        with torch.no_grad():
            actions = roll_out_policy(model, z, horizon=4, candidates=5, generator=None)
            assert actions.shape == (4, 3, 5, 2)
            noise = same_noise(3, 5, 2)
            for b in range(3):
                for n in range(5):
                    latent = z[b : b + 1]
                    for h in range(4):
                        policy = model.policy(latent)
                        action = torch.tanh(policy.raw_mean + noise[b, n] * policy.log_std.exp())
                        torch.testing.assert_close(actions[h, b, n], action[0], rtol=1e-3, atol=1e-5)
                        latent = model.next(latent, action)

    def test_candidates_and_environments_differ(self, make_model):
        actions = roll_out_policy(make_model("V"), torch.zeros(2, 2), 2, 3, torch.Generator().manual_seed(0))
        assert len(actions.flatten().unique()) == actions.numel()


class TestMakePlanner:
    def test_by_name_with_options(self):
        planner = make_planner("dream", iterations=2, step_size=0.05)
        assert (planner.iterations, planner.step_size, planner.candidates) == (2, 0.05, 5)

    def test_object_is_passed_through(self):
        planner = make_planner("policy")
        assert make_planner(planner) is planner
        with pytest.raises(ValueError, match=r"options \['horizon'\] go with a planner's name"):
            make_planner(planner, horizon=3)

    def test_unknown_name_gives_the_nearest(self):
        with pytest.raises(ValueError, match=r'"drem" is not a planner; did you mean "dream"'):
            make_planner("drem")

    def test_unknown_option_lists_the_known_ones(self):
        with pytest.raises(
            ValueError, match=r"(?s)step_sise.*its options are horizon, candidates.*step_size"
        ):
            make_planner("dream", step_sise=0.1)

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("dream", {"horizon": 0}, "horizon must be above 0"),
            ("dream", {"candidates": 0}, "candidates must be above 0"),
            ("dream", {"iterations": -1}, "iterations"),
            ("dream", {"step_size": -0.1}, "step_size"),
            ("dream", {"exploration_std": -1}, "exploration_std"),
            ("dream", {"reuse": 1.5}, r"reuse must lie in \[0, 1\]"),
            ("dream", {"proposal_noise": -0.1}, "proposal_noise must be at least 0"),
            ("dream", {"return_lambda": 1.1}, r"return_lambda must lie in \[0, 1\]"),
            ("dream", {"return_lambda": 0.9, "terminal_value": False}, "set terminal_value=True"),
            ("dream", {"reading": "mine"}, r'reading=\'mine\'.*choose "authors" or "paper"'),
            ("dream", {"expert_std": 0}, "expert_std must be above 0"),
            ("grad", {"max_gradient": 0}, "max_gradient must be above 0"),
            ("grad", {"proposal_std": 0}, "proposal_std must be above 0"),
            ("cem", {"samples": 50}, "elites from 2 to samples"),
            ("cem", {"policy_samples": 1000}, "policy_samples must be below samples"),
            ("cem", {"exploration_std": -1}, "exploration_std must be at least 0"),
            ("mppi", {"horizon": 0}, "horizon must be above 0"),
            ("mppi", {"iterations": 0}, "iterations must be above 0"),
            ("mppi", {"samples": 24}, "policy_samples must be below samples"),
            ("mppi", {"samples": 50}, "elites at most samples"),
            ("mppi", {"samples": 128.0}, r"samples=128.0\): samples must be a whole number"),
            ("mppi", {"temperature": -1}, "temperature must be at least 0"),
            ("mppi", {"min_std": 3}, r"min_std=3, max_std=2.0\): max_std must not be below"),
            ("mppi", {"min_std": 0}, "min_std must be above 0"),
            ("dream", {"iterations": 1.5}, "iterations must be a whole number"),
            ("dream", {"step_size": float("nan")}, r"step_size=nan\): step_size must be a finite number"),
            ("dream", {"horizon": None}, "horizon must be a whole number"),
            ("adaptive", {"temperature": "hot"}, r"temperature='hot'\): temperature must be a finite number"),
            ("cem", {"horizon": True}, "horizon must be a whole number"),
            ("policy", {"exploration_std": float("inf")}, "exploration_std must be a finite number"),
        ],
        ids=str,
    )
    def test_senseless_options_are_named(self, name, options, message):
        with pytest.raises(ValueError, match=message):
            make_planner(name, **options)

    @pytest.mark.parametrize("planner", [None, 3, MPPIPlanner])
    def test_what_is_no_planner_is_refused(self, planner):
        with pytest.raises(ValueError, match=r"is no planner; give a name \(adaptive, cem.* or an object"):
            make_planner(planner)

    def test_defaults_are_the_papers(self):
        dream = make_planner("dream")
        assert (dream.horizon, dream.candidates, dream.iterations, dream.step_size) == (3, 5, None, 0.1)
        assert (dream.reuse, dream.uncertainty_coef, dream.reading) == (0.1, 0.01, "authors")
        assert (dream.exploration_std, dream.expert_std) == (0, None)
        assert (dream.proposal_noise, dream.return_lambda) == (None, 1)
        hybrid = make_planner("policy+grad")
        assert (hybrid.horizon, hybrid.candidates, hybrid.iterations, hybrid.step_size) == (1, 1, 10, 0.05)
        assert (hybrid.reuse, hybrid.uncertainty_coef) == (0, 0)
        for planet in (make_planner("cem"), make_planner("grad")):
            count = planet.samples if hasattr(planet, "samples") else planet.candidates
            assert (planet.horizon, count, planet.iterations, planet.terminal_value) == (12, 1000, 10, False)
        cem = make_planner("cem")
        assert (cem.elites, cem.policy_samples, cem.exploration_std) == (100, 0, 0.3)
        mppi = make_planner("mppi")
        assert (mppi.horizon, mppi.samples, mppi.policy_samples, mppi.elites) == (3, 512, 24, 64)
        assert (mppi.min_std, mppi.max_std, mppi.temperature) == (0.05, 2, 0.5)


@pytest.mark.gpu
@pytest.mark.parametrize("deterministic", [False, True])
def test_cuda_agrees_with_cpu(planner, model, latents, same_noise, deterministic):
    z, memory, start = latents(model, 4), random_memory(planner, model, 4), starts(False, True, False, True)
    here = plan(planner, model, z, memory, start, deterministic)
    memory = {k: v.cuda() for k, v in memory.items()}
    there = plan(planner, model.cuda(), z.cuda(), memory, start.cuda(), deterministic)
    for name in ("action", "mean", "std", "value"):
        assert getattr(there, name).device.type == "cuda"
        torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name), rtol=1e-3, atol=1e-3)
    for key, value in here.memory.items():
        torch.testing.assert_close(there.memory[key].cpu(), value, rtol=1e-3, atol=1e-3)
