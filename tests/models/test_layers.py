"""TD-MPC2's building blocks against plain float64 formulas."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from dream_agents.models.kernels import linear, mish
from dream_agents.models.layers import (
    EnsembleLinear,
    NormedLinear,
    OutputLinear,
    SimNorm,
    drop_before_norm,
    initialize,
    mlp,
)


def plain_mish(x):
    return x * np.tanh(np.logaddexp(0, x))  # softplus(x) = ln(e^0 + e^x)


def plain_mish_slope(x):
    tanh = np.tanh(np.logaddexp(0, x))
    return tanh + x * (1 - tanh**2) / (1 + np.exp(-x))


def plain_simnorm(x, group_size):
    groups = x.reshape(-1, x.shape[-1] // group_size, group_size)
    exp = np.exp(groups)
    return (exp / exp.sum(-1, keepdims=True)).reshape(x.shape)


def plain_layer_norm(x, layer):
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return normed * as64(layer.weight) + as64(layer.bias)


def as64(x):
    return x.detach().double().numpy()


@pytest.fixture
def layer():
    """A layer none of whose parameters is 0 or 1."""
    layer = NormedLinear(6, 10)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


# few and many elements take different kernels
@pytest.mark.parametrize("points", [97, 9001], ids=["few", "many"])
class TestMish:
    @pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
    def test_is_x_tanh_softplus_x(self, points, dtype, rtol):
        x = torch.linspace(-15, 30, points, dtype=dtype)
        np.testing.assert_allclose(as64(mish(x)), plain_mish(as64(x)), rtol=rtol, atol=1e-7)

    @pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
    def test_gradient(self, points, dtype, rtol):
        x = torch.linspace(-15, 30, points, dtype=dtype, requires_grad=True)
        upstream = torch.randn(points, dtype=dtype)
        (gradient,) = torch.autograd.grad(mish(x), x, upstream)
        expected = plain_mish_slope(as64(x)) * as64(upstream)
        np.testing.assert_allclose(as64(gradient), expected, rtol=rtol, atol=1e-6)

    def test_far_out_it_is_x_or_nothing_and_its_slope_finite(self, points):
        x = torch.tensor([-1e4, -100.0, 100.0, 1e4]).repeat(points).requires_grad_()
        y = mish(x)
        y.sum().backward()
        torch.testing.assert_close(y.detach(), torch.tensor([0.0, 0.0, 100.0, 1e4]).repeat(points))
        torch.testing.assert_close(x.grad, torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(points))

    def test_input_is_left_alone(self, points):
        x = torch.linspace(-3, 3, points, requires_grad=True)
        before = x.detach().clone()
        mish(x).sum().backward()
        assert torch.equal(x, before)

    def test_second_derivative_is_right_or_refused(self, points):
        x = torch.linspace(-3, 3, points, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(mish(x).sum(), x, create_graph=True)
        try:
            (curvature,) = torch.autograd.grad(slope.sum(), x)
        except RuntimeError:
            return
        around = [plain_mish_slope(as64(x) + shift) for shift in (-1e-5, 1e-5)]
        np.testing.assert_allclose(as64(curvature), (around[1] - around[0]) / 2e-5, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rows", [5, 700], ids=["few", "many"])
class TestSimNorm:
    @pytest.mark.parametrize("group_size", [2, 8])
    def test_is_a_softmax_over_each_group(self, rows, group_size):
        x = 3 * torch.randn(rows, 4, 16)
        np.testing.assert_allclose(
            as64(SimNorm(group_size)(x)), plain_simnorm(as64(x), group_size), rtol=1e-5
        )

    def test_gradient(self, rows):
        x = torch.randn(rows, 8, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(rows, 8, dtype=torch.float64)
        (gradient,) = torch.autograd.grad(SimNorm(4)(x), x, upstream)
        p, g = (as64(v).reshape(rows, 2, 4) for v in (SimNorm(4)(x), upstream))
        expected = p * (g - (p * g).sum(-1, keepdims=True))
        np.testing.assert_allclose(as64(gradient), expected.reshape(rows, 8), atol=1e-12)

    def test_large_entries_do_not_overflow(self, rows):
        x = torch.tensor([[1000.0, 0.0, 999.0, -1000.0]]).expand(rows, 4)
        expected = torch.tensor([[1, 0, np.exp(-1), 0]], dtype=torch.float32) / (1 + np.exp(-1))
        torch.testing.assert_close(SimNorm(4)(x), expected.expand(rows, 4))

    def test_latents_are_float32_under_autocast(self, rows):
        assert SimNorm(8)(torch.randn(rows, 16).bfloat16()).dtype == torch.float32


class TestNormedLinear:
    def test_is_linear_layer_norm_mish(self, layer):
        x = torch.randn(7, 3, 6)
        linear = as64(x) @ as64(layer.weight).T + as64(layer.bias)
        expected = plain_mish(plain_layer_norm(linear, layer.ln))
        np.testing.assert_allclose(as64(layer(x)), expected, rtol=1e-4, atol=1e-5)

    def test_dropout_acts_before_the_norm_while_training(self, layer, monkeypatch):
        layer.dropout = 0.05
        x = torch.randn(8, 6)
        dropped = torch.tensor([3, 17, 41, 42])  # 5 % of 80 entries
        asked = []
        monkeypatch.setattr(torch, "randint", lambda high, size, **_: asked.append((high, size)) or dropped)
        linear = as64(x) @ as64(layer.weight).T + as64(layer.bias)
        linear.reshape(-1)[dropped] = 0
        expected = plain_mish(plain_layer_norm(linear / 0.95, layer.ln))  # dropout rescales what it keeps
        np.testing.assert_allclose(as64(layer(x)), expected, rtol=1e-3, atol=1e-4)
        assert asked == [(80, (4,))]

    def test_no_dropout_in_evaluation(self, layer):
        layer.dropout = 0.5
        x = torch.randn(8, 6)
        trained = layer(x)
        evaluated = layer.eval()(x)
        layer.dropout = 0.0
        torch.testing.assert_close(evaluated, layer(x), rtol=0, atol=0)
        assert not torch.allclose(trained, evaluated)

    def test_gradient_through_dropout(self):
        layer = NormedLinear(3, 8, dropout=0.3).double()
        torch.nn.init.normal_(layer.weight)

        def forward(x, weight, bias):
            torch.manual_seed(5)  # the same entries are dropped each time
            return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

        x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
        assert gradcheck(forward, (x, layer.weight, layer.bias))


class TestEnsembleLinear:
    @pytest.fixture
    def ensemble(self):
        layer = EnsembleLinear(3, 6, 10)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
        return layer

    def member(self, ensemble, m, x, keep=1):
        """One network of the ensemble, plainly; ``keep`` [rows, 10] marks what dropout keeps."""
        y = (x @ as64(ensemble.weight[m]).T + as64(ensemble.bias[m])) * keep
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
        return plain_mish(y * as64(ensemble.ln.weight[m]) + as64(ensemble.ln.bias[m]))

    def test_each_member_is_a_layer_of_its_own(self, ensemble):
        x = torch.randn(3, 5, 6)
        y = ensemble(x)
        for m in range(3):
            expected = self.member(ensemble, m, as64(x[m]))
            np.testing.assert_allclose(as64(y[m]), expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(as64(ensemble.forward_member(x[m], m)), expected, rtol=1e-4, atol=1e-5)

    def test_dropout_acts_before_the_norm_while_training(self, ensemble, monkeypatch):
        ensemble.dropout = 0.02
        x, dropped = torch.randn(3, 5, 6), torch.tensor([0, 77, 149])
        monkeypatch.setattr(torch, "randint", lambda *_, **__: dropped)
        keep = np.ones(150)
        keep[dropped] = 0
        keep = keep.reshape(3, 5, 10)
        trained, evaluated = ensemble(x), ensemble.eval()(x)
        for m in range(3):
            with_dropout = self.member(ensemble, m, as64(x[m]), keep[m])
            np.testing.assert_allclose(as64(trained[m]), with_dropout, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                as64(evaluated[m]), self.member(ensemble, m, as64(x[m])), rtol=1e-4, atol=1e-5
            )

    def test_last_layer_stays_float32_under_autocast(self):
        layer = EnsembleLinear(3, 64, 4, normed=False)
        torch.nn.init.normal_(layer.bias)
        x = torch.randn(3, 5, 64)
        expected = np.einsum("mri,moi->mro", as64(x), as64(layer.weight)) + as64(layer.bias)[:, None]
        with torch.autocast("cpu", torch.bfloat16):
            y, one = layer(x), layer.forward_member(x[1], 1)
        assert y.dtype == one.dtype == torch.float32
        np.testing.assert_allclose(as64(y), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(as64(one), expected[1], rtol=1e-4, atol=1e-5)

    def test_gradient_reaches_every_parameter(self, ensemble):
        ensemble(torch.randn(3, 5, 6)).square().sum().backward()
        for name, parameter in ensemble.named_parameters():
            assert parameter.grad.flatten(1).abs().sum(1).min() > 0, name


@pytest.mark.parametrize("rows", [3, 200], ids=["few", "many"])
class TestLinear:
    """Small and large products go different ways; both are x W^T + b, and so are their gradients."""

    def make(self, rows):
        x, weight, bias = (
            torch.randn(*shape, requires_grad=True) for shape in ((rows, 90), (110, 90), (110,))
        )
        return x, weight, bias

    def check(self, function, x, weight, bias):
        """Value and gradients against NumPy, where x is [rows, in]."""
        y = function(x, weight, bias)
        expected = as64(x) @ as64(weight).T + (0 if bias is None else as64(bias))
        np.testing.assert_allclose(as64(y), expected, rtol=1e-4, atol=1e-4)
        upstream = torch.randn_like(y)
        inputs = [x, weight] if bias is None else [x, weight, bias]
        gradients = torch.autograd.grad(y, inputs, upstream)
        g = as64(upstream)
        plain = g @ as64(weight), g.T @ as64(x), g.sum(0)
        for gradient, expected in zip(gradients, plain, strict=False):
            np.testing.assert_allclose(as64(gradient), expected, rtol=1e-3, atol=1e-3)

    def test_value_and_gradients(self, rows):
        self.check(linear, *self.make(rows))

    def test_without_bias(self, rows):
        x, weight, _ = self.make(rows)
        self.check(linear, x, weight, None)

    def test_any_layout_in_memory(self, rows):
        x, weight, bias = self.make(rows)
        strided = torch.randn(90, rows, requires_grad=True).t()
        transposed = torch.randn(90, 110, requires_grad=True).t()
        self.check(linear, strided, weight, bias)
        self.check(linear, x, transposed, bias)
        self.check(linear, x[:1].expand(rows, -1), weight, bias)

    def test_leading_dimensions(self, rows):
        x, weight, bias = self.make(rows)
        y = linear(x.expand(2, 3, rows, 90), weight, bias)
        assert y.shape == (2, 3, rows, 110)
        expected = as64(x) @ as64(weight).T + as64(bias)
        np.testing.assert_allclose(as64(y[1, 2]), expected, rtol=1e-4, atol=1e-4)

    def test_no_gradient_where_none_is_needed(self, rows):
        x, weight, bias = self.make(rows)
        with torch.no_grad():
            assert not linear(x, weight, bias).requires_grad
        frozen = linear(x, weight.detach(), bias.detach())
        (gradient,) = torch.autograd.grad(frozen.sum(), x)
        expected = np.broadcast_to(as64(weight).sum(0), (rows, 90))
        np.testing.assert_allclose(as64(gradient), expected, rtol=1e-4, atol=1e-4)

    def test_second_derivative_is_right_or_refused(self, rows):
        x, weight, bias = self.make(rows)
        slope = torch.autograd.grad(linear(x, weight, bias).square().sum(), x, create_graph=True)[0]
        try:
            (curvature,) = torch.autograd.grad(slope.sum(), x)
        except RuntimeError:
            return
        expected = 2 * (as64(weight) @ np.ones(90)) @ as64(weight)
        np.testing.assert_allclose(
            as64(curvature), np.broadcast_to(expected, (rows, 90)), rtol=1e-3, atol=1e-2
        )


class TestDropBeforeNorm:
    def test_drops_about_the_share(self):
        zeros = drop_before_norm(torch.ones(1000, 100), 0.01) == 0
        assert 900 < zeros.sum() <= 1000
        for part in (*zeros.chunk(4, 0), *zeros.chunk(4, 1)):  # everywhere alike
            assert 180 < part.sum() < 320

    def test_draws_anew_each_time(self):
        first, second = (drop_before_norm(torch.ones(100, 10), 0.1) for _ in range(2))
        assert not torch.equal(first, second)

    def test_dropped_entries_pass_no_gradient(self):
        x = torch.randn(50, 20, requires_grad=True)
        slopes = torch.randn(50, 20)
        y = drop_before_norm(x * 1, 0.1)
        (y * slopes).sum().backward()
        torch.testing.assert_close(x.grad, slopes * (y != 0))


class TestOutputLinear:
    def test_stays_float32_under_autocast(self):
        layer = OutputLinear(64, 3)
        x = torch.randn(5, 64)
        expected = as64(x) @ as64(layer.weight).T + as64(layer.bias)
        with torch.autocast("cpu", torch.bfloat16):
            y, rounded = layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias)
        assert (y.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
        np.testing.assert_allclose(as64(y), expected, rtol=1e-4, atol=1e-6)

    def test_takes_what_autocast_layers_put_out(self):
        network = mlp(4, [8], 2)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = network[0](torch.randn(3, 4))
            assert hidden.dtype == torch.bfloat16
            assert network[1](hidden).dtype == torch.float32


def test_mlp_drops_in_its_first_layer_only():
    network = mlp(4, [8, 8], 2, dropout=0.5)
    assert [layer.dropout for layer in network[:2]] == [0.5, 0.0]
    assert isinstance(network[-1], OutputLinear)
    assert network(torch.zeros(3, 4)).shape == (3, 2)


def test_initialization():
    network = mlp(300, [400], 200).apply(initialize)
    for layer in network:
        weights = as64(layer.weight)
        assert abs(weights.std() - 0.02) < 2e-4
        assert abs(weights.mean()) < 2e-4
        assert np.all(as64(layer.bias) == 0)
    assert torch.all(network[0].ln.weight == 1)
    assert torch.all(network[0].ln.bias == 0)
