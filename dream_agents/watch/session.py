"""An agent in its environment, one decision at a time, with what it thought at each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import gymnasium as gym
import numpy as np
import torch

from dream_agents.evaluation.planners import planner_for, planner_name
from dream_agents.watch.simulation import Twin, body_poses, root_body, simulation_of
from dream_agents.watch.thought import Thought, think

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.sac import SAC
    from dream_agents.planners import Planner

#: decisions between two looks at what the planner thought; working it out takes a few times a decision's own time
_THINK_EVERY = 2


@dataclass
class Moment:
    """What one decision did."""

    #: decisions since the episode's start, 1 after the first
    decision: int
    #: of the environment
    reward: float
    #: sum of rewards since the episode's start
    total: float
    #: where bodies were before and are now, ``[nbody, 7]`` as position and quaternion
    before: np.ndarray
    poses: np.ndarray
    #: milliseconds of the decision
    milliseconds: float
    #: what the planner thought; None where it wasn't asked this time
    thought: Thought | None
    #: where the simulator takes the chosen plan ``[H, nbody, 7]``, and the rewards it gives ``[H]``
    ghost: np.ndarray | None
    ghost_rewards: np.ndarray | None
    #: whether the episode is over
    over: bool


class Session:
    """Runs an agent in its environment, whose planner and options may be changed between any two decisions.

    :param model: an agent with a world model
    :param make: makes its environment, twice: once to act in, once to try plans in
    :param seed: of the episodes
    :raises ValueError: if the agent has no planner, or the environment no MuJoCo simulation
    """

    def __init__(self, model: WorldModelAgent | SAC, make: Callable[[], gym.Env[Any, Any]], seed: int = 0):
        if not _plans(model):
            raise ValueError(
                f"{type(model).__name__} has no world model to look into; choose an agent that plans"
            )
        self.model: WorldModelAgent = model
        self.seed = seed
        self.planner: Planner = model.planner
        self.env = make()
        self._simulation = simulation_of(self.env)
        self.twin = Twin(make())
        self.mass = float(self._simulation.model.body_mass.sum())
        self._push: np.ndarray | None = None
        self._episode = -1
        self.restart()

    # -------------------------------------------------------------------- what may be changed

    @property
    def planner_name(self) -> str:
        """The planner's name in the registry."""
        return planner_name(self.planner)

    def set_planner(self, name: str, **options: Any) -> None:
        """Plan with another planner from the next decision on.

        :raises ValueError: for an unknown name or option, and options out of range
        """
        planner = planner_for(self.model, name, **options)
        if type(planner) is not type(self.planner) or options:
            self.planner = planner
            self._memory = self._without_plan()

    def set_option(self, name: str, value: Any) -> None:
        """Change one option of the planner.

        :raises ValueError: for an option that it doesn't have, or a value out of range
        """
        self.set_planner(self.planner_name, **(dataclasses.asdict(self.planner) | {name: value}))  # type: ignore[call-overload]

    def push(self, force: np.ndarray) -> None:
        """Push the robot during the next decision.

        :param force: ``[3]`` in newtons, in the world's frame
        """
        self._push = np.asarray(force, float)

    def restart(self) -> None:
        """Start the next episode."""
        self._episode += 1
        self._obs, _ = self.env.reset(seed=self.seed + self._episode)
        self._memory = self.model.policy.initial_memory(self.planner, 1)
        self.decision, self.total, self._starts = 0, 0.0, True
        self._is_new = True
        self.poses = body_poses(self.env)

    # ------------------------------------------------------------------------------ deciding

    def step(self, look: bool | None = None) -> Moment:
        """Decide, act, and say what was thought.

        :param look: whether to work out candidates and try the plan in the simulator; None: at every other decision
        """
        looks = self.decision % _THINK_EVERY == 0 if look is None else look
        policy, device = self.model.policy, self.model.device
        obs = policy.observations_to_tensor(self._obs)
        starts = torch.tensor([self._starts], device=device)
        seed, memory = policy.seed + self.decision, self._memory  # as predict draws
        began = time.perf_counter()
        plan, self._memory = policy.decider.plan(
            obs, memory, starts, self.planner, True, _generator(device, seed)
        )
        milliseconds = 1e3 * (time.perf_counter() - began)
        thought = ghost = ghost_rewards = None
        if looks:
            thought = self._look(obs, memory, starts, plan, seed)
            self.twin.follow(self.env, self._is_new)
            self._is_new = False
            ghost, ghost_rewards = self.twin.play(self._native(thought.plan))
        before = self.poses
        reward, over = self._act(self._native(plan.action.float().cpu().numpy())[0])
        return Moment(
            self.decision,
            reward,
            self.total,
            before,
            self.poses,
            milliseconds,
            thought,
            ghost,
            ghost_rewards,
            over,
        )

    def _look(self, obs: Any, memory: Any, starts: Any, plan: Any, seed: int) -> Thought:
        model, generator = self.model.policy.world_model, _generator(obs.device, seed)
        own = {owner: _part(memory, owner) for owner in ("model", "planner")}
        with torch.no_grad():
            z, _ = model.observe(obs, own["model"], starts, generator)
        return think(model, self.planner, z, own["planner"], starts, plan, generator)

    def _act(self, action: np.ndarray) -> tuple[float, bool]:
        forces = self._simulation.data.xfrc_applied
        if self._push is not None:
            forces[root_body(self._simulation.model), :3] = self._push
        self._obs, reward, terminated, truncated, _ = self.env.step(action)
        if self._push is not None:
            forces[:] = 0
            self._push = None
        self._starts = False
        self.decision, self.total = self.decision + 1, self.total + float(reward)
        self.poses = body_poses(self.env)
        return float(reward), bool(terminated or truncated)

    def _native(self, actions: np.ndarray) -> np.ndarray:
        """Actions ``[..., A]`` in [-1, 1] in the environment's units, a row each."""
        return self.model.policy.native_actions(torch.as_tensor(actions).clamp(-1, 1))

    def _without_plan(self) -> Any:
        """Memory for another planner: the world model's goes on, the plan starts afresh."""
        kept = {name: value for name, value in self._memory.items() if not name.startswith("planner.")}
        return self.model.policy.initial_memory(self.planner, 1) | kept

    def close(self) -> None:
        """Close both environments."""
        self.env.close()
        self.twin.close()


def _plans(model: WorldModelAgent | SAC) -> TypeGuard[WorldModelAgent]:
    return hasattr(model, "planner")


def _part(memory: Any, owner: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(f"{owner}."): value
        for name, value in memory.items()
        if name.startswith(f"{owner}.")
    }


def _generator(device: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)
