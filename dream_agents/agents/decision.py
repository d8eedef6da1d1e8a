"""One decision: from observations through the world model and the planner to actions."""

from __future__ import annotations

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners import Memory, Plan, Planner


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

    :param model: the world model, or what it is when prepared
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


def uses_autograd(model: WorldModel, planner: Planner) -> bool:
    """Whether deciding records operations for a gradient."""
    return not model.keeps_steps or getattr(planner, "uses_autograd", True)
