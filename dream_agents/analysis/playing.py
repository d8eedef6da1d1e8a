"""Episodes with what the planner predicted at every decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from dream_agents.agents.observations import ObservationEncoding
from dream_agents.evaluation.environments import (
    check_ends,
    check_length,
    first_episode_seed,
    make_evaluation_env,
)
from dream_agents.evaluation.settings import EvaluationSettings
from dream_agents.models.base import WorldModel
from dream_agents.planners import Memory, Planner
from dream_agents.planners.decision import Decider, initial_memory
from dream_agents.wrappers import ActionScale, task_info
from dream_agents.wrappers.make import EnvLike


class Actor(Protocol):
    """A world model with what brings it and an environment together, as an agent's policy is."""

    @property
    def world_model(self) -> WorldModel:
        """What is planned in."""
        ...

    @property
    def decider(self) -> Decider:
        """What decides in it."""
        ...

    def initial_memory(self, planner: Planner, batch_size: int) -> Memory:
        """Memory of world model and planner at an episode's start."""
        ...

    def observations_to_tensor(self, observations: Any) -> Tensor:
        """A batch of the environment's observations as the world model sees them."""
        ...

    def native_actions(self, action: Tensor) -> np.ndarray:
        """Actions ``[B, A]`` in [-1, 1] in the environment's units."""
        ...


class ModelActor:
    """A world model without an agent, such as the true dynamics.

    :param world_model: the world model
    :param env: where it acts
    """

    def __init__(self, world_model: WorldModel, env: VecEnv):
        self.world_model, self.decider = world_model, Decider(world_model)
        self._encoding = ObservationEncoding(env.observation_space)
        self._scale = ActionScale(env.action_space)

    def initial_memory(self, planner: Planner, batch_size: int) -> Memory:
        """Memory of world model and planner at an episode's start."""
        return initial_memory(self.world_model, planner, batch_size)

    def observations_to_tensor(self, observations: Any) -> Tensor:
        """A batch of observations on the model's device, images as uint8, vectors as float32."""
        return torch.as_tensor(self._encoding.encode(observations), device=self.world_model.device)

    def native_actions(self, action: Tensor) -> np.ndarray:
        """Actions ``[B, A]`` in [-1, 1] in the environment's units."""
        unit = action.cpu().numpy().reshape(-1, *self._scale.space.shape)
        return self._scale.for_env(self._scale.to_native(unit))


@dataclass
class PlayedEpisode:
    """One episode of T decisions.

    :param observations: as the world model sees them, T of shape ``obs_shape``
    :param rewards: T of them
    :param predicted: the planner's objective of its plan at each decision, T
    :param values: the model's value of each visited state, T + 1; the last one is 0 where the task has ended
    :param terminated: whether it ended before a time limit
    """

    observations: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    terminated: bool = False


def play(actor: Actor, planner: Planner, env: VecEnv, settings: EvaluationSettings) -> list[PlayedEpisode]:
    """Play the episodes of an evaluation and note what the planner predicts.

    :param actor: an agent's policy, or a :class:`ModelActor`
    :param planner: what acts
    :param env: made by :func:`~dream_agents.evaluation.make_evaluation_env`
    :param settings: number of episodes, their seed, and whether there is exploration noise
    :return: the episodes in their order
    :raises EndlessEpisodeError: (a ``ValueError``) where episodes neither end nor have a limit
    """
    device, count = actor.world_model.device, env.num_envs
    generators = [torch.Generator(device).manual_seed(settings.seed) for _ in range(2)]
    limit = task_info(env).max_episode_steps
    env.seed(first_episode_seed(settings.seed))
    check_ends(env)
    observations: Any = env.reset()
    memory = actor.initial_memory(planner, count)
    starts = torch.ones(count, dtype=torch.bool, device=device)
    numbers, playing = list(range(count)), [PlayedEpisode() for _ in range(count)]
    finished: dict[int, PlayedEpisode] = {}
    while len(finished) < settings.episodes:
        obs = actor.observations_to_tensor(observations)
        values = _values(actor.world_model, obs, memory, starts, generators[0])
        plan, memory = actor.decider.plan(obs, memory, starts, planner, settings.deterministic, generators[1])
        predicted = plan.value.tolist()
        observations, rewards, dones, infos = env.step(actor.native_actions(plan.action))
        for j, episode in enumerate(playing):
            episode.observations.append(obs[j].cpu().numpy().copy())
            episode.rewards.append(float(rewards[j]))
            episode.predicted.append(predicted[j])
            episode.values.append(values[j])
            check_length(limit, len(episode.rewards))
        for j in np.flatnonzero(dones):
            _end(actor, playing[j], infos[j], {k: v[j : j + 1] for k, v in memory.items()}, generators[0])
            if numbers[j] < settings.episodes:
                finished[numbers[j]] = playing[j]
            numbers[j] += count
            playing[j] = PlayedEpisode()
        starts = torch.as_tensor(dones, device=device)
    return [finished[number] for number in range(settings.episodes)]


def control(
    world_model: WorldModel,
    planner: Planner,
    env: EnvLike,
    settings: EvaluationSettings | None = None,
) -> list[float]:
    """Let a planner act in an environment by planning in a world model; return each episode's return.

    :param world_model: e.g. the true dynamics
    :param planner: what plans
    :param env: an environment's id, or a function that makes one
    :param settings: number of episodes and their seed; None for the defaults
    """
    settings = settings or EvaluationSettings()
    environments = make_evaluation_env(env, settings.side_by_side, **(settings.env_kwargs or {}))
    try:
        played = play(ModelActor(world_model, environments), planner, environments, settings)
    finally:
        environments.close()
    return [sum(episode.rewards) for episode in played]


@torch.no_grad()
def _values(
    model: WorldModel, obs: Tensor, memory: Memory, starts: Tensor, generator: torch.Generator
) -> list[float]:
    """The model's value ``[B]`` of states that are observed: of the policy's mean action where values take one."""
    own = {name.removeprefix("model."): value for name, value in memory.items() if name.startswith("model.")}
    z, _ = model.observe(obs, own, starts, generator)
    return state_values(model, z).tolist()


def state_values(model: WorldModel, z: Tensor) -> Tensor:
    """Mean ``[...]`` of the value ensemble at latents ``[..., Z]``, of the policy's mean where values take actions."""
    return model.values(z, model.policy(z).mean if model.takes_action_in_value else None).mean(0)


def _end(
    actor: Actor,
    episode: PlayedEpisode,
    info: Mapping[str, Any],
    memory: Memory,
    generator: torch.Generator,
) -> None:
    """Note the value of the state in which an episode was cut by its time limit, or that its task has ended."""
    episode.terminated = not info.get("TimeLimit.truncated", False)
    if episode.terminated:
        episode.values.append(0.0)
        return
    last = actor.observations_to_tensor(info["terminal_observation"])
    goes_on = torch.zeros(1, dtype=torch.bool, device=last.device)
    episode.values += _values(actor.world_model, last, memory, goes_on, generator)
