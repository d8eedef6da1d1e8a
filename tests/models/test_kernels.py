"""Kernels equal the expressions that they stand for."""

import pytest
import torch
import torch.nn.functional as F

from dream_agents.models.kernels import compiled_product


@pytest.fixture
def factors():
    generator = torch.Generator().manual_seed(0)
    shapes = (7, 12), (5, 12), (5,)
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


class TestCompiledProduct:
    def test_is_linear_with_its_gradients(self, factors):
        product, expected = compiled_product(*factors), F.linear(*factors)
        torch.testing.assert_close(product, expected, atol=1e-5, rtol=1e-5)
        slope = torch.randn_like(expected)
        ours, reference = (torch.autograd.grad(y, factors, slope) for y in (product, expected))
        for one, other in zip(ours, reference, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

    def test_is_an_operator_that_the_compiler_can_trust(self, factors):
        torch.library.opcheck(torch.ops.dream_agents.product.default, tuple(factors))
