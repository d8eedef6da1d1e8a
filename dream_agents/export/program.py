"""A whole decision as one graph of forward operations: observation, memory and noise in, action and memory out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from dream_agents.annex import accelerated
from dream_agents.export.errors import ExportError
from dream_agents.export.observations import Part, encode, parts_of, see_joined
from dream_agents.export.operators import decompositions
from dream_agents.models.base import WorldModel
from dream_agents.models.kernels import tracing
from dream_agents.models.packing import ObsShape
from dream_agents.planners import Memory, Planner
from dream_agents.planners.base import clocked
from dream_agents.planners.decision import decide
from dream_agents.planners.draws import Draw, RandomInputs, packed, recorded, unpacked
from dream_agents.wrappers import ActionScale

EPISODE_START, ACTION = "episode_start", "action"
MEMORY, NEW_MEMORY, NOISE = "memory.", "new_memory.", "noise."


class Actor(Protocol):
    """What chooses actions in [-1, 1] from what networks see."""

    #: what is said to act, in messages
    name: str

    def initial_memory(self, batch_size: int) -> Memory:
        """What is remembered at an episode's start, each ``[batch_size, ...]``."""
        ...

    def act(
        self, obs: Tensor, memory: Memory, episode_start: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Memory]:
        """Actions ``[B, A]`` and the new memory from ``obs [B, ...]``."""
        ...


class PlanningActor:
    """A planner in a world model.

    :param model: the world model; it is copied to the CPU
    :param planner: the planner
    :param deterministic: leave out exploration noise
    :raises ExportError: for planners whose operations depend on a clock
    """

    def __init__(self, model: WorldModel, planner: Planner, deterministic: bool):
        clock = clocked(planner)
        if clock is not None:
            raise ExportError(f"a file has a fixed number of operations, and {clock}")
        self.model = copy.deepcopy(model).cpu().eval()
        see_joined(self.model)
        self.planner, self.deterministic = copy.deepcopy(planner), deterministic
        self.name = f"{type(planner).__name__} on {type(model).__name__}"

    def initial_memory(self, batch_size: int) -> Memory:
        """That of world model and planner."""
        memory = {f"model.{k}": v for k, v in self.model.initial_memory(batch_size).items()}
        planned = self.planner.initial_memory(self.model, batch_size)
        return memory | {f"planner.{k}": v for k, v in planned.items()}

    def act(
        self, obs: Tensor, memory: Memory, episode_start: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Memory]:
        """Plan by the faster twins of both, if there are such."""
        model, planner = accelerated(self.model, self.planner)
        counted = memory | {"decision": torch.zeros(len(obs), dtype=torch.int64)}
        with torch.no_grad():
            plan, new = decide(model, obs, counted, episode_start, planner, self.deterministic, generator)
        del new["decision"]
        return plan.action, new


class GaussianActor:
    """The mean of a policy of Stable-Baselines3's SAC, squashed by tanh.

    :param actor: SAC's ``policy.actor``; it is copied to the CPU
    """

    def __init__(self, actor: nn.Module):
        self.actor = copy.deepcopy(actor).cpu().eval()
        self.name = "SAC's policy"

    def initial_memory(self, batch_size: int) -> Memory:
        """Nothing is remembered."""
        return {}

    def act(
        self, obs: Tensor, memory: Memory, episode_start: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Memory]:
        """Ask the actor; nothing is drawn."""
        with torch.no_grad():
            mean, *_ = self.actor.get_action_dist_params(obs)  # type: ignore[operator]
        return torch.tanh(mean), {}


@dataclass
class Program:
    """A traced decision.

    :param graph: a function of the inputs in their order, which returns the outputs in theirs
    :param inputs: examples by name
    :param outputs: examples by name
    :param parts: of an observation
    :param draws: random numbers of a decision, in order
    """

    graph: torch.fx.GraphModule
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    parts: list[Part]
    draws: list[Draw] = field(default_factory=list)

    def noise(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The noise inputs that hold what ``predict`` draws from this generator."""
        vectors = packed(self.draws, [draw.draw(generator) for draw in self.draws])
        return {NOISE + kind: vector for kind, vector in vectors.items()}


def trace(
    actor: Actor,
    observation_space: gym.Space[object],
    obs_shape: ObsShape,
    action_space: gym.spaces.Box,
    n_envs: int,
) -> Program:
    """Trace one decision for ``n_envs`` environments.

    :param actor: what decides
    :param observation_space: what an environment observes
    :param obs_shape: of what networks see
    :param action_space: the environment's
    :raises ValueError: if the decision can't be made a graph, saying why
    """
    parts = parts_of(observation_space)
    scale = ActionScale(action_space)
    observed = {part.name: _zeros(part, n_envs) for part in parts}
    memory = actor.initial_memory(n_envs)
    start = torch.zeros(n_envs, dtype=torch.bool)
    generator = torch.Generator()  # stands for the noise inputs
    seen = encode(parts, observed, obs_shape)
    with tracing():
        draws = recorded(lambda source: actor.act(seen, memory, start, source), generator, actor.name)
    noise = packed(draws, [draw.draw(torch.Generator()) for draw in draws])
    inputs = observed | {MEMORY + name: value for name, value in memory.items()}
    if memory:
        inputs[EPISODE_START] = start
    inputs |= {NOISE + kind: vector for kind, vector in noise.items()}
    names: list[str] = []

    def decision(*values: Tensor) -> list[Tensor]:
        given = dict(zip(inputs, values, strict=True))
        numbers = unpacked(draws, _under(NOISE, given))
        with RandomInputs(generator, lambda draw: next(numbers), actor.name):
            obs = encode(parts, given, obs_shape)
            action, new = actor.act(obs, _under(MEMORY, given), given.get(EPISODE_START, start), generator)
        found = {ACTION: to_native(scale, action)} | {NEW_MEMORY + name: value for name, value in new.items()}
        names[:] = found
        return list(found.values())

    with tracing():
        graph = make_fx(decision, decompositions(), "real")(*inputs.values())
    with torch.no_grad():
        outputs = graph(*inputs.values())
    return Program(graph, inputs, dict(zip(names, outputs, strict=True)), parts, draws)


def to_native(scale: ActionScale, action: Tensor) -> Tensor:
    """What :meth:`ActionScale.to_native` makes of actions ``[B, A]``, ``[B, *action_shape]`` in the space's type."""
    space = scale.space
    wide = np.result_type(space.dtype, np.float32)
    low, high = (torch.from_numpy(np.asarray(end, dtype=wide)) for end in (space.low, space.high))
    unit = action.reshape(len(action), *space.shape)
    native = low + 0.5 * (unit + 1.0) * (high - low)
    return torch.minimum(torch.maximum(native, low), high).to(torch_dtype(space.dtype))


def torch_dtype(dtype: object) -> torch.dtype:
    """PyTorch's name of one of NumPy's types."""
    return torch.from_numpy(np.zeros(1, dtype=dtype)).dtype


def _zeros(part: Part, n_envs: int) -> Tensor:
    return torch.from_numpy(np.zeros((n_envs, *part.shape), part.dtype))


def _under(prefix: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
