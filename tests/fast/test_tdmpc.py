"""The faster twin of TD-MPC2's and BMPC's models: the same results."""

import pytest
import torch

from dream_agents.annex import accelerated
from dream_agents.fast.accelerate import fast_model, has_fast_model
from dream_agents.fast.tdmpc import Chain, Ensemble, FastTDMPC, decode_with_pullback
from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.heads import TwoHot
from dream_agents.models.layers import NormedLinear, SimNorm, ValueEnsemble, mlp
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.planners.objective import planning_objective
from dream_agents.planners.policy import PolicyPlanner

OBS, ACTIONS = 7, 3
#: wide enough that products with its weights are packed
WIDE = TDMPCSize(64, 256, 128, 2, 3)


@pytest.fixture(params=[False, True], ids=["endless", "episodic"])
def model(kind, request, make_model):
    return make_model(kind, WIDE, request.param)


def outputs(model, rows=6):
    """What planners ask of a model."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(rows, OBS, generator=generator)
    action = torch.rand(rows, 5, ACTIONS, generator=generator) * 2 - 1
    with torch.no_grad():
        z, _ = model.observe(obs)
        policy = model.policy(z)
        first = z.unsqueeze(1)
        return {
            "z": z,
            "mean": policy.mean,
            "log_std": policy.log_std,
            "next": model.next(first, action),
            "reward": model.reward(first, action),
            "values": model.values(first.expand(-1, 5, -1), action),
            "values of states": model.values(first, action[:, :1]),
            "member": model.values(first, action[:, :1], [1]),
            "members": model.values(first, action[:, :1], [2, 0, 1]),
            "continuation": model.continuation(z),
        }


def assert_same(actual, expected):
    for name, value in expected.items():
        scale = max(1.0, value.abs().max().item())
        torch.testing.assert_close(actual[name], value, rtol=1e-3, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("rows", [1, 40])
def test_same_results(model, rows, pack):
    fast = fast_model(model, pack)
    assert isinstance(fast, FastTDMPC)
    assert_same(outputs(fast, rows), outputs(model, rows))


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("rows", [1, 40])
def test_same_results_under_autocast(model, rows, pack):
    """The last layers stay float32; the rest is rounded as autocast rounds the model."""
    with torch.autocast("cpu", torch.bfloat16):
        rounded, expected = outputs(fast_model(model, pack), rows), outputs(model, rows)
    exact = outputs(model, rows)
    for name, value in expected.items():
        assert rounded[name].dtype == value.dtype, name
        scale = max(1.0, value.float().abs().max().item())
        torch.testing.assert_close(rounded[name], value, rtol=0.02, atol=0.02 * scale, msg=name)
    assert not torch.equal(rounded["next"], exact["next"])


@pytest.mark.parametrize("pack", [False, True])
def test_it_sees_the_same_images(pack):
    size = TDMPCSize(12, 14, 16, 3, 3, 4)
    model = TDMPCWorldModel((9, 64, 64), 2, size, num_channels=8).eval()
    images = torch.randint(256, (2, 9, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(fast_model(model, pack).observe(images)[0], model.encode(images))


def test_unpacked_weights_are_those_of_now(model):
    fast = fast_model(model)
    before = outputs(fast)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    after = outputs(fast)
    assert_same(after, outputs(model))
    assert not torch.allclose(after["next"], before["next"], atol=1e-3)


def test_replanning_explores_more(make_model):
    """BMPC's view of itself, whose policy is wider, has a twin of its own."""
    model = make_model("bmpc")
    model.policy_head[-1].bias.data[ACTIONS:] = -100.0
    with torch.no_grad():
        z, _ = model.observe(torch.randn(4, OBS))
        for expected, view in [(-3.0, model), (-2.0, model.for_replanning())]:
            policy = fast_model(view).policy(z)
            torch.testing.assert_close(policy.log_std, torch.full((4, ACTIONS), expected))
            torch.testing.assert_close(policy.mean, model.policy(z).mean, rtol=1e-4, atol=1e-6)


def test_autograd_goes_through(model):
    """A planner of one's own may differentiate."""
    z = model.encode(torch.randn(2, OBS)).detach()
    actions = torch.zeros(3, 2, 5, ACTIONS, requires_grad=True)
    gradients = []
    for m in (model, fast_model(model)):
        value = planning_objective(m, z, actions, lambda last: torch.zeros(2, 5, ACTIONS), 0.01).value
        gradients.append(torch.autograd.grad(value.sum(), actions)[0])
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])


def test_autograd_works_after_inference_mode(model):
    """Nothing that was made in inference mode is kept."""
    fast = fast_model(model)
    with torch.inference_mode():
        z, _ = fast.observe(torch.ones(2, OBS))
        fast.values(z, torch.zeros(2, ACTIONS))
    z = model.encode(torch.ones(2, OBS))
    (
        model.values(z, torch.zeros(2, ACTIONS)).sum() + fast.reward(z, torch.zeros(2, ACTIONS)).sum()
    ).backward()
    assert model.encoder[0].weight.grad.abs().max() > 0


def test_models_of_others_are_left_alone(make_model):
    """A class that is derived from one of these may do anything."""

    class Mine(BMPCWorldModel):
        pass

    mine = Mine((OBS,), ACTIONS, TDMPCSize(8, 16, 16, 2, 3))
    planner = PolicyPlanner()
    assert not has_fast_model(mine)
    assert accelerated(mine, planner) == (mine, planner)


class TestPullbacks:
    """Written-out gradients against autograd, in float64; few and many rows take different kernels."""

    def check(self, function, with_pullback, x):
        x = x.double().requires_grad_()
        expected = function(x)
        upstream = torch.randn_like(expected)
        (gradient,) = torch.autograd.grad(expected, x, upstream)
        with torch.no_grad():
            actual, pull = with_pullback(x.detach())
            torch.testing.assert_close(actual, expected.detach())
            torch.testing.assert_close(pull(upstream), gradient)

    @pytest.mark.parametrize("rows", [3, 900])
    def test_networks(self, rows):
        latent = NormedLinear(12, 8, activation=SimNorm(4))
        for layers in (mlp(6, [12, 12], 5), torch.nn.Sequential(NormedLinear(6, 12), latent)):
            layers = randomised(layers)
            self.check(layers, Chain(layers).with_pullback, torch.randn(rows, 6))

    @pytest.mark.parametrize("rows", [3, 900])
    @pytest.mark.parametrize("skipped", [0, 2])
    def test_ensemble(self, rows, skipped):
        """The gradient may be asked for the last rows only."""
        ensemble = randomised(ValueEnsemble(3, 6, 12, 5))
        x = torch.randn(rows, 6).double().requires_grad_()
        expected = ensemble(x)
        upstream = torch.randn_like(expected[:, skipped:])
        (gradient,) = torch.autograd.grad(expected[:, skipped:], x, upstream)
        with torch.no_grad():
            actual, pull = Ensemble(ensemble).with_pullback(x.detach(), rows - skipped)
            torch.testing.assert_close(actual, expected.detach())
            torch.testing.assert_close(pull(upstream), gradient[skipped:])

    def test_two_hot(self):
        two_hot = TwoHot().double()
        self.check(
            two_hot.decode, lambda x: decode_with_pullback(two_hot, x, len(x)), 3 * torch.randn(9, 101)
        )


def randomised(network):
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network.double().eval()
