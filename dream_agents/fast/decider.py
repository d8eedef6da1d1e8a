"""The fast way to a decision: packed weights, one pass, compiled, or a CUDA graph, whichever fits."""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from dream_agents.fast.accelerate import (
    fast_model,
    fast_planner,
    has_fast_model,
    has_own_methods,
    uses_autograd,
)
from dream_agents.fast.compiled import CompiledDecision
from dream_agents.fast.graphed import GraphedDecision
from dream_agents.fast.weights import WeightsWatch
from dream_agents.models.base import WorldModel
from dream_agents.models.kernels import packable
from dream_agents.planners import Memory, Plan, Planner
from dream_agents.planners.base import clocked
from dream_agents.planners.decision import Decider, decide

#: calls with the same planner and number of environments before a CUDA graph is captured
_CALLS_BEFORE_CAPTURE = 3
#: graphs that are kept; each holds memory on the GPU
_MOST_GRAPHS = 8

#: planner, number of environments, and whether exploration noise is left out
_Key = tuple[int, int, bool]


class FastDecider(Decider):
    """Gives what :class:`Decider` gives, up to rounding, sooner.

    On a CPU, weights are packed from the second decision with the same ones on. On a CUDA device, decisions that are
    asked for again and again become CUDA graphs. A model with methods of its own, or with forward hooks, is called as
    it is.

    :param model: the world model
    """

    def __init__(self, model: WorldModel):
        super().__init__(model)
        #: forward hooks, which somebody may put into the model at any time; twins and graphs would pass them by
        self._hooks = [
            hooks
            for module in model.modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]
        self._watch: WeightsWatch | None = None
        self._unpacked: WorldModel | None = None
        self._packed: WorldModel | None = None
        self._compiled: dict[tuple[int, bool], CompiledDecision] = {}
        self._graphs: dict[_Key, GraphedDecision] = {}
        self._calls: Counter[_Key] = Counter()
        self._refused: list[Planner] = []

    def plan(
        self,
        obs: Tensor,
        memory: Memory,
        episode_start: Tensor,
        planner: Planner,
        deterministic: bool,
        generator: torch.Generator,
    ) -> tuple[Plan, Memory]:
        """Plan as :meth:`Decider.plan`."""
        graphs = obs.is_cuda and not has_own_methods(self.model) and not any(self._hooks)
        graph = self._graph(obs, memory, planner, deterministic) if graphs else None
        if graph is not None:
            return graph(obs, memory, episode_start, generator)
        model = self.fast_model()
        planner = fast_planner(model, planner)
        with _without_gradients(planner):
            return decide(model, obs, memory, episode_start, planner, deterministic, generator)

    def act(
        self,
        obs: Tensor,
        memory: Memory,
        episode_start: Tensor,
        planner: Planner,
        deterministic: bool,
        generator: torch.Generator,
    ) -> tuple[Tensor, Memory]:
        """Actions and memory as :meth:`Decider.act`, by what was compiled for such a call if it still holds."""
        compiled = self._compiled.get((len(obs), deterministic))
        if compiled is not None and compiled.made_for(planner):
            if compiled.weights_hold():
                return compiled(obs, memory, episode_start, generator)
            del self._compiled[len(obs), deterministic]
            warnings.warn(
                "the weights have changed since compile_planner(); predict plans without it until it is called again",
                stacklevel=4,
            )
        plan, memory = self.plan(obs, memory, episode_start, planner, deterministic, generator)
        return plan.action, memory

    def compile(self, obs: Tensor, memory: Memory, planner: Planner, deterministic: bool) -> None:
        """Compile decisions for as many environments as there are ``obs``; see :class:`CompiledDecision`."""
        self._compiled.pop((len(obs), deterministic), None)  # frees what the last one mapped
        compiled = CompiledDecision(self.model, planner, obs, memory, deterministic)
        self._compiled[len(obs), deterministic] = compiled

    def fast_model(self) -> WorldModel:
        """The world model's faster twin, if it has one, with the weights that it has now."""
        if not has_fast_model(self.model) or any(self._hooks):
            return self.model
        if self._watch is None or not self._watch.same_places():
            self._watch, self._unpacked, self._packed = (
                WeightsWatch([self.model]),
                fast_model(self.model),
                None,
            )
            return self._unpacked
        assert self._unpacked is not None
        if not packable(next(self.model.parameters())):
            return self._unpacked
        if not self._watch.unchanged():
            self._watch.renew()
            self._packed = None
            return self._unpacked
        if self._packed is None:
            self._packed = fast_model(self.model, pack=True)
        return self._packed

    def _graph(
        self, obs: Tensor, memory: Memory, planner: Planner, deterministic: bool
    ) -> GraphedDecision | None:
        """The CUDA graph of such a decision, captured once it has been asked for a few times."""
        if clocked(planner) is not None or any(refused is planner for refused in self._refused):
            return None
        key = id(planner), len(obs), deterministic
        graph = self._graphs.get(key)
        if graph is not None and graph.made_for(planner) and graph.weights_hold():
            return graph
        self._graphs.pop(key, None)
        self._calls[key] += 1
        if self._calls[key] < _CALLS_BEFORE_CAPTURE:
            return None
        del self._calls[key]
        try:
            graph = GraphedDecision(self.model, planner, obs, memory, deterministic)
        except RuntimeError as error:
            name, reason = type(planner).__name__, str(error).splitlines()[0]
            warnings.warn(f"{name} plans without a CUDA graph ({reason})", stacklevel=5)
            self._refused.append(planner)
            return None
        if len(self._graphs) >= _MOST_GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        self._graphs[key] = graph
        return graph


def _without_gradients(planner: Planner) -> AbstractContextManager[object]:
    # Inference mode saves a tenth of the time, and nothing in it can be differentiated.
    return torch.no_grad() if uses_autograd(planner) else torch.inference_mode()
