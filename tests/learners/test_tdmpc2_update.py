"""One update of TD-MPC2's learner against a plain float64 implementation of its equations."""

import dataclasses
import math
from copy import deepcopy

import pytest
import torch

from dream_agents.learners.tdmpc2 import TDMPC2Config, TDMPC2Learner
from dream_agents.models.layers import ValueEnsemble
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.replay import SequenceBatch

from .plain import PlainNetworks, cross_entropy, decode

SIZE = TDMPCSize(enc_dim=12, mlp_dim=14, latent_dim=16, num_enc_layers=3, num_values=3, simnorm_dim=8)
OBS, A, B = 4, 2, 6
CONFIGS = {
    "paper": {},
    "other": {
        "horizon": 2,
        "consistency_coef": 3.0,
        "reward_coef": 0.7,
        "value_coef": 0.4,
        "termination_coef": 0.5,
        "temporal_coef": 0.8,
        "entropy_coef": 0.05,
        "grad_clip_norm": 0.3,
    },
    "imitating": {"imitation_coef": 0.7, "temporal_coef": 0.8},
}


class PlainLearner(PlainNetworks):
    """The losses as the paper writes them: a loop over time and over Q-functions, dense two-hot targets."""

    def __init__(self, model, config, noise):
        self.config, self.noise, self.episodic, self.discount = config, noise, model.episodic, model.discount
        self.weights = {
            name: value.detach().cpu().double().clone().requires_grad_()
            for name, value in model.state_dict().items()
        }

    def parameters(self, *networks):
        return {name: value for name, value in self.weights.items() if name.split(".")[0] in networks}

    # ------------------------------------------------------------- networks

    def encode(self, obs):
        return self.normed("encoder.2", self.normed("encoder.1", self.normed("encoder.0", obs)), simnorm=True)

    def q(self, network, m, z, a):
        return decode(self.head(network, torch.cat((z, a), -1), m))

    def policy(self, z, noise):
        """Action [B, A] and scaled entropy [B]."""
        mean, raw = self.head("policy_head", z).chunk(2, -1)
        log_std = -10 + 12 / 2 * (torch.tanh(raw) + 1)
        log_prob = (-(noise**2) / 2 - log_std - math.log(math.sqrt(2 * math.pi))).sum(-1)
        return torch.tanh(mean + noise * log_std.exp()), -A * log_prob

    # --------------------------------------------------------------- losses

    def model_losses(self, batch):
        """Consistency, reward, value and termination loss, their sum, and z_0 .. z_H."""
        config, horizon = self.config, self.config.horizon
        noise = self.noise(horizon, B, A).double()
        consistency = reward = value = termination = 0
        zs = [self.encode(batch.observations[0])]
        targets = []
        for t in range(horizon):
            a, r, done = batch.actions[t], batch.rewards[t], batch.terminated[t]
            with torch.no_grad():
                next_z = self.encode(batch.observations[t + 1])
                next_a, _ = self.policy(next_z, noise[t])
                smaller = torch.minimum(*(self.q("target_value_heads", m, next_z, next_a) for m in (0, 1)))
                y = r + self.discount * (1 - done) * smaller
                targets.append(y)
            z, rho_t = zs[-1], config.temporal_coef**t
            z_a = torch.cat((z, a), -1)
            reward += rho_t * cross_entropy(self.head("reward_head", z_a), r) / horizon
            for m in range(SIZE.num_values):
                loss = cross_entropy(self.head("value_heads", z_a, m), y)
                value += rho_t * loss / (horizon * SIZE.num_values)
            zs.append(self.next(z, a))
            consistency += rho_t * ((zs[-1] - next_z) ** 2).mean() / horizon
            if self.episodic:
                p = 1 / (1 + torch.exp(-self.head("termination_head", zs[-1])[:, 0]))
                termination -= (done * p.log() + (1 - done) * (1 - p).log()).mean() / horizon
        total = (
            config.consistency_coef * consistency + config.reward_coef * reward + config.value_coef * value
        )
        total = total + config.termination_coef * termination
        return consistency, reward, value, termination, total, zs, torch.stack(targets)

    def policy_loss(self, zs, scale, replayed):
        """The loss, and the values at t = 0; no action was replayed in the last latent."""
        noise, loss, values = self.noise(len(zs), B, A).double(), 0, []
        for t, z in enumerate(zs):
            a, entropy = self.policy(z.detach(), noise[t])
            q = (self.q("value_heads", 0, z.detach(), a) + self.q("value_heads", 1, z.detach(), a)) / 2
            values.append(q.detach())
            objective = (q / scale + self.config.entropy_coef * entropy).mean()
            if t < len(replayed):
                objective -= self.config.imitation_coef * ((a - replayed[t]) ** 2).mean()
            loss -= self.config.temporal_coef**t * objective / len(zs)
        return loss, values[0]


def clipped_gradients(loss, weights, largest):
    gradients = torch.autograd.grad(loss, list(weights.values()))
    norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
    factor = min(1.0, largest / (norm.item() + 1e-6))
    return {name: factor * gradient for name, gradient in zip(weights, gradients, strict=True)}, norm


def make_model(episodic=False, **kwargs):
    """A tiny model all of whose parameters matter, targets apart from the online values."""
    kwargs = {"discount": 0.9, "value_dropout": 0.0, **kwargs}
    model = TDMPCWorldModel((OBS,), A, SIZE, episodic=episodic, **kwargs)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def make_learner(model, learning_rate=3e-4, tau=0.01, device="cpu", **config):
    generator = torch.Generator(device).manual_seed(0)
    return TDMPC2Learner(model.to(device), TDMPC2Config(**config), learning_rate, tau, generator)


def make_batch(horizon=3, dtype=torch.float32):
    random = torch.Generator().manual_seed(7)
    return SequenceBatch(
        torch.randn(horizon + 1, B, OBS, generator=random).to(dtype),
        (torch.rand(horizon, B, A, generator=random) * 2 - 1).to(dtype),
        (20 * torch.randn(horizon, B, generator=random)).to(dtype),
        (torch.rand(horizon, B, generator=random) < 0.3).to(dtype),
    )


def to(batch, *args):
    return SequenceBatch(*(tensor.to(*args) for tensor in batch[:4]))


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


class TestAgainstPlainImplementation:
    @pytest.fixture(params=[False, True], ids=["endless", "episodic"])
    def update(self, request, config, noise):
        """Model, learner and metrics after one update, and the plain implementation before it."""
        model = make_model(request.param)
        learner = make_learner(model, **config)
        learner.scale.value.fill_(3.0)
        plain = PlainLearner(model, learner.config, noise)
        batch = make_batch(learner.horizon)
        return model, learner, learner.update(batch), plain, to(batch, torch.float64)

    def test_model_losses(self, update):
        model, _, metrics, plain, batch = update
        consistency, reward, value, termination, total, _, targets = plain.model_losses(batch)
        expected = {
            "consistency_loss": consistency,
            "reward_loss": reward,
            "value_loss": value,
            "loss": total,
        }
        expected["td_target"] = targets.mean()
        if model.episodic:
            expected["termination_loss"] = termination
        for name, loss in expected.items():
            assert metrics[f"train/{name}"].item() == pytest.approx(loss.item(), rel=1e-4), name
        assert ("train/termination_loss" in metrics) == model.episodic

    def test_model_gradients(self, update):
        model, learner, metrics, plain, batch = update
        weights = plain.parameters("encoder", "dynamics", "reward_head", "value_heads", "termination_head")
        gradients, norm = clipped_gradients(
            plain.model_losses(batch)[4], weights, learner.config.grad_clip_norm
        )
        assert metrics["train/grad_norm"].item() == pytest.approx(norm.item(), rel=1e-4)
        self.compare(model, gradients)

    def test_policy_loss_and_gradients(self, update):
        """The policy descends on the values as they are after the model's step."""
        model, learner, metrics, plain, batch = update
        zs = plain.model_losses(batch)[5]
        after = PlainLearner(model, learner.config, plain.noise)
        plain.weights |= after.parameters("value_heads")
        loss, _ = plain.policy_loss(zs, 3.0, batch.actions)
        gradients, norm = clipped_gradients(
            loss, plain.parameters("policy_head"), learner.config.grad_clip_norm
        )
        assert metrics["train/policy_loss"].item() == pytest.approx(loss.item(), rel=1e-3)
        assert metrics["train/policy_grad_norm"].item() == pytest.approx(norm.item(), rel=1e-3)
        self.compare(model, gradients)

    def test_running_scale(self, update):
        model, learner, metrics, plain, batch = update
        zs = plain.model_losses(batch)[5]
        plain.weights |= PlainLearner(model, learner.config, plain.noise).parameters("value_heads")
        values = plain.policy_loss(zs, 3.0, batch.actions)[1].sort().values
        place = torch.tensor([0.05, 0.95]) * (B - 1)  # percentiles between the two nearest values
        low, high = (
            values[int(p)] + (p - int(p)) * (values[int(p) + 1] - values[int(p)]) for p in place.tolist()
        )
        expected = 0.99 * 3 + 0.01 * max(1.0, (high - low).item())
        assert learner.scale.value.item() == pytest.approx(expected, rel=1e-4)
        assert metrics["train/value_scale"].item() == pytest.approx(expected, rel=1e-4)

    def compare(self, model, gradients):
        assert gradients
        own = dict(model.named_parameters())
        for name, expected in gradients.items():
            largest = expected.abs().max().item()
            torch.testing.assert_close(own[name].grad.double(), expected, rtol=1e-3, atol=1e-3 * largest)


class TestSteps:
    def test_adam_with_the_learning_rates_of_the_paper(self):
        """Encoder at 0.3 times the learning rate; the policy's epsilon is 1e-5, the model's 1e-8."""
        model = make_model(episodic=True)
        before = {name: p.detach().double() for name, p in model.named_parameters()}
        make_learner(model, learning_rate=1e-3).update(make_batch())
        for name, parameter in model.named_parameters():
            network = name.split(".")[0]
            if network == "target_value_heads":
                continue
            gradient = parameter.grad.double()
            rate = 3e-4 if network == "encoder" else 1e-3
            epsilon = 1e-5 if network == "policy_head" else 1e-8
            expected = -rate * gradient / (gradient.abs() + epsilon)  # Adam's first step
            # weights keep 24 bits, so a step is known to about 1e-7
            torch.testing.assert_close(parameter.double() - before[name], expected, rtol=1e-3, atol=3e-7)

    def test_set_learning_rate_keeps_the_encoders_ratio(self):
        learner = make_learner(make_model(), encoder_lr_scale=0.5)
        learner.set_learning_rate(0.02)
        rates = {
            name: [g["lr"] for g in optimizer.param_groups] for name, optimizer in learner.optimizers.items()
        }
        assert rates == {"model": [0.01, 0.02], "policy": [0.02]}

    @pytest.mark.parametrize("frozen", ["model", "policy"])
    def test_each_step_moves_its_own_networks_only(self, frozen):
        model = make_model(episodic=True)
        learner = make_learner(model, tau=0.0)
        for group in learner.optimizers[frozen].param_groups:
            group["lr_scale"] = 0.0
        learner.set_learning_rate(1e-3)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        learner.update(make_batch())
        moved = {
            name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])
        }
        model_networks = {"encoder", "dynamics", "reward_head", "value_heads", "termination_head"}
        assert moved == ({"policy_head"} if frozen == "model" else model_networks)

    def test_targets_follow_after_every_update(self):
        model = make_model()
        learner = make_learner(model, learning_rate=1e-2, tau=0.25)
        expected = {name: p.double() for name, p in model.target_value_heads.named_parameters()}
        for _ in range(3):
            learner.update(make_batch())
            online = dict(model.value_heads.named_parameters())
            expected = {
                name: 0.75 * p + 0.25 * online[name].detach().double() for name, p in expected.items()
            }
        for name, parameter in model.target_value_heads.named_parameters():
            torch.testing.assert_close(parameter.double(), expected[name], rtol=1e-5, atol=1e-6)

    def test_gradients_are_clipped_together(self):
        model = make_model()
        learner = make_learner(model, grad_clip_norm=1e-3)
        metrics = learner.update(make_batch())
        for parameters, name in [
            (learner.model_parameters, "grad_norm"),
            (learner.policy_parameters, "policy_grad_norm"),
        ]:
            norm = torch.sqrt(sum(p.grad.square().sum() for p in parameters))
            assert norm.item() <= 1.001e-3
            assert metrics[f"train/{name}"] > 2e-3  # as it was before

    def test_targets_stop_where_the_task_ended(self):
        learner = make_learner(make_model())
        batch = make_batch()
        _, ended = learner.targets(batch._replace(terminated=torch.ones_like(batch.terminated)), [0, 1])
        torch.testing.assert_close(ended, batch.rewards)
        _, goes_on = learner.targets(batch._replace(terminated=torch.zeros_like(batch.terminated)), [0, 1])
        assert (goes_on - batch.rewards).abs().min() > 0

    def test_values_are_drawn_in_pairs_without_replacement(self):
        learner = make_learner(make_model())
        pairs = {tuple(learner._random_pair()) for _ in range(200)}
        assert pairs == {(i, j) for i in range(3) for j in range(3) if i != j}

    def test_termination_head_learns_only_where_tasks_end(self):
        assert make_model(episodic=False).termination_head is None
        model = make_model(episodic=True)
        before = model.termination_head[0].weight.detach().clone()
        make_learner(model).update(make_batch())
        assert not torch.equal(model.termination_head[0].weight, before)

    def test_model_is_left_in_evaluation_mode(self):
        model = make_model(value_dropout=0.5)
        make_learner(model).update(make_batch())
        assert not any(module.training for module in model.modules())


class TestRunningScale:
    def make(self):
        learner = make_learner(make_model())
        return learner.scale

    def test_never_falls_below_one(self):
        scale = self.make()
        for _ in range(50):
            scale.update(torch.full((64,), 3.0))
        assert scale.value.item() == 1.0

    def test_moves_by_a_hundredth_to_the_range_of_the_middle_ninety_percent(self):
        scale = self.make()
        values = torch.cat((torch.arange(101.0), torch.tensor([1e9, -1e9])))  # outliers don't count
        shuffled = values[torch.randperm(103)]
        expected = 1.0
        for _ in range(3):
            scale.update(shuffled)
            expected += 0.01 * (91.8 - expected)  # places 5.1 and 96.9 of 102, one of which the outlier takes
            assert scale.value.item() == pytest.approx(expected, rel=1e-4)


class TestStateDict:
    def test_learning_goes_on_as_if_it_had_not_been_interrupted(self, noise):
        model, copy = make_model(), make_model()
        learner = make_learner(model)
        for _ in range(3):
            learner.update(make_batch())
        copy.load_state_dict(model.state_dict())
        continued = make_learner(copy, learning_rate=1.0)
        continued.load_state_dict(deepcopy(learner.state_dict()))
        learner.update(make_batch())
        continued.update(make_batch())
        for one, other in zip(model.parameters(), copy.parameters(), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(learner.scale.value, continued.scale.value)

    def test_same_seed_same_weights(self):
        def learn(seed):
            torch.manual_seed(1)
            model = make_model(value_dropout=0.1)
            learner = make_learner(model)
            learner.generator.manual_seed(seed)
            for _ in range(3):
                learner.update(make_batch())
            return torch.nn.utils.parameters_to_vector(model.parameters())

        assert torch.equal(learn(5), learn(5))
        assert not torch.equal(learn(5), learn(6))


class TestPrecision:
    def losses(self, noise, **config):
        torch.manual_seed(3)
        learner = make_learner(make_model(episodic=True), **config)
        metrics = [learner.update(make_batch()) for _ in range(2)]
        parameters = learner.model_parameters + learner.policy_parameters
        assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in parameters)
        return metrics

    def test_autocast_is_close_to_float32(self, noise):
        exact, rounded = self.losses(noise), self.losses(noise, autocast="bfloat16")
        for name, value in exact[0].items():
            assert rounded[0][name].item() == pytest.approx(value.item(), rel=0.05, abs=1e-3), name
        assert rounded[1]["train/loss"].item() == pytest.approx(exact[1]["train/loss"].item(), rel=0.05)
        assert rounded[0]["train/loss"].dtype == torch.float32

    @pytest.mark.slow
    @pytest.mark.parametrize(("autocast", "tolerance"), [(None, 1e-4), ("bfloat16", 0.02)])
    def test_compiled_losses_are_the_same(self, noise, autocast, tolerance):
        eager = self.losses(noise, autocast=autocast)
        compiled = self.losses(noise, autocast=autocast, compile=True)
        for step in range(2):
            for name, value in eager[step].items():
                assert compiled[step][name].item() == pytest.approx(value.item(), rel=tolerance, abs=1e-3), (
                    name
                )


class TestEnsembleOnACPU:
    """One product a network has to be the update that the batched product is, dropout included."""

    def learn(self, monkeypatch, batched):
        if batched:
            monkeypatch.setattr(ValueEnsemble, "_one_by_one", ValueEnsemble._batched)
        torch.manual_seed(3)
        model = make_model(episodic=True, value_dropout=0.1)
        learner = make_learner(model)
        losses = [learner.update(make_batch())["train/loss"].item() for _ in range(10)]
        return losses, torch.nn.utils.parameters_to_vector(model.parameters()).detach()

    def test_ten_updates_are_the_same(self, monkeypatch):
        losses, weights = self.learn(monkeypatch, batched=False)
        expected_losses, expected = self.learn(monkeypatch, batched=True)
        assert losses == pytest.approx(expected_losses, rel=1e-5)
        assert (weights - expected).norm() < 1e-5 * expected.norm()

    @pytest.mark.gpu
    @pytest.mark.parametrize("config", [{}, {"autocast": "bfloat16"}, {"compile": True}], ids=str)
    def test_cuda_agrees_with_cpu(self, noise, config):
        torch.manual_seed(3)
        model = make_model(episodic=True)
        start = {name: value.clone() for name, value in model.state_dict().items()}
        expected = make_learner(model).update(make_batch())
        on_device = make_model(episodic=True)
        on_device.load_state_dict(start)
        learner = make_learner(on_device, device="cuda", **config)
        metrics = learner.update(to(make_batch(), "cuda"))
        rel = 0.05 if "autocast" in config else 1e-3
        for name, value in expected.items():
            assert metrics[name].device.type == "cuda", "reading it would synchronise"
            assert metrics[name].item() == pytest.approx(value.item(), rel=rel, abs=1e-3), name
        if "autocast" not in config:
            for (name, one), other in zip(model.named_parameters(), on_device.parameters(), strict=True):
                if one.grad is not None:
                    largest = one.grad.abs().max().item()
                    torch.testing.assert_close(
                        other.grad.cpu(), one.grad, rtol=1e-2, atol=2e-3 * largest, msg=name
                    )


@pytest.mark.parametrize("on_device", [False, True])
def test_a_single_value_is_the_pair(on_device):
    """As members are drawn on a CPU, and on a device that nothing may wait for."""
    model = TDMPCWorldModel((OBS,), A, dataclasses.replace(SIZE, num_values=1))
    learner = make_learner(model)
    learner.on_device = on_device
    assert [int(member) for member in learner._random_pair()] == [0]
    assert torch.isfinite(learner.update(make_batch())["train/loss"])


class TestConfig:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"autocast": "float16"}, "autocast='float16' is not known"),
            ({"horizon": 0}, "horizon=0 is too short"),
            ({"imitation_coef": -1}, "imitation_coef=-1 must be at least 0"),
        ],
    )
    def test_senseless_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            TDMPC2Config(**options)

    def test_defaults_are_the_papers(self):
        config = TDMPC2Config()
        assert (config.horizon, config.temporal_coef, config.grad_clip_norm) == (3, 0.5, 20)
        coefficients = (config.consistency_coef, config.reward_coef, config.value_coef, config.entropy_coef)
        assert coefficients == (20, 0.1, 0.1, 1e-4)
        assert (config.encoder_lr_scale, config.autocast, config.compile) == (0.3, None, False)
        assert config.imitation_coef == 0
