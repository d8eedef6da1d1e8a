"""A whole decision as one compiled function, for weights that stay as they are."""

from __future__ import annotations

import copy
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dream_agents.fast.accelerate import fast_model, fast_planner, uses_autograd
from dream_agents.fast.weights import WeightsWatch
from dream_agents.models.base import WorldModel
from dream_agents.planners import Memory, Planner
from dream_agents.planners.base import clocked
from dream_agents.planners.decision import decide


class CompiledDecision:
    """:func:`decide` for one planner and one number of environments, on the CPU.

    PyTorch's ahead-of-time compiler turns some three hundred operations into a few dozen and lays the weights out as
    they are read. Random numbers are drawn outside, as the planner draws them, so results are the same up to rounding.

    :param model: the world model
    :param planner: draws no random numbers but by ``torch.randn``
    :param obs: observations ``[B, ...]`` as they will come; their values don't matter
    :param memory: the memory at an episode's start for ``B`` environments
    :param deterministic: whether to leave out exploration noise
    :raises ValueError: for a model that is not on the CPU, and planners that can't be compiled
    :raises RuntimeError: if there is no C++ compiler
    """

    def __init__(self, model: WorldModel, planner: Planner, obs: Tensor, memory: Memory, deterministic: bool):
        _check(model, planner)
        self._planner, self._options = planner, copy.deepcopy(vars(planner))
        self._watch = WeightsWatch([model])
        episode_start = torch.zeros(len(obs), dtype=torch.bool)
        # The compiler writes to what it is given.
        decision = _Decision(copy.deepcopy(model), copy.deepcopy(planner), deterministic)
        with torch.no_grad():  # weights become constants only where there is no gradient
            self._draws = decision.record(obs, memory, episode_start)
            inputs = (obs, memory, episode_start, self._normals(torch.Generator()))
            self._run = _compile(torch.export.export(decision, inputs, strict=False))

    def made_for(self, planner: Planner) -> bool:
        """Whether this decides as ``planner`` would."""
        return planner is self._planner and same_options(vars(planner), self._options)

    def weights_hold(self) -> bool:
        """Whether the world model's weights are those that were compiled."""
        return self._watch.unchanged()

    def __call__(
        self, obs: Tensor, memory: Memory, episode_start: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Memory]:
        """Actions ``[B, A]`` and the new memory."""
        # Compiled code takes the layout of its inputs for granted.
        obs, memory = obs.contiguous(), {name: value.contiguous() for name, value in memory.items()}
        return self._run(obs, memory, episode_start, self._normals(generator))

    def _normals(self, generator: torch.Generator) -> list[Tensor]:
        return [torch.randn(shape, dtype=dtype, generator=generator) for shape, dtype in self._draws]


def same_options(options: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether options are what they were."""
    return options.keys() == before.keys() and all(_same(options[name], before[name]) for name in options)


def _same(value: Any, before: Any) -> bool:
    """Whether an option is what it was; what can't be compared is taken to have changed."""
    try:
        if isinstance(value, Tensor | np.ndarray):
            return np.array_equal(value, before)
        return bool(value == before)
    except (RuntimeError, TypeError, ValueError):
        return False


def _check(model: WorldModel, planner: Planner) -> None:
    name = type(planner).__name__
    if model.device.type != "cpu":
        raise ValueError(f"planning is compiled on the CPU only, and the world model is on {model.device}")
    clock = clocked(planner)
    if clock is not None:
        raise ValueError(f"a compiled decision has a fixed number of operations, and {clock}")
    if uses_autograd(fast_planner(fast_model(model), planner)):
        raise ValueError(
            f"{name} on {type(model).__name__} can't be compiled: it differentiates by autograd, "
            "or does not say `uses_autograd = False`"
        )
    missing = missing_compiler()
    if missing is not None:
        raise RuntimeError(
            f"compiling needs a C++ compiler, and {missing!r} was not found; install it "
            "(Debian: apt install g++) or name another one in the environment variable CXX"
        )


def missing_compiler() -> str | None:
    """Name of the C++ compiler that PyTorch would call, if there is none by that name."""
    if sys.platform == "win32":
        return None  # PyTorch searches, and says what it did not find
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else compiler


class _Decision(nn.Module):
    """:func:`decide` as a function of tensors only."""

    def __init__(self, model: WorldModel, planner: Planner, deterministic: bool):
        super().__init__()
        self.model, self.planner, self.deterministic = model, planner, deterministic

    def forward(
        self, obs: Tensor, memory: Memory, episode_start: Tensor, normals: list[Tensor]
    ) -> tuple[Tensor, Memory]:
        remaining = iter(normals)
        return self._decide(obs, memory, episode_start, lambda *args, **kwargs: next(remaining))

    def record(
        self, obs: Tensor, memory: Memory, episode_start: Tensor
    ) -> list[tuple[torch.Size, torch.dtype]]:
        """Shapes and types of what the planner draws."""
        drawn: list[Tensor] = []

        def draw(*args: Any, **kwargs: Any) -> Tensor:
            drawn.append(torch.randn(*args, **kwargs))
            return drawn[-1]

        self._decide(obs, memory, episode_start, draw)
        return [(normal.shape, normal.dtype) for normal in drawn]

    def _decide(
        self, obs: Tensor, memory: Memory, episode_start: Tensor, draw: Callable[..., Tensor]
    ) -> tuple[Tensor, Memory]:
        model, generator = fast_model(self.model), torch.Generator()
        planner = fast_planner(model, self.planner)
        with _Drawing(draw, generator, type(self.planner).__name__):
            plan, memory = decide(model, obs, memory, episode_start, planner, self.deterministic, generator)
        return plan.action, memory


class _Drawing(TorchFunctionMode):
    """Calls ``draw`` instead of ``torch.randn`` where it is given the generator."""

    def __init__(self, draw: Callable[..., Tensor], generator: torch.Generator, planner: str):
        super().__init__()
        self._draw, self._generator, self._planner = draw, generator, planner

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is not self._generator:
            return function(*args, **kwargs)
        if function is torch.randn:
            return self._draw(*args, **kwargs)
        raise ValueError(
            f"{self._planner} can't be compiled: it draws random numbers by torch.{function.__name__}, "
            "and only torch.randn is understood"
        )


def _compile(program: torch.export.ExportedProgram) -> Callable[..., Any]:
    import torch._inductor  # takes a second

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch to itself
        package = torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(Path(folder) / "decision.pt2"),
            inductor_configs={"freezing": True},  # constants are laid out as they are read
        )
        return torch._inductor.aoti_load_package(package)
