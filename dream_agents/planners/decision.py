"""One decision: from observations through the world model and the planner to actions."""

from __future__ import annotations

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners.base import Memory, Plan, Planner


def initial_memory(model: WorldModel, planner: Planner, batch_size: int) -> Memory:
    """Memory of world model and planner at an episode's start, each tensor ``[batch_size, ...]``.

    It also holds ``decision``, the number of decisions since the episode's start.
    """
    memory = {f"model.{k}": v for k, v in model.initial_memory(batch_size).items()}
    memory |= {f"planner.{k}": v for k, v in planner.initial_memory(model, batch_size).items()}
    return memory | {"decision": torch.zeros(batch_size, dtype=torch.int64, device=model.device)}


def decide(
    model: WorldModel,
    obs: Tensor,
    memory: Memory,
    episode_start: Tensor,
    planner: Planner,
    deterministic: bool,
    generator: torch.Generator,
) -> tuple[Plan, Memory]:
    """Encode ``obs [B, ...]`` and plan.

    :param memory: ``model.*`` and ``planner.*`` are theirs, ``decision [B]`` counts since the episode's start
    :return: the plan and the whole new memory
    """
    parts: dict[str, Memory] = {"model": {}, "planner": {}}
    for name, value in memory.items():
        if name != "decision":
            owner, key = name.split(".", 1)
            parts[owner][key] = value
    z, model_memory = model.observe(obs, parts["model"], episode_start, generator)
    plan = planner.plan(model, z, parts["planner"], episode_start, deterministic, generator)
    new = {f"model.{k}": v for k, v in model_memory.items()}
    new |= {f"planner.{k}": v for k, v in plan.memory.items()}
    new["decision"] = memory["decision"].masked_fill(episode_start, 0) + 1
    return plan, with_action(model, new, plan.action)


def with_action(model: WorldModel, memory: Memory, action: Tensor) -> Memory:
    """Tell a recurrent world model's part of ``memory`` which actions ``[B, A]`` are executed."""
    own = {name.removeprefix("model."): value for name, value in memory.items() if name.startswith("model.")}
    return memory | {f"model.{name}": value for name, value in model.remember_action(own, action).items()}


class Decider:
    """Decides in one world model, by any planner. :class:`dream_agents.fast.decider.FastDecider` does it sooner.

    :param model: the world model
    """

    def __init__(self, model: WorldModel):
        self.model = model

    def plan(
        self,
        obs: Tensor,
        memory: Memory,
        episode_start: Tensor,
        planner: Planner,
        deterministic: bool,
        generator: torch.Generator,
    ) -> tuple[Plan, Memory]:
        """:func:`decide`, without a gradient."""
        with torch.no_grad():
            return decide(self.model, obs, memory, episode_start, planner, deterministic, generator)

    def act(
        self,
        obs: Tensor,
        memory: Memory,
        episode_start: Tensor,
        planner: Planner,
        deterministic: bool,
        generator: torch.Generator,
    ) -> tuple[Tensor, Memory]:
        """Actions ``[B, A]`` and the new memory of :meth:`plan`, where the rest of the plan isn't needed."""
        plan, memory = self.plan(obs, memory, episode_start, planner, deterministic, generator)
        return plan.action, memory

    def compile(self, obs: Tensor, memory: Memory, planner: Planner, deterministic: bool) -> None:
        """Make decisions like this one faster by compiling them.

        :raises RuntimeError: always: compiling is the fast annex's
        """
        raise RuntimeError(
            "decisions are compiled by dream_agents.fast, which is not installed, or switched off by "
            "DREAM_AGENTS_FAST=0 in the environment"
        )
