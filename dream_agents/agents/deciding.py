"""What an agent with a world model decides: while learning, in ``predict``, and in an exported file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise

from dream_agents.agents.observations import EncodedReplay
from dream_agents.agents.planner_roles import PlannerRoles
from dream_agents.agents.policy import WorldModelPolicy
from dream_agents.agents.scalar_range import RangeCheck
from dream_agents.agents.updating import UpdatingAgent
from dream_agents.annex import make_decider
from dream_agents.learners.base import PLAN_MEAN, PLAN_STD
from dream_agents.models.base import WorldModel
from dream_agents.models.packing import ObsShape
from dream_agents.planners import Memory, Plan, Planner
from dream_agents.planners.decision import with_action
from dream_agents.replay import SequenceReplayBuffer

if TYPE_CHECKING:
    from dream_agents.export.program import Actor, Program


class DecidingAgent(PlannerRoles, UpdatingAgent):
    """The part of :class:`WorldModelAgent` that asks planners what to do, and stores what came of it."""

    policy: WorldModelPolicy
    generators: dict[str, torch.Generator]
    #: what the planner that acts while learning remembers, and whose memory it is
    _plan_memory: Memory | None
    _plan_owner: Planner | None
    _last_plan: Plan | None
    _stores_plans: bool
    _ranges: RangeCheck

    @property
    def world_model(self) -> WorldModel:
        """The learned model."""
        return self.policy.world_model

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Plan actions; see :meth:`WorldModelPolicy.predict`. Pass ``state`` on to reuse the previous plan."""
        return self.policy.predict(observation, state, episode_start, deterministic)

    def compile_planner(self, n_envs: int = 1, deterministic: bool = True) -> None:
        """Make ``predict`` faster by compiling it; see :meth:`WorldModelPolicy.compile_planner`."""
        self.policy.compile_planner(n_envs, deterministic)

    # -------------------------------------------------------------- learning

    def _time_plan(self) -> float:
        planner = self.collector
        assert self._last_obs is not None
        starts = torch.ones(self.n_envs, dtype=torch.bool, device=self.device)
        began = time.perf_counter()
        plan, _ = make_decider(self.world_model).plan(
            self.policy.observations_to_tensor(self._last_obs),
            self.policy.initial_memory(planner, len(starts)),
            starts,
            planner,
            deterministic=False,
            generator=torch.Generator(self.device),
        )
        plan.action.cpu()  # waits for the device
        return time.perf_counter() - began

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        self._return_from_elsewhere()
        self._last_plan, self._chose_at = None, time.perf_counter()
        if self.num_timesteps < learning_starts:
            chosen = np.stack([self.action_space.sample() for _ in range(n_envs)])
            scaled = self.policy.scale.to_unit(chosen)
            if action_noise is not None:
                scaled = np.clip(scaled + action_noise(), -1, 1)
            return self._executed(scaled)
        planner = self.collector
        assert self._last_obs is not None and self._last_episode_starts is not None
        began = time.perf_counter()
        obs = self.policy.observations_to_tensor(self._last_obs)
        starts = torch.as_tensor(self._last_episode_starts, device=self.device)
        if self._plan_memory is None or self._plan_owner is not planner:
            self._plan_memory, self._plan_owner = self.policy.initial_memory(planner, n_envs), planner
            starts = torch.ones_like(starts)
        plan, self._plan_memory = self.policy.collecting_decider.plan(
            obs,
            self._plan_memory,
            starts,
            planner,
            deterministic=False,
            generator=self.generators["planner"],
        )
        self._last_plan = plan
        action = plan.action.cpu().numpy()
        self.logger.record_mean("planner/ms_per_decision", 1e3 * (time.perf_counter() - began))
        for name, value in plan.info.items():
            self.logger.record_mean(f"planner/{name}", value.mean().item())
        scaled = action.reshape(n_envs, *self.action_space.shape)  # type: ignore[misc]
        if action_noise is not None:
            scaled = np.clip(scaled + action_noise(), -1, 1).astype(np.float32)
            executed = torch.as_tensor(scaled, device=self.device).reshape(n_envs, -1)
            self._plan_memory = with_action(self.world_model, self._plan_memory, executed)
        return self._executed(scaled)

    def _executed(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return actions of [-1, 1] as the environment takes them, and as replay stores them."""
        scale = self.policy.scale
        return scale.for_env(scale.to_native(scaled)), scaled

    def _encoded(self, replay_buffer: ReplayBuffer) -> EncodedReplay:
        return EncodedReplay(replay_buffer, self.policy.encoding)

    def _begin_episodes(self) -> None:
        super()._begin_episodes()
        self._ranges.begin_episodes()

    def _store_step(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        super()._store_step(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._ranges.check(self.world_model, reward, dones, self.num_timesteps)
        if self._stores_plans and self._last_plan is not None:
            assert isinstance(replay_buffer, SequenceReplayBuffer)
            steps = replay_buffer.last_steps
            plan = {
                PLAN_MEAN: self._last_plan.mean.cpu().numpy()[steps.envs],
                PLAN_STD: self._last_plan.std.cpu().numpy()[steps.envs],
            }
            replay_buffer.rewrite(steps, **plan)

    # ------------------------------------------------------------- exporting

    def _exported_actor(self, deterministic: bool) -> Actor:
        from dream_agents.export.program import PlanningActor

        return PlanningActor(self.world_model, self.planner, deterministic)

    def _obs_shape(self) -> ObsShape:
        return self.policy.encoding.shape

    @contextmanager
    def _planning_by(self, planner: str | Planner | None) -> Iterator[None]:
        before = self.planner
        if planner is not None:
            self.planner = self.make_planner(planner)
        try:
            yield
        finally:
            self.planner = before

    def _noise_of(
        self, program: Program, state: Any, starts: np.ndarray, deterministic: bool
    ) -> dict[str, Any]:
        generator = self.policy.generator_for(state, starts, deterministic)
        return {name: value.numpy() for name, value in program.noise(generator).items()}

    def _memory_of(self, program: Program, state: Any, n_envs: int) -> dict[str, np.ndarray]:
        names = self.policy.initial_memory(self.planner, n_envs)
        remembered = {} if state is None else dict(zip(names, state, strict=True))
        return {f"memory.{name}": value for name, value in remembered.items() if name != "decision"}
