"""One update of BMPC's learner against a plain float64 implementation of its equations, and lazy reanalyze."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from dream_agents.learners.base import plan_fields
from dream_agents.learners.bmpc import BMPCConfig, BMPCLearner
from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.planners import Plan, make_planner
from dream_agents.replay import SequenceBatch, SequenceReplayBuffer

from .plain import PlainNetworks, cross_entropy, decode

SIZE = TDMPCSize(enc_dim=12, mlp_dim=14, latent_dim=16, num_enc_layers=2, num_values=3)
OBS, A, B = 4, 2, 6
CONFIGS = {
    "paper": {},
    "other": {
        "horizon": 2,
        "td_horizon": 3,
        "temporal_coef": 0.8,
        "entropy_coef": 0.05,
        "value_coef": 0.4,
        "min_expert_std": 0.3,
    },
}


class PlainLearner(PlainNetworks):
    """What differs from TD-MPC2 as the paper writes it, one step and one dimension at a time."""

    def __init__(self, model, config, noise):
        self.config, self.noise, self.episodic, self.discount = config, noise, model.episodic, model.discount
        self.weights = {name: value.detach().double().clone() for name, value in model.state_dict().items()}

    def encode(self, obs):
        return self.normed("encoder.1", self.normed("encoder.0", obs), simnorm=True)

    def policy(self, z):
        mean, raw = self.head("policy_head", z).chunk(2, -1)
        return torch.tanh(mean), torch.exp(-3 + 2 * (torch.tanh(raw) + 1))

    def td_target(self, batch):
        """[H, B], Eq. 8: nothing of it was seen but the observation that it starts from."""
        config, shape = self.config, (self.config.horizon, B, A)
        z, target, weight = self.encode(batch.observations[:-1]), 0, 1
        for _ in range(config.td_horizon):
            mean, std = self.policy(z)
            a = (mean + std * self.noise(shape).double()).clamp(-1, 1)
            target = target + weight * decode(self.head("reward_head", torch.cat((z, a), -1)))
            z = self.next(z, a)
            weight = weight * self.discount
            if self.episodic:
                weight = weight * (self.head("termination_head", z)[..., 0] <= 0)
        values = [decode(self.head("target_value_heads", z, m)) for m in (0, 1)]
        return target + weight * (values[0] + values[1]) / 2

    def rolled(self, batch):
        zs = [self.encode(batch.observations[0])]
        for a in batch.actions:
            zs.append(self.next(zs[-1], a))
        return zs

    def value_loss(self, batch):
        target, loss = self.td_target(batch), 0
        for t, z in enumerate(self.rolled(batch)[:-1]):
            for m in range(SIZE.num_values):
                logits = self.head("value_heads", z, m)
                loss += self.config.temporal_coef**t * cross_entropy(logits, target[t])
        return loss / (self.config.horizon * SIZE.num_values)

    def divergence(self, z, t, batch):
        """KL(policy || expert) [B], averaged over action dimensions."""
        mean, std = self.policy(z)
        total = 0
        for i in range(A):
            expert = torch.distributions.Normal(
                batch.extra["plan_mean"][t, :, i],
                batch.extra["plan_std"][t, :, i].clamp(min=self.config.min_expert_std),
            )
            own = torch.distributions.Normal(mean[:, i], std[:, i])
            total += torch.distributions.kl_divergence(own, expert)
        return total / A

    def policy_loss(self, zs, batch, scale):
        """Eq. 9 on the rolled latents but the last."""
        loss, horizon = 0, self.config.horizon
        for t in range(horizon):
            _, std = self.policy(zs[t])
            entropy = (0.5 * math.log(2 * math.pi * math.e) + std.log()).sum(-1)
            one = self.divergence(zs[t], t, batch) / scale - self.config.entropy_coef * A * entropy
            loss += self.config.temporal_coef**t * one.mean() / horizon
        return loss


def make_model(episodic=False):
    model = BMPCWorldModel((OBS,), A, SIZE, discount=0.9, episodic=episodic, value_dropout=0.0)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def make_learner(model, **config):
    return BMPCLearner(model, BMPCConfig(**config), 3e-4, 0.01, torch.Generator().manual_seed(0))


def make_batch(horizon=3):
    random = torch.Generator().manual_seed(7)
    batch = SequenceBatch(
        torch.randn(horizon + 1, B, OBS, generator=random),
        torch.rand(horizon, B, A, generator=random) * 2 - 1,
        20 * torch.randn(horizon, B, generator=random),
        (torch.rand(horizon, B, generator=random) < 0.3).float(),
    )
    plans = {
        "plan_mean": torch.rand(horizon, B, A, generator=random) * 2 - 1,
        "plan_std": 0.02 + torch.rand(horizon, B, A, generator=random),
    }
    return batch._replace(extra=plans)


def to_double(batch):
    extra = {name: value.double() for name, value in batch.extra.items()}
    return SequenceBatch(*(tensor.double() for tensor in batch[:4]), extra)


class TestAgainstPlainImplementation:
    @pytest.fixture(params=CONFIGS)
    def config(self, request):
        return CONFIGS[request.param]

    @pytest.fixture(params=[False, True], ids=["endless", "episodic"])
    def update(self, request, config, noise):
        """Model, learner and metrics after one update, and the plain implementation before it."""
        model = make_model(request.param)
        learner = make_learner(model, **config)
        learner.scale.value.fill_(3.0)
        plain = PlainLearner(model, learner.config, noise)
        batch = make_batch(learner.horizon)
        return model, learner, learner.update(batch), plain, to_double(batch)

    def test_value_target_and_loss(self, update):
        _, _, metrics, plain, batch = update
        target = plain.td_target(batch)
        assert metrics["train/td_target"].item() == pytest.approx(target.mean().item(), rel=1e-4)
        assert metrics["train/value_loss"].item() == pytest.approx(plain.value_loss(batch).item(), rel=1e-4)

    def test_policy_loss_and_gradients(self, update):
        model, learner, metrics, plain, batch = update
        zs = plain.rolled(batch)
        weights = {n: w.requires_grad_() for n, w in plain.weights.items() if n.startswith("policy_head")}
        loss = plain.policy_loss(zs, batch, scale=3.0)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients)).item()
        factor = min(1.0, learner.config.grad_clip_norm / norm)
        assert metrics["train/policy_loss"].item() == pytest.approx(loss.item(), rel=1e-4)
        assert metrics["train/policy_grad_norm"].item() == pytest.approx(norm, rel=1e-3)
        own = dict(model.named_parameters())
        for name, expected in zip(weights, gradients, strict=True):
            largest = expected.abs().max().item() * factor
            torch.testing.assert_close(
                own[name].grad.double(), factor * expected, rtol=1e-3, atol=1e-3 * largest
            )

    def test_running_scale_is_of_the_divergence_at_the_start(self, update):
        _, learner, metrics, plain, batch = update
        values = plain.divergence(plain.encode(batch.observations[0]), 0, batch).numpy()
        expected = 0.99 * 3 + 0.01 * max(1.0, np.subtract(*np.percentile(values, [95, 5])))
        assert learner.scale.value.item() == pytest.approx(expected, rel=1e-4)
        assert metrics["train/divergence_scale"].item() == pytest.approx(expected, rel=1e-4)

    def test_replayed_rewards_and_ends_are_in_no_value_target(self, noise):
        learner, batch = make_learner(make_model(episodic=True)), make_batch()
        _, target = learner.targets(batch, [0, 1])
        changed = batch._replace(rewards=batch.rewards + 5, terminated=1 - batch.terminated)
        assert torch.equal(learner.targets(changed, [0, 1])[1], target)


class TestSeedPhase:
    def test_policy_does_not_imitate_random_decisions(self):
        model = make_model()
        learner = make_learner(model)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        metrics = learner.pretrain(make_batch())
        moved = {n.split(".")[0] for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {"encoder", "dynamics", "reward_head", "value_heads", "target_value_heads"}
        assert not any("policy" in name for name in metrics)
        assert learner.scale.value == 1

    def test_plans_of_deterministic_planners_are_imitated_with_the_smallest_deviation(self):
        learner, batch = make_learner(make_model()), make_batch()
        certain = {"plan_mean": batch.extra["plan_mean"], "plan_std": torch.zeros(3, B, A)}
        metrics = learner.update(batch._replace(extra=certain))
        assert metrics["train/expert_std"].item() == pytest.approx(0.05)
        assert all(torch.isfinite(value).all() for value in metrics.values())


class Counting:
    """An expert whose plans say which latent they were made for, and what it was asked."""

    def __init__(self):
        self.calls = []

    def initial_memory(self, model, batch_size):
        return {"mean": torch.full((batch_size, 1), 7.0)}

    def plan(self, model, z, memory, episode_start, deterministic=False, generator=None):
        self.calls.append((model, z, episode_start))
        return Plan(z[:, :A], memory, z[:, :A], z[:, A : 2 * A] + 1, z[:, 0])


def make_replay(episodes=4, length=9, n_envs=2):
    buffer = SequenceReplayBuffer(
        200,
        spaces.Box(-np.inf, np.inf, (OBS,), np.float32),
        spaces.Box(-1, 1, (A,), np.float32),
        "cpu",
        n_envs,
        sequence_length=3,
        seed=0,
        extra_fields=plan_fields(A),
    )
    random = np.random.default_rng(0)
    for step in range(episodes * length):
        obs, next_obs = random.normal(size=(2, n_envs, OBS))
        done = np.full(n_envs, (step + 1) % length == 0)
        buffer.add(obs, next_obs, random.uniform(-1, 1, (n_envs, A)), np.zeros(n_envs), done, [{}] * n_envs)
    return buffer


class TestLazyReanalyze:
    def refresh(self, expert, buffer, batch_size=12, **config):
        learner = make_learner(make_model(), **{"reanalyze_interval": 1, "reanalyze_batch": 5, **config})
        learner.world_model.eval()
        batch = buffer.sample(batch_size)
        return learner, batch, learner.refresh(batch, expert, buffer)

    def test_first_sequences_are_planned_anew_in_one_call(self):
        expert = Counting()
        learner, batch, fresh = self.refresh(expert, make_replay())
        ((model, z, starts),) = expert.calls
        assert z.shape == (3 * 5, 16)  # the sub-sequences' H states, not the last one
        assert starts.all()
        with torch.no_grad():
            learner.world_model.policy_head[-1].bias.fill_(-100.0)
            assert model.policy(z).log_std.unique().item() == -2  # wider than the acting policy's -3
        states = learner.world_model.encode(batch.observations[:3, :5])  # [H, 5, Z]
        torch.testing.assert_close(fresh.extra["plan_mean"][:, :5], states[..., :A])
        torch.testing.assert_close(fresh.extra["plan_std"][:, :5], states[..., A : 2 * A] + 1)
        for name in ("plan_mean", "plan_std"):
            assert torch.equal(fresh.extra[name][:, 5:], batch.extra[name][:, 5:])
        for ours, old in zip(fresh[:4], batch[:4], strict=True):
            assert ours is old

    def test_plans_go_to_their_slots_in_replay_and_nowhere_else(self):
        buffer = make_replay()
        before = {name: array.copy() for name, array in buffer.state_arrays().items()}
        learner, batch, _ = self.refresh(Counting(), buffer)
        states = learner.world_model.encode(torch.as_tensor(buffer.observations)).detach().numpy()
        slots, envs = batch.stored.slots[:, :5], batch.stored.envs[:, :5]
        rewritten = np.zeros(buffer.rewards.shape, bool)
        rewritten[slots, envs] = True
        for name, part in [("plan_mean", slice(0, A)), ("plan_std", slice(A, 2 * A))]:
            array, expected = getattr(buffer, name), states[..., part] + (name == "plan_std")
            np.testing.assert_allclose(array[rewritten], expected[rewritten], rtol=1e-4, atol=1e-6)
            used = len(before[name])
            np.testing.assert_array_equal(array[:used][~rewritten[:used]], before[name][~rewritten[:used]])
        for name in before.keys() - {"plan_mean", "plan_std"}:
            np.testing.assert_array_equal(buffer.state_arrays()[name], before[name])

    def test_next_draw_has_the_new_plans(self):
        buffer = make_replay()
        learner, *_ = self.refresh(Counting(), buffer, batch_size=500, reanalyze_batch=500)
        drawn = buffer.sample(50)
        states = learner.world_model.encode(drawn.observations[:-1])
        torch.testing.assert_close(drawn.extra["plan_mean"], states[..., :A], rtol=1e-4, atol=1e-6)

    def test_every_kth_time(self):
        expert, buffer = Counting(), make_replay()
        learner = make_learner(make_model(), reanalyze_interval=4)
        planned = []
        for _ in range(9):
            learner.refresh(buffer.sample(8), expert, buffer)
            planned.append(len(expert.calls))
        assert planned == [0, 0, 0, 1, 1, 1, 1, 2, 2]
        never = make_learner(make_model(), reanalyze_interval=0)
        never.refresh(buffer.sample(8), expert, buffer)
        assert len(expert.calls) == 2

    @pytest.mark.parametrize("name", ["policy", "mppi", "dream"])
    def test_any_planner_is_an_expert(self, name):
        options = {"samples": 30, "policy_samples": 4, "elites": 5} if name == "mppi" else {}
        learner, _, fresh = self.refresh(make_planner(name, **options), make_replay())
        assert fresh.extra["plan_mean"].abs().max() <= 1
        metrics = learner.update(fresh)
        assert all(torch.isfinite(value).all() for value in metrics.values())
        assert all(p.requires_grad for p in learner.policy_parameters)

    @pytest.mark.parametrize("name", ["dream", "adaptive", "mppi"])
    def test_replayed_steps_are_planned_under_autocast(self, name):
        """In bfloat16 where updates are: almost the same plans, from products that were rounded."""
        observations, means = torch.randn(6, OBS), {}
        model = make_model()
        for autocast in (None, "bfloat16"):
            options = {"samples": 30, "policy_samples": 4, "elites": 5} if name == "mppi" else {}
            learner = make_learner(model, autocast=autocast)
            plan = learner.replan(observations, make_planner(name, **options))
            assert plan.mean.dtype == plan.std.dtype == torch.float32
            means[autocast] = plan.mean
        assert not torch.equal(*means.values())
        assert (means[None] - means["bfloat16"]).abs().median() < 0.05

    def test_dream_says_how_sure_its_plans_are(self):
        _, _, fresh = self.refresh(make_planner("dream", expert_std=0.17), make_replay())
        assert fresh.extra["plan_std"][:, :5].unique().item() == pytest.approx(0.17)


class TestState:
    def test_learning_goes_on_as_if_it_had_not_been_interrupted(self, noise):
        model, copy, buffer = make_model(), make_model(), make_replay()
        learner = make_learner(model, reanalyze_interval=4)
        for _ in range(3):
            learner.update(learner.refresh(make_batch(), Counting(), buffer))
        copy.load_state_dict(model.state_dict())
        continued = make_learner(copy, reanalyze_interval=4)
        continued.load_state_dict(deepcopy(learner.state_dict()))
        batch, twin, experts = buffer.sample(8), make_replay(), (Counting(), Counting())
        learner.update(learner.refresh(batch, experts[0], buffer))
        continued.update(continued.refresh(batch, experts[1], twin))
        assert [len(expert.calls) for expert in experts] == [1, 1]
        for one, other in zip(model.parameters(), copy.parameters(), strict=True):
            assert torch.equal(one, other)

    @pytest.mark.slow
    def test_compiled_losses_are_the_same(self, noise):
        metrics = []
        for compile in (False, True):
            torch.manual_seed(3)
            learner, buffer = (
                make_learner(make_model(True), compile=compile, autocast="bfloat16", reanalyze_interval=1),
                make_replay(),
            )
            batch = learner.refresh(buffer.sample(8), Counting(), buffer)
            metrics.append(learner.update(batch))
        for name, value in metrics[0].items():
            assert metrics[1][name].item() == pytest.approx(value.item(), rel=0.02, abs=1e-3), name


class TestConfig:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"td_horizon": 0}, "td_horizon=0 is too short"),
            ({"reanalyze_interval": -1}, "reanalyze_interval=-1 must be at least 0"),
            (
                {"reanalyze_batch": 0},
                "reanalyze_batch=0 must be at least 1; reanalyze_interval=0 turns reanalyze off",
            ),
            ({"min_expert_std": 0.0}, r"min_expert_std=0\.0 must be above 0"),
            ({"horizon": 0}, "horizon=0 is too short"),
        ],
    )
    def test_senseless_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            BMPCConfig(**options)

    def test_defaults_are_the_papers(self):
        config = BMPCConfig()
        assert (config.td_horizon, config.reanalyze_interval, config.reanalyze_batch) == (1, 10, 20)
        assert (config.horizon, config.entropy_coef, config.temporal_coef) == (3, 1e-4, 0.5)
