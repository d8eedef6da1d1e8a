import pytest
import torch

from dream_agents.export import operators

X = torch.linspace(-15, 25, 4001)


def test_mish_and_its_gradient_are_those_of_float64():
    exact = X.double().requires_grad_()
    expected = torch.nn.functional.mish(exact)
    (slope,) = torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(operators.mish(X), expected.float(), rtol=4e-7, atol=1e-7)
    found = operators.mish_backward(torch.ones_like(X), X)
    torch.testing.assert_close(found, slope.float(), rtol=1e-6, atol=1e-6)


def test_sigmoid_keeps_its_digits_where_it_is_small():
    expected = torch.sigmoid(X.double()).float()
    torch.testing.assert_close(operators.sigmoid(X), expected, rtol=5e-7, atol=0)
    assert operators.sigmoid(torch.tensor(-200.0)) == 0


def test_copysign_takes_the_sign_of_the_other():
    size, sign = torch.tensor([1.0, -2.0, 3.0, 0.0]), torch.tensor([-1.0, 1.0, 0.0, -5.0])
    torch.testing.assert_close(operators.copysign(size, sign), torch.copysign(size, sign))


@pytest.mark.parametrize("dim", [0, 1])
def test_cumprod_multiplies_along_a_dimension(dim):
    x = torch.randn(3, 4)
    torch.testing.assert_close(operators.cumprod(x, dim), x.cumprod(dim))


@pytest.mark.parametrize("affine", [False, True])
def test_the_gradient_of_a_layer_norm(affine):
    x = torch.randn(5, 8, dtype=torch.float64)
    weight = torch.randn(8, dtype=torch.float64) if affine else None
    gradient = torch.randn_like(x)
    _, mean, rstd = torch.native_layer_norm(x, [8], weight, None, 1e-5)
    mask = [True, False, False]
    arguments = (gradient, x, [8], mean, rstd, weight, None, mask)
    expected = torch.ops.aten.native_layer_norm_backward(*arguments)[0]
    torch.testing.assert_close(operators.layer_norm_backward(*arguments)[0], expected)
