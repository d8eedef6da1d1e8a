"""A whole decision as one CUDA graph."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from dream_agents.fast.accelerate import fast_model, fast_planner
from dream_agents.fast.compiled import same_options
from dream_agents.fast.weights import WeightsWatch
from dream_agents.models.base import WorldModel
from dream_agents.planners import Memory, Plan, Planner
from dream_agents.planners.base import Described
from dream_agents.planners.decision import decide

_WARM_UP_CALLS = 3


class FixedDecision:
    """:func:`decide` on tensors that stay where they are, as a CUDA graph needs it.

    Weights may change where they are, as they do while learning.

    :param model: the world model, on any device
    :param planner: the planner
    :param obs: observations ``[B, ...]`` as they will come; their values don't matter
    :param memory: the memory at an episode's start for ``B`` environments
    :param deterministic: whether to leave out exploration noise
    """

    def __init__(self, model: WorldModel, planner: Planner, obs: Tensor, memory: Memory, deterministic: bool):
        self._model, self._planner, self._deterministic = model, planner, deterministic
        self._options = copy.deepcopy(vars(planner))
        self._watch = WeightsWatch([model])
        self._obs, self._memory = obs.clone(), {name: value.clone() for name, value in memory.items()}
        self._starts = torch.ones(len(obs), dtype=torch.bool, device=obs.device)
        self.generator = torch.Generator(obs.device)
        self._run: Callable[[], tuple[Plan, Memory]] = self.decide

    def decide(self) -> tuple[Plan, Memory]:
        """Decide on what the fixed tensors hold."""
        model = fast_model(self._model)  # without copies of weights, unless they are made in the graph
        planner = fast_planner(model, self._planner)
        with torch.no_grad():
            return decide(
                model, self._obs, self._memory, self._starts, planner, self._deterministic, self.generator
            )

    def made_for(self, planner: Planner) -> bool:
        """Whether this decides as ``planner`` would."""
        return planner is self._planner and same_options(vars(planner), self._options)

    def weights_hold(self) -> bool:
        """Whether the world model's weights are where they were."""
        return self._watch.same_places()

    def __call__(
        self, obs: Tensor, memory: Memory, episode_start: Tensor, generator: torch.Generator
    ) -> tuple[Plan, Memory]:
        """The plan and the new memory; what the plan tells the log has to be read before the next call."""
        self._obs.copy_(obs)
        self._starts.copy_(episode_start)
        for name, value in memory.items():
            self._memory[name].copy_(value)
        self.generator.set_state(generator.get_state())
        plan, new = self._run()
        generator.set_state(self.generator.get_state())
        kept = {name: getattr(plan, name).clone() for name in ("action", "mean", "std", "value")}
        info = plan.info.again() if isinstance(plan.info, Described) else plan.info
        plan = dataclasses.replace(plan, **kept, memory={}, info=info)
        return plan, {name: value.clone() for name, value in new.items()}


class GraphedDecision(FixedDecision):
    """:class:`FixedDecision` captured in a CUDA graph: the GPU is given hundreds of kernels in one call.

    A plan for few environments is bound by launching kernels one by one, not by what they compute. Results equal
    the results of the same kernels launched one by one.

    :param model: the world model, on a CUDA device; the other parameters are as in :class:`FixedDecision`
    :raises RuntimeError: if the planner waits for values on the GPU, which a graph can't (MPPI's choice of two
        Q-functions does)
    """

    def __init__(self, model: WorldModel, planner: Planner, obs: Tensor, memory: Memory, deterministic: bool):
        super().__init__(model, planner, obs, memory, deterministic)
        with torch.cuda.device(obs.device):
            with side_stream(obs.device):
                for _ in range(_WARM_UP_CALLS):
                    self.decide()
                with waiting_is_an_error():
                    self.decide()
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(self.generator)  # draws from its state in each replay
            with torch.cuda.graph(self._graph):
                self._outputs = self.decide()
        self._run = self._replay

    def _replay(self) -> tuple[Plan, Memory]:
        self._graph.replay()
        return self._outputs


@contextmanager
def side_stream(device: torch.device) -> Iterator[None]:
    """Run kernels on a stream of their own, as has to come before a capture; see PyTorch's notes on CUDA graphs."""
    stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        yield
    current.wait_stream(stream)


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Raise a ``RuntimeError`` for what would break a capture, before it can."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
