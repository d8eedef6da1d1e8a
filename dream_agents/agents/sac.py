"""Soft actor-critic (Haarnoja et al. 2018): Stable-Baselines3's, or as the paper's baseline has it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.keywords import explaining_memory, require_env
from dream_agents.agents.observations import ObservationEncoding, is_image_space
from dream_agents.agents.sac_policy import PUBLISHED_POLICIES
from dream_agents.agents.sac_updates import PublishedUpdates
from dream_agents.agents.saving import SavedAgent
from dream_agents.agents.task import TrainingTask, check_normalization, check_obs_type, implied_obs_type
from dream_agents.registry import UnknownNameError
from dream_agents.wrappers import ActionScale, task_info
from dream_agents.wrappers.make import EnvLike
from dream_agents.wrappers.watched import check_finite

if TYPE_CHECKING:
    from dream_agents.export.program import Actor

#: Keywords by preset; "paper" is what Dream-MPC's paper takes from github.com/denisyarats/pytorch_sac, and has its
#: networks and its update.
PRESETS: dict[str, dict[str, Any]] = {
    "sb3": {},
    "paper": {
        "learning_rate": 1e-4,
        "batch_size": 1024,
        "tau": 0.005,
        "ent_coef": "auto_0.1",
        "target_update_interval": 2,
        "learning_starts": 5000,  # decisions: pytorch_sac counts steps of the environment that it is given
        "policy_kwargs": {"net_arch": [1024, 1024]},
    },
}


def _check_policy(policy: str | type[BasePolicy] | None, space: spaces.Space[Any]) -> None:
    """Raise a ValueError that says what to do where Stable-Baselines3's policy is for other observations."""
    images = len(space.shape or ()) == 3
    if policy == "CnnPolicy" and not images:
        raise ValueError(
            f'"CnnPolicy" is for images, and the environment observes {space}; leave the policy out, or pass '
            'obs_type="pixels"'
        )
    if policy == "MultiInputPolicy" and not isinstance(space, spaces.Dict):
        raise ValueError(
            f'"MultiInputPolicy" is for dictionaries, and what is learned from here is {space}: dictionaries in '
            "dictionaries are flattened; leave the policy out"
        )


class PlainTask:
    """How files of version 0.1 name the task of SAC; unpickling it gives a :class:`TrainingTask`."""

    def __new__(cls) -> Any:
        """Make what pickle then fills with the saved values, which lack the newer fields."""
        return TrainingTask(None, seeds_episodes=False, normalized=True)


class SAC(SavedAgent, PublishedUpdates, stable_baselines3.SAC):
    """Stable-Baselines3's SAC, with an environment's id and presets.

    It learns no world model, so it has no planner. Every keyword of Stable-Baselines3's class keeps its name and
    meaning, and stands above the preset.

        >>> model = SAC("dmc_walker-walk-v0", preset="paper").learn(500_000, progress_bar=True)

    :param env: an environment id (see ``dream-agents envs``), a ``gymnasium.Env``, a function that makes one, or a
        ``VecEnv``
    :param policy: Stable-Baselines3's policy class or its name; None for "MlpPolicy", "CnnPolicy" on pixels, or
        "MultiInputPolicy" on dictionaries; a name means :class:`PublishedNetworks` with ``preset="paper"``
    :param preset: "sb3" for Stable-Baselines3's networks, update and defaults; "paper" for those of pytorch_sac, which
        the paper of Dream-MPC takes
    :param obs_type: "state", or "pixels" for the last three frames
    :param env_kwargs: keyword arguments of the environment, where ``env`` is an id
    :param n_envs: environments side by side, where ``env`` is an id
    :param vec_env_cls: "dummy" or "subproc" (a process each), where ``env`` is an id
    :param monitor_wrapper: wrap environments in a ``Monitor``
    :param not_finite: what NaN or infinity from the environment does: "stop" raises an error that names it, "end" ends
        the episode before that step
    :param kwargs: keywords of ``stable_baselines3.SAC``
    :raises ValueError: for an unknown preset, and environments without continuous actions
    """

    #: name in ``registry.agents``
    agent_name: str = "sac"
    #: SAC draws its random numbers from the global generators
    generators: Mapping[str, torch.Generator] = MappingProxyType({})

    def __init__(
        self,
        env: EnvLike | VecEnv | None,
        policy: str | type[BasePolicy] | None = None,
        *,
        preset: str = "sb3",
        obs_type: str = "state",
        env_kwargs: dict[str, Any] | None = None,
        n_envs: int = 1,
        vec_env_cls: str = "dummy",
        monitor_wrapper: bool = True,
        seed: int | None = None,
        not_finite: str = "stop",
        **kwargs: Any,
    ):
        if isinstance(env, str) and env in self.policy_aliases:
            env, policy = policy, env  # type: ignore[assignment]  # Stable-Baselines3's order of these two
        if preset not in PRESETS:
            raise UnknownNameError("preset of SAC", preset, PRESETS)
        obs_type = implied_obs_type(policy, env, obs_type)
        self.preset = preset
        self.agent_name = type(self).agent_name  # is saved
        id = env if isinstance(env, str) else None
        self.task = TrainingTask(
            id,
            obs_type,
            env_kwargs or {},
            n_envs,
            vec_env_cls,
            seeds_episodes=False,
            not_finite=not_finite,
        )
        keywords = PRESETS[preset] | kwargs
        keywords["policy_kwargs"] = PRESETS[preset].get("policy_kwargs", {}) | (
            kwargs.get("policy_kwargs") or {}
        )
        self._action_repeat, self._frame_stack = 1, 1
        if kwargs.get("_init_setup_model", True):
            require_env(type(self), env)
        if env is not None:
            env = self.task.make(env, monitor_wrapper)
            self._action_repeat = task_info(env).action_repeat
            _check_policy(policy, env.observation_space)
            if policy is None:
                policy = _policy_for(env.observation_space, obs_type)
        policy = policy or "MlpPolicy"
        if preset == "paper" and isinstance(policy, str):
            policy = PUBLISHED_POLICIES.get(policy, policy)
        super().__init__(
            policy,  # type: ignore[arg-type]
            env,  # type: ignore[arg-type]
            seed=None if seed is None else int(seed),
            **keywords,
        )

    def _setup_model(self) -> None:
        self._read_task()
        with explaining_memory(self.buffer_size):
            super()._setup_model()

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Do ``gradient_steps`` updates: Stable-Baselines3's, or with ``preset="paper"`` pytorch_sac's."""
        if self.preset != "paper":
            super().train(gradient_steps, batch_size)
            return
        self.policy.set_training_mode(True)
        optimizers = [self.actor.optimizer, self.critic.optimizer, self.ent_coef_optimizer]
        self._update_learning_rate([optimizer for optimizer in optimizers if optimizer is not None])
        losses: dict[str, list[float]] = {}
        for _ in range(gradient_steps):
            assert self.replay_buffer is not None
            batch = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            if self.use_sde:
                self.actor.reset_noise()
            discount = self.gamma if batch.discounts is None else batch.discounts
            critic_loss = self._update_critic(
                batch.observations,
                batch.actions,
                batch.rewards,
                batch.next_observations,
                batch.dones,
                discount,
            )
            update = {"critic_loss": critic_loss} | self._update_actor(batch.observations)
            if self._n_updates % self.target_update_interval == 0:
                self._update_targets()
            self._n_updates += 1
            for name, loss in update.items():
                losses.setdefault(name, []).append(loss.item())
        self._record_losses(losses)

    def _update_targets(self) -> None:
        super()._update_targets()
        polyak_update(self.batch_norm_stats, self.batch_norm_stats_target, 1.0)

    def _read_task(self) -> None:
        self._adopt_spaces()
        self.scale = ActionScale(self.action_space)
        check_obs_type(self.task.obs_type or "state", self.observation_space)
        if self.env is not None:
            if is_image_space(self.observation_space):
                check_normalization(self.env, self.observation_space.shape or ())
            info = task_info(self.env)
            self._action_repeat, self._frame_stack = info.action_repeat, info.frame_stack

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "scale"]

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stable-Baselines3's, with actions that are inside the action space to the last digit."""
        self._return_from_elsewhere()
        self._chose_at = time.perf_counter()
        if self.num_timesteps < learning_starts and not (self.use_sde and self.use_sde_at_warmup):
            chosen = np.stack([self.action_space.sample() for _ in range(n_envs)])
        else:
            assert self._last_obs is not None
            chosen, _ = self.predict(self._last_obs)
        unit = self.scale.to_unit(chosen)
        if action_noise is not None:
            unit = np.clip(unit + action_noise(), -1, 1)
        return self.scale.for_env(self.scale.to_native(unit)), unit

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose actions in the environment's units; see Stable-Baselines3's ``predict``."""
        if self._is_native(observation):
            encoding = ObservationEncoding(self.observation_space, self.native_observation_space)
            batch, vectorized = encoding.batch(observation)
            observation = batch if vectorized else batch[0]
        if isinstance(observation, dict | np.ndarray):  # what else is given, Stable-Baselines3 explains
            check_finite(observation)
        actions, state = super().predict(observation, state, episode_start, deterministic)
        return self.scale.for_env(self.scale.inside(actions)), state

    def _exported_actor(self, deterministic: bool) -> Actor:
        from dream_agents.export.errors import ExportError
        from dream_agents.export.program import GaussianActor

        if not deterministic:
            raise ExportError(
                "deterministic=False: SAC's exploration can't be exported, since PyTorch draws it from the global "
                "generator; export the mean, which acts best"
            )
        return GaussianActor(self.actor)

    def _obs_shape(self) -> tuple[int, ...]:
        from dream_agents.export.errors import ExportError

        space = self.observation_space
        if not isinstance(space, gym.spaces.Box):
            raise ExportError(
                f"SAC on observations of {space} can't be exported: its networks see the parts, not one vector; "
                "flatten them with gymnasium.wrappers.FlattenObservation before training"
            )
        return ObservationEncoding(space, self.native_observation_space).shape

    def _is_native(self, observation: Any) -> bool:
        """Whether it may be what the environment itself observes, where the agent's is that as a vector."""
        space, native = self.observation_space, self.native_observation_space
        if not isinstance(space, gym.spaces.Box):
            return False
        flattens = len(space.shape) == 1 and native is not None and native.shape != space.shape
        return flattens or isinstance(observation, dict | tuple)

    @classmethod
    def _check_fit(cls, saved: Mapping[str, Any], env: VecEnv) -> None:
        super()._check_fit(saved, env)
        known, seen = saved["observation_space"], env.observation_space
        if type(known) is not type(seen) or known.shape != seen.shape:
            raise ValueError(
                f"Observation spaces do not match: {known} != {seen}; give the environment's id or the "
                "environment itself"
            )


def _policy_for(space: gym.Space[Any], obs_type: str) -> str:
    """Name of Stable-Baselines3's policy for what is observed."""
    if isinstance(space, gym.spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if obs_type == "pixels" else "MlpPolicy"
