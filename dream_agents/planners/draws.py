"""The random numbers of a decision as inputs, so that a decision is a pure function of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

#: What PyTorch draws, by the distribution's name here.
NORMAL, UNIFORM, EXPONENTIAL, PERMUTATION = "normal", "uniform", "exponential", "permutation"


class Draw(NamedTuple):
    """One call for random numbers.

    :param kind: "normal" (standard), "uniform" (from 0 to 1), "exponential" (of rate 1), or "permutation", which are
        the whole numbers below its length in any order
    :param shape: of the tensor
    :param dtype: of the tensor
    """

    kind: str
    shape: torch.Size
    dtype: torch.dtype

    def draw(self, generator: torch.Generator) -> Tensor:
        """The numbers that PyTorch's own function takes from ``generator``, which is on the CPU."""
        if self.kind == NORMAL:
            return torch.randn(self.shape, dtype=self.dtype, generator=generator)
        if self.kind == UNIFORM:
            return torch.rand(self.shape, dtype=self.dtype, generator=generator)
        if self.kind == PERMUTATION:
            return torch.randperm(self.shape.numel(), dtype=self.dtype, generator=generator)
        return torch.empty(self.shape, dtype=self.dtype).exponential_(1, generator=generator)


class RandomInputs(TorchFunctionMode):
    """While this is active, functions that are given ``generator`` take what ``source`` gives instead of drawing.

    ``torch.randn``, ``torch.rand`` and ``torch.randperm`` are understood, and ``torch.multinomial`` of one sample:
    PyTorch divides the weights by exponential numbers and takes the largest, and so does this.

    :param generator: what the numbers would be drawn from
    :param source: returns the numbers of a draw
    :param owner: what is said to draw, in messages
    :raises ValueError: (when it is called) for any other function
    """

    def __init__(self, generator: torch.Generator, source: Callable[[Draw], Tensor], owner: str):
        super().__init__()
        self._generator, self._source, self._owner = generator, source, owner

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the function, or take its numbers from the source."""
        kwargs = kwargs or {}
        if kwargs.get("generator") is not self._generator:
            return function(*args, **kwargs)
        dtype = kwargs.get("dtype") or torch.float32
        if function in (torch.randn, torch.rand):
            shape = args[0] if args and not isinstance(args[0], int) else args
            kind = NORMAL if function is torch.randn else UNIFORM
            return self._source(Draw(kind, torch.Size(kwargs.get("size", shape)), dtype))
        if function is torch.randperm:
            return self._source(Draw(PERMUTATION, torch.Size(args[:1]), torch.int64))
        if function is torch.multinomial and args[1:2] == (1,):
            weights: Tensor = args[0]
            exponential = self._source(Draw(EXPONENTIAL, weights.shape, weights.dtype))
            return (weights / exponential).argmax(-1, keepdim=True)
        raise ValueError(
            f"{self._owner} draws random numbers by torch.{function.__name__}, which can't be made an input: only "
            "torch.randn, torch.rand, torch.randperm, and torch.multinomial of one sample can"
        )


def recorded(decide: Callable[[torch.Generator], Any], generator: torch.Generator, owner: str) -> list[Draw]:
    """What a decision draws, in order.

    :param decide: makes the decision, and draws from the generator that it is given
    :param generator: only tells whose draws are meant
    :param owner: as for :class:`RandomInputs`
    """
    draws: list[Draw] = []
    source = torch.Generator().manual_seed(0)

    def draw(one: Draw) -> Tensor:
        draws.append(one)
        return one.draw(source)

    with RandomInputs(generator, draw, owner):
        decide(generator)
    return draws


def packed(draws: Sequence[Draw], numbers: Sequence[Tensor]) -> dict[str, Tensor]:
    """All numbers of a kind as one vector, by kind, in the order in which they are drawn."""
    kinds = dict.fromkeys(draw.kind for draw in draws)
    return {
        kind: torch.cat([n.flatten() for d, n in zip(draws, numbers, strict=True) if d.kind == kind])
        for kind in kinds
    }


def unpacked(draws: Sequence[Draw], vectors: dict[str, Tensor]) -> Iterator[Tensor]:
    """The numbers of each draw from the vectors of :func:`packed`."""
    used = dict.fromkeys(vectors, 0)
    for kind, shape, _ in draws:
        start = used[kind]
        used[kind] += shape.numel()
        yield vectors[kind][start : used[kind]].view(shape)
