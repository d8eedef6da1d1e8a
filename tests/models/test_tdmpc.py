"""TD-MPC2's world model: what its networks compute, how they start, and the WorldModel contract."""

import numpy as np
import pytest
import torch

from dream_agents.models.tdmpc import TDMPC_SIZES, TDMPCSize, TDMPCWorldModel

TINY = TDMPCSize(enc_dim=12, mlp_dim=14, latent_dim=16, num_enc_layers=3, num_values=3, simnorm_dim=4)


def as64(x):
    return x.detach().double().numpy()


class PlainNetworks:
    """The networks once more, in NumPy and float64, from the table of the paper."""

    def __init__(self, model):
        self.weights = {name: as64(value) for name, value in model.state_dict().items()}

    def weight(self, name, member):
        return self.weights[name] if member is None else self.weights[name][member]

    def linear(self, name, x, member=None):
        return x @ self.weight(f"{name}.weight", member).T + self.weight(f"{name}.bias", member)

    def normed(self, name, x, member=None, simnorm=False):
        y = self.linear(name, x, member)
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
        y = y * self.weight(f"{name}.ln.weight", member) + self.weight(f"{name}.ln.bias", member)
        if not simnorm:
            return y * np.tanh(np.log1p(np.exp(y)))
        groups = np.exp(y.reshape(*y.shape[:-1], -1, 4))
        return (groups / groups.sum(-1, keepdims=True)).reshape(y.shape)

    def head(self, name, x, member=None):
        hidden = self.normed(f"{name}.1", self.normed(f"{name}.0", x, member), member)
        return self.linear(f"{name}.2", hidden, member)

    def encode(self, obs):
        return self.normed("encoder.2", self.normed("encoder.1", self.normed("encoder.0", obs)), simnorm=True)

    def next(self, z_action):
        return self.normed(
            "dynamics.2", self.normed("dynamics.1", self.normed("dynamics.0", z_action)), simnorm=True
        )


def decode(logits):
    mean = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)) @ np.linspace(-10, 10, 101)
    return np.sign(mean) * (np.exp(np.abs(mean)) - 1)


@pytest.fixture
def model():
    """A model all of whose parameters matter."""
    model = TDMPCWorldModel((5,), 2, TINY, discount=0.9, episodic=True)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture
def z(model):
    return model.encode(torch.randn(7, 5))


@pytest.fixture
def action():
    return torch.rand(7, 2) * 2 - 1


class TestNetworks:
    def test_encoder_and_dynamics(self, model, z, action):
        plain, obs = PlainNetworks(model), torch.randn(7, 5)
        np.testing.assert_allclose(as64(model.encode(obs)), plain.encode(as64(obs)), rtol=1e-4, atol=1e-6)
        expected = plain.next(np.concatenate((as64(z), as64(action)), -1))
        np.testing.assert_allclose(as64(model.next(z, action)), expected, rtol=1e-4, atol=1e-6)

    def test_reward_and_values(self, model, z, action):
        plain, z_action = PlainNetworks(model), np.concatenate((as64(z), as64(action)), -1)
        expected = decode(plain.head("reward_head", z_action))
        np.testing.assert_allclose(as64(model.reward(z, action)), expected, rtol=1e-3, atol=1e-5)
        for values, name in [(model.values, "value_heads"), (model.target_values, "target_value_heads")]:
            expected = np.stack([decode(plain.head(name, z_action, m)) for m in range(3)])
            np.testing.assert_allclose(as64(values(z, action)), expected, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(
                as64(values(z, action, [2, 0])), expected[[2, 0]], rtol=1e-3, atol=1e-5
            )

    def test_policy(self, model, z):
        raw_mean, raw_log_std = np.split(PlainNetworks(model).head("policy_head", as64(z)), 2, -1)
        policy = model.policy(z)
        np.testing.assert_allclose(as64(policy.mean), np.tanh(raw_mean), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            as64(policy.log_std), -10 + 6 * (np.tanh(raw_log_std) + 1), rtol=1e-4, atol=1e-5
        )

    def test_policys_standard_deviation_stays_in_its_range(self, model, z):
        for raw, expected in [(100.0, 2.0), (-100.0, -10.0)]:
            model.policy_head[-1].bias.data[2:] = raw
            torch.testing.assert_close(model.policy(z).log_std, torch.full((7, 2), expected))

    def test_task_goes_on_unless_termination_is_likelier(self, model, z):
        logit = PlainNetworks(model).head("termination_head", as64(z))[:, 0]
        shift = np.median(logit)
        model.termination_head[-1].bias.data -= float(shift)
        continuation = as64(model.continuation(z))
        clear = np.abs(logit - shift) > 1e-4
        assert set(continuation) == {0.0, 1.0}
        np.testing.assert_array_equal(continuation[clear], (logit < shift)[clear])

    def test_tasks_without_an_end_always_go_on(self):
        model = TDMPCWorldModel((5,), 2, TINY)
        assert model.termination_head is None
        assert torch.equal(model.continuation(torch.randn(3, 2, 16)), torch.ones(3, 2))


class TestContract:
    def test_latents_and_actions_broadcast(self, model, z):
        actions = torch.rand(7, 4, 2) * 2 - 1  # [B, N, A], with z [B, 1, Z]
        latents = model.next(z[:, None], actions)
        rewards = model.reward(z[:, None], actions)
        values = model.values(z[:, None], actions)
        assert (latents.shape, rewards.shape, values.shape) == ((7, 4, 16), (7, 4), (3, 7, 4))
        for n in range(4):
            torch.testing.assert_close(latents[:, n], model.next(z, actions[:, n]), rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(rewards[:, n], model.reward(z, actions[:, n]), rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(values[:, :, n], model.values(z, actions[:, n]), rtol=1e-3, atol=1e-4)

    def test_leading_dimensions_may_be_missing(self, model, z, action):
        torch.testing.assert_close(
            model.next(z[0], action[0]), model.next(z, action)[0], rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(
            model.reward(z[0], action[0]), model.reward(z, action)[0], rtol=1e-3, atol=1e-4
        )
        for members in (None, [1]):
            one, many = (model.values(*pair, members) for pair in ((z[0], action[0]), (z, action)))
            torch.testing.assert_close(one, many[:, 0], rtol=1e-3, atol=1e-4)

    def test_everything_is_differentiable_in_latent_and_action(self, model, z, action):
        z, action = z.detach().requires_grad_(), action.requires_grad_()
        for output in (model.next(z, action)[..., 0], model.reward(z, action), model.values(z, action)):
            for gradient in torch.autograd.grad(output.sum(), (z, action)):
                assert torch.isfinite(gradient).all()
                assert gradient.abs().max() > 0

    def test_observing_needs_no_memory(self, model):
        obs = torch.randn(3, 5)
        assert model.initial_memory(3) == {}
        z, memory = model.observe(obs, {}, torch.ones(3, dtype=torch.bool))
        assert torch.equal(z, model.encode(obs))
        assert memory == {}

    def test_attributes(self, model):
        assert (model.latent_dim, model.action_dim, model.num_values) == (16, 2, 3)
        assert model.takes_action_in_value
        assert model.episodic
        assert model.discount == 0.9

    def test_dropout_touches_online_values_while_training_and_nothing_else(self, model, z, action):
        def outputs():
            torch.manual_seed(1)
            online = model.values(z, action)
            fixed = (model.next(z, action), model.reward(z, action), model.target_values(z, action))
            return online, *fixed, model.policy(z).mean

        model.value_heads[0].dropout = 0.2
        evaluated = outputs()
        model.train()
        trained = outputs()
        assert not torch.allclose(trained[0], evaluated[0])
        for one, other in zip(trained[1:], evaluated[1:], strict=True):
            assert torch.equal(one, other)


class TestStart:
    def test_rewards_and_values_start_at_zero(self):
        model = TDMPCWorldModel((5,), 2, "1M")
        z, action = model.encode(torch.randn(9, 5)), torch.rand(9, 2)
        for output in (model.reward(z, action), model.values(z, action), model.target_values(z, action)):
            torch.testing.assert_close(output, torch.zeros_like(output), rtol=0, atol=1e-5)

    def test_weights_are_normal_with_standard_deviation_002_and_last_layers_zero(self):
        model = TDMPCWorldModel((39,), 6, "1M", episodic=True)
        matrices = {
            name: as64(p) for name, p in model.named_parameters() if p.dim() > 1 and ".ln." not in name
        }
        zero = {name for name, weights in matrices.items() if np.all(weights == 0)}
        assert zero == {"reward_head.2.weight", "value_heads.2.weight", "target_value_heads.2.weight"} | {
            name for name in matrices if name.endswith("bias")
        }
        for name, weights in matrices.items():
            if name not in zero:
                assert weights.std() == pytest.approx(0.02, rel=0.15), name

    def test_members_of_the_ensemble_are_initialised_separately(self):
        model = TDMPCWorldModel((5,), 2, "5M")
        for layer in (0, 1):
            members = as64(model.value_heads[layer].weight).reshape(5, -1)
            assert np.abs(np.corrcoef(members) - np.eye(5)).max() < 0.03
            np.testing.assert_allclose(members.std(1), 0.02, rtol=0.02)

    def test_target_values_start_as_copies_that_take_no_gradient(self):
        model = TDMPCWorldModel((5,), 2, TINY)
        online, target = model.value_heads.state_dict(), model.target_value_heads.state_dict()
        for name, value in online.items():
            assert torch.equal(value, target[name])
            assert value.data_ptr() != target[name].data_ptr()
        assert not any(parameter.requires_grad for parameter in model.target_value_heads.parameters())

    def test_seed_decides_the_weights(self):
        def weights(seed):
            torch.manual_seed(seed)
            return torch.nn.utils.parameters_to_vector(TDMPCWorldModel((5,), 2, TINY).parameters())

        assert torch.equal(weights(3), weights(3))
        assert not torch.equal(weights(3), weights(4))


class TestSizes:
    @pytest.mark.parametrize(("name", "millions"), [("1M", 1), ("5M", 5), ("19M", 19)])
    def test_names_tell_the_number_of_parameters(self, name, millions):
        with torch.device("meta"):
            model = TDMPCWorldModel((39,), 6, name)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trained / 1e6 == pytest.approx(millions, rel=0.25)

    def test_table_of_the_paper(self):
        published = {
            "1M": (256, 384, 128, 2, 2),
            "5M": (256, 512, 512, 2, 5),
            "19M": (1024, 1024, 768, 3, 5),
            "48M": (1792, 1792, 768, 4, 5),
            "317M": (4096, 4096, 1376, 5, 8),
        }
        table = {
            name: (s.enc_dim, s.mlp_dim, s.latent_dim, s.num_enc_layers, s.num_values)
            for name, s in TDMPC_SIZES.items()
        }
        assert {name: table.get(name) for name in published} == published

    def test_unknown_size_names_the_known_ones(self):
        with pytest.raises(ValueError, match='"6M" is not a size; choose one of 1M, 5M, 19M, 48M, 317M'):
            TDMPCWorldModel((5,), 2, "6M")
