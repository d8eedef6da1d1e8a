"""SAC's paper preset against SAC written plainly in float64; its networks; Stable-Baselines3's stay as they are."""

import math
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import configure
from torch import nn

from dream_agents import SAC
from dream_agents.agents.sac_policy import (
    BoundedActor,
    ExactTanhGaussian,
    PublishedCnnPolicy,
    PublishedMlpPolicy,
    PublishedMultiInputPolicy,
)

from .plain_sac import PlainSAC

POINT = "Pendulum-v1"
SMALL = {"seed": 0, "device": "cpu", "buffer_size": 200, "policy_kwargs": {"net_arch": [12, 12]}}


def weights(*modules):
    return [parameter.detach().clone() for module in modules for parameter in module.parameters()]


def plain_copy(model):
    """The reference with the agent's weights."""
    mean, log_std = weights(model.actor.mu), weights(model.actor.log_std)
    head = [torch.cat(pair) for pair in zip(mean, log_std, strict=True)]
    return PlainSAC(
        [*weights(model.actor.latent_pi), *head],
        [weights(value) for value in model.critic.q_networks],
        [weights(value) for value in model.critic_target.q_networks],
        0.1,
        rate=1e-4,
        gamma=0.99,
        tau=0.005,
        log_std_bounds=(-5, 2),
        target_every=2,
    )


def random_batches(count, size=16):
    for _ in range(count):
        yield SimpleNamespace(
            observations=torch.randn(size, 3).double(),
            actions=torch.rand(size, 1).double() * 2 - 1,
            rewards=torch.randn(size, 1).double(),
            next_observations=torch.randn(size, 3).double(),
            dones=(torch.rand(size, 1) < 0.3).double(),
            discounts=None,
        )


def test_updates_are_those_of_sac_written_plainly(monkeypatch):
    """Seven updates from weights and biases none of which is 0, with targets that differ from what they follow."""
    monkeypatch.setattr("stable_baselines3.common.policies.preprocess_obs", lambda obs, *_, **__: obs)
    model = SAC(POINT, preset="paper", **SMALL)
    model.set_logger(configure(format_strings=[]))
    model.policy.double()
    model.log_ent_coef.data = torch.full((1,), math.log(0.1), dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    plain = plain_copy(model)
    batches = list(random_batches(7))
    feed = iter(batches)
    monkeypatch.setattr(model.replay_buffer, "sample", lambda *_, **__: next(feed))
    torch.manual_seed(5)
    model.train(3, 16)  # an odd round: the targets' interval goes on in the next
    model.train(4, 16)
    torch.manual_seed(5)
    for batch in batches:
        plain.update(
            batch.observations,
            batch.actions,
            batch.rewards[:, 0],
            batch.next_observations,
            batch.dones[:, 0],
        )
    ours = plain_copy(model)
    pairs = {"policy": (ours.policy, plain.policy)}
    for i in (0, 1):
        pairs |= {
            f"Q{i}": (ours.values[i], plain.values[i]),
            f"target {i}": (ours.targets[i], plain.targets[i]),
        }
    for name, (one, other) in pairs.items():
        for value, expected in zip(one, other, strict=True):
            torch.testing.assert_close(value, expected.detach(), rtol=1e-9, atol=1e-11, msg=name)
    torch.testing.assert_close(model.log_ent_coef.detach(), plain.log_alpha.detach(), rtol=1e-9, atol=1e-11)
    assert abs(plain.log_alpha.item() - math.log(0.1)) > 1e-4


class TestNetworks:
    def test_layers_begin_orthogonal_with_biases_of_0(self):
        policy = SAC(POINT, preset="paper", **SMALL).policy
        assert type(policy) is PublishedMlpPolicy
        layers = [layer for layer in policy.modules() if isinstance(layer, nn.Linear)]
        assert len(layers) == 4 + 2 * 2 * 3
        for layer in layers:
            matrix, identity = layer.weight, torch.eye(min(layer.weight.shape))
            product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
            torch.testing.assert_close(product, identity, atol=1e-5, rtol=0)
            assert not layer.bias.any()
        heads = torch.cat((policy.actor.mu.weight, policy.actor.log_std.weight))
        torch.testing.assert_close(heads @ heads.T, torch.eye(2), atol=1e-5, rtol=0)
        for value, target in zip(policy.critic.parameters(), policy.critic_target.parameters(), strict=True):
            assert torch.equal(value, target)

    def test_noise_begins_in_the_middle_of_its_bounds_and_stays_inside(self):
        actor = SAC(POINT, preset="paper", **SMALL).actor
        obs = torch.zeros(1, 3)  # of which orthogonal layers without biases make 0
        assert actor.get_action_dist_params(obs)[1].item() == pytest.approx(-1.5)
        for bias, bound in ((50.0, 2), (-50.0, -5)):
            nn.init.constant_(actor.log_std.bias, bias)
            assert actor.get_action_dist_params(obs)[1].item() == pytest.approx(bound)

    def test_other_bounds(self, tmp_path):
        bounds = {"net_arch": [8], "log_std_bounds": (-3, 1)}
        model = SAC(POINT, preset="paper", **SMALL | {"policy_kwargs": bounds})
        assert model.actor.log_std_bounds == (-3, 1)
        model.policy.save(tmp_path / "policy")
        assert PublishedMlpPolicy.load(tmp_path / "policy").actor.log_std_bounds == (-3, 1)
        model.save(tmp_path / "model")
        assert SAC.load(tmp_path / "model").actor.log_std_bounds == (-3, 1)
        with pytest.raises(ValueError, match="has to be below"):
            SAC(POINT, preset="paper", policy_kwargs={"log_std_bounds": (1, -3)})

    def test_gsde_explores_as_in_stable_baselines3(self):
        model = SAC(POINT, preset="paper", use_sde=True, learning_starts=20, batch_size=8, **SMALL).learn(30)
        assert isinstance(model.actor, BoundedActor)
        assert model._n_updates == 10

    @pytest.mark.parametrize(
        ("space", "policy"),
        [
            (
                spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(-1, 1, (3,))}),
                PublishedMultiInputPolicy,
            ),
            (spaces.Box(0, 255, (3, 40, 40), np.uint8), PublishedCnnPolicy),
        ],
        ids=["dictionary", "images"],
    )
    def test_policy_is_for_what_is_observed(self, space, policy):
        obs_type = "pixels" if policy is PublishedCnnPolicy else "state"
        small = SMALL | {"learning_starts": 10, "batch_size": 4}
        model = SAC(_Noise(space), preset="paper", obs_type=obs_type, **small).learn(14)
        assert type(model.policy) is policy
        assert model._n_updates == 4

    def test_other_presets_have_stable_baselines3s(self):
        assert type(SAC(POINT, **SMALL).policy) is stable_baselines3.sac.MlpPolicy


class _Noise(gym.Env):
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, space):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, False, {}


class TestLogProb:
    def test_is_the_logarithm_of_the_density(self):
        distribution = ExactTanhGaussian(1).proba_distribution(torch.tensor([[0.3]]), torch.tensor([[-0.5]]))
        actions = torch.linspace(-0.9999, 0.9999, 200_001, dtype=torch.float64)[:, None]
        density = distribution.log_prob(actions.float()).double().exp()
        assert torch.trapezoid(density, actions[:, 0]).item() == pytest.approx(1, abs=1e-3)

    def test_has_a_gradient_where_the_action_is_at_its_bound(self):
        """Entropy draws the mean back; Stable-Baselines3's has none left there."""
        gradients = []
        for kind in (
            ExactTanhGaussian,
            stable_baselines3.common.distributions.SquashedDiagGaussianDistribution,
        ):
            x = torch.full((1, 1), 12.0, requires_grad=True)
            distribution = kind(1).proba_distribution(x.detach(), torch.zeros(1, 1))
            distribution.log_prob(torch.tanh(x), x).sum().backward()
            gradients.append(x.grad.item())
        assert gradients == [pytest.approx(2), pytest.approx(0, abs=1e-3)]
