"""A whole decision as one CUDA graph, for weights that stay as they are."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dream_agents.agents.compiled import same_options
from dream_agents.agents.decision import decide
from dream_agents.models.base import WorldModel
from dream_agents.planners import Memory, Planner

_WARM_UP_CALLS = 3


class FixedDecision:
    """:func:`decide` on tensors that stay where they are, as a CUDA graph needs it.

    :param model: the world model, on any device
    :param planner: the planner
    :param obs: observations ``[B, ...]`` as they will come; their values don't matter
    :param memory: the memory at an episode's start for ``B`` environments
    :param deterministic: whether to leave out exploration noise
    """

    def __init__(self, model: WorldModel, planner: Planner, obs: Tensor, memory: Memory, deterministic: bool):
        self._model, self._planner, self._deterministic = model.prepared(pack=False), planner, deterministic
        self._options = copy.deepcopy(vars(planner))
        self._weights = list(model.parameters())
        self._versions = self._describe_weights()
        self._obs, self._memory = obs.clone(), {name: value.clone() for name, value in memory.items()}
        self._starts = torch.ones(len(obs), dtype=torch.bool, device=obs.device)
        self.generator = torch.Generator(obs.device)
        self._run: Callable[[], tuple[Tensor, Memory]] = self.decide

    def decide(self) -> tuple[Tensor, Memory]:
        """Decide on what the fixed tensors hold."""
        with torch.no_grad():
            plan, memory = decide(
                self._model,
                self._obs,
                self._memory,
                self._starts,
                self._planner,
                self._deterministic,
                self.generator,
            )
        return plan.action, memory

    def made_for(self, planner: Planner) -> bool:
        """Whether this decides as ``planner`` would."""
        return planner is self._planner and same_options(vars(planner), self._options)

    def weights_hold(self) -> bool:
        """Whether the world model's weights are those that this was made with."""
        return self._describe_weights() == self._versions

    def __call__(
        self, obs: Tensor, memory: Memory, episode_start: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Memory]:
        """Actions ``[B, A]`` and the new memory; ``generator`` is one that was just seeded."""
        self._obs.copy_(obs)
        self._starts.copy_(episode_start)
        for name, value in memory.items():
            self._memory[name].copy_(value)
        self.generator.manual_seed(generator.initial_seed())
        action, new = self._run()
        return action.clone(), {name: value.clone() for name, value in new.items()}

    def _describe_weights(self) -> list[tuple[int, int]]:
        return [(weight.data_ptr(), weight._version) for weight in self._weights]


class GraphedDecision(FixedDecision):
    """:class:`FixedDecision` captured in a CUDA graph: the GPU is given hundreds of kernels in one call.

    A plan for few environments is bound by launching kernels one by one, not by what they compute. Results are those
    of the same kernels launched one by one.

    :param model: the world model, on a CUDA device; the other parameters are those of :class:`FixedDecision`
    :raises RuntimeError: if the planner waits for values on the GPU, which a graph can't (MPPI's choice of two
        Q-functions does)
    """

    def __init__(self, model: WorldModel, planner: Planner, obs: Tensor, memory: Memory, deterministic: bool):
        super().__init__(model, planner, obs, memory, deterministic)
        stream = torch.cuda.Stream(obs.device)
        stream.wait_stream(torch.cuda.current_stream(obs.device))
        with torch.cuda.device(obs.device):
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP_CALLS):
                    self.decide()
                with _waiting_is_an_error():
                    self.decide()
            torch.cuda.current_stream(obs.device).wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(self.generator)  # draws anew in each replay, from its seed
            with torch.cuda.graph(self._graph):
                self._outputs = self.decide()
        self._run = self._replay

    def _replay(self) -> tuple[Tensor, Memory]:
        self._graph.replay()
        return self._outputs


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    """Raise a ``RuntimeError`` for what would break a capture, before it can."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def planning_in_graphs(model: Any, batch_sizes: Collection[int], deterministic: bool) -> Iterator[None]:
    """Let ``predict`` of a world-model agent on a CUDA device plan in CUDA graphs inside the block.

    Planners that can't be captured plan as before, with a warning. On other devices, and for agents without a world
    model, nothing changes.

    :param model: an agent
    :param batch_sizes: numbers of environments that ``predict`` will be called with
    :param deterministic: as ``predict`` will be called
    """
    if model.device.type != "cuda" or not hasattr(model, "planner"):
        yield
        return
    policy, decisions = model.policy, {}
    try:
        for n_envs in batch_sizes:
            obs, memory = policy.example_observations(n_envs), policy.initial_memory(policy.planner, n_envs)
            decisions[n_envs, deterministic] = GraphedDecision(
                policy.world_model, policy.planner, obs, memory, deterministic
            )
    except RuntimeError as error:
        name, reason = type(policy.planner).__name__, str(error).splitlines()[0]
        warnings.warn(f"{name} plans without a CUDA graph ({reason})", stacklevel=3)
        decisions = {}
    with policy.deciding_by(decisions):
        yield
