"""Drop-in functions that take the faster of PyTorch's kernels; each is its expression up to rounding.

On a CPU that is not Intel's, PyTorch multiplies float32 matrices with MKL, which uses half of the vector width.
oneDNN, which PyTorch ships as well, uses all of it; ``mkldnn::_linear_pointwise`` is its entry for dense float32
matrices (TorchInductor's, without documentation, hence the check before its first use).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

#: multiplications below which the set-up of a oneDNN call costs more than it saves
_FEW_PRODUCTS = 1_000_000
#: up to here one call of PyTorch's kernel is cheaper than several vectorized ones
FEW_ELEMENTS = 4096


_tracing = False


@contextmanager
def tracing() -> Iterator[None]:
    """Within this, only PyTorch's documented operators are called, and nothing asks a tensor for its values.

    It is for :func:`torch.fx.experimental.proxy_tensor.make_fx`, during which :func:`torch.compiler.is_compiling` is
    false.
    """
    global _tracing
    before, _tracing = _tracing, True
    try:
        yield
    finally:
        _tracing = before


def is_tracing() -> bool:
    """Whether operations are recorded, to be run later on other values."""
    return _tracing or torch.compiler.is_compiling()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` for ``x [..., in]``, ``weight [out, in]``, ``bias [out]``."""
    if torch.compiler.is_dynamo_compiling():
        return _compiled_linear(x, weight, bias)
    if not _takes_onednn(x, weight):
        return F.linear(x, weight, bias)
    # oneDNN takes a hundred times as long for the gradient where rows are parts of longer ones.
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        product = _Linear.apply(rows, weight, bias)
    else:
        product = onednn_product(rows, weight, bias)
    return product if x.dim() == 2 else product.view(*x.shape[:-1], -1)


def mish(x: Tensor) -> Tensor:
    """``x * tanh(softplus(x))`` (Misra 2019)."""
    if not x.is_cpu or x.numel() <= FEW_ELEMENTS or _tracing:
        return F.mish(x)
    if is_tracing():
        p = torch.sigmoid(x)
        p = p * (2 - p)
        return x * p / (2 - p)
    if torch.is_grad_enabled() and x.requires_grad:
        return _CPUMish.apply(x)
    return sigmoid_and_share(x)[1].mul_(x)


def group_softmax(x: Tensor, group_size: int) -> Tensor:
    """``x.unflatten(-1, (-1, group_size)).softmax(-1).flatten(-2)`` for ``x [..., Z]``."""
    groups = x.unflatten(-1, (-1, group_size))
    if x.is_cpu and x.numel() > FEW_ELEMENTS:
        # A softmax over eight neighbours runs element by element; over a strided dimension it is vectorized.
        return groups.transpose(-1, -2).contiguous().softmax(-2).transpose(-1, -2).flatten(-2)
    return groups.softmax(-1).flatten(-2)


# ------------------------------------------------------------------ products


def packable(weight: Tensor) -> bool:
    """Whether products with ``weight`` can go to oneDNN: float32 on the CPU, outside autocast and compilation."""
    return _is_plain(weight) and not is_tracing() and _onednn_works()


def onednn_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """oneDNN's ``x @ weight.T + bias`` for ``x [rows, in]`` outside autograd, with a :func:`packable` weight."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return _pull(onednn_product, ctx, *grad_outputs)


def _pull(product: Callable[..., Tensor], ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of ``x @ weight.T + bias`` by the products that made it, as far as they are needed."""
    x, weight = ctx.saved_tensors
    return (
        product(grad, weight.t()) if ctx.needs_input_grad[0] else None,
        product(grad.t(), x.t()) if ctx.needs_input_grad[1] else None,
        grad.sum(0) if ctx.needs_input_grad[2] else None,
    )


def _compiled_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """:func:`linear` within a function that ``torch.compile`` compiles."""
    if not (_is_large(x, weight) and _is_plain(weight)):
        return F.linear(x, weight, bias)
    return compiled_product(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)


@torch.library.custom_op("dream_agents::product", mutates_args=())
def compiled_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`onednn_product` as one operator, which ``torch.compile`` leaves as it is; it would take MKL's."""
    return onednn_product(x, weight, bias) if _onednn_works() else F.linear(x, weight, bias)


@compiled_product.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x.new_empty(len(x), len(weight))


def _keep_factors(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


compiled_product.register_autograd(partial(_pull, compiled_product), setup_context=_keep_factors)


def _takes_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether the product is one for oneDNN, and large enough."""
    return _is_large(x, weight) and packable(weight)


def _is_large(x: Tensor, weight: Tensor) -> bool:
    return x.dtype == weight.dtype and x.numel() * len(weight) >= _FEW_PRODUCTS


def _is_plain(weight: Tensor) -> bool:
    """Whether a weight is float32 on the CPU, outside autocast."""
    return weight.is_cpu and weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


@cache
def _onednn_works() -> bool:
    """Whether this build of PyTorch has oneDNN's product and it gives what it should, gradients included."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((3, 4), (5, 4), (5,)))
    expected = F.linear(x, weight, bias)
    try:
        pairs = (
            (onednn_product(x, weight, bias), expected),
            (onednn_product(expected, weight.t()), expected @ weight),
            (onednn_product(expected.t(), x.t()), expected.t() @ x),
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(torch.allclose(ours, reference, atol=1e-4) for ours, reference in pairs)


# ---------------------------------------------------------------------- Mish


class _CPUMish(torch.autograd.Function):
    """Mish through one sigmoid: x * t with t = p / (2 - p), p = s (2 - s), s = sigmoid(x); slope t + x s (1 - t^2).

    PyTorch's own kernel takes most of an update's time on a CPU, since it evaluates exp, log1p and tanh for each
    element, forwards and backwards.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        s, t = sigmoid_and_share(x)
        ctx.save_for_backward(x, s, t)
        return x * t

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return mish_slope(*ctx.saved_tensors).mul_(grad_outputs[0])


def sigmoid_and_share(x: Tensor) -> tuple[Tensor, Tensor]:
    """``sigmoid(x)`` and ``mish(x) / x = tanh(softplus(x))``."""
    s = torch.sigmoid(x)
    p = (2 - s).mul_(s)
    return s, p.div_(2 - p)


def mish_slope(x: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Derivative of :func:`mish` at ``x``, from what :func:`sigmoid_and_share` gave."""
    # t - x s (t^2 - 1), in place: what is allocated costs more than what is computed.
    fall = (t * t).sub_(1).mul_(s).mul_(x)
    return torch.sub(t, fall)
