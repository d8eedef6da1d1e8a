"""What a run goes on with that is no weight: random states, number of the episode, normalisation."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dream_agents.replay import SequenceReplayBuffer


class Checkpointable(Protocol):
    """What a checkpoint takes from an agent, and gives back to a loaded one."""

    @property
    def num_timesteps(self) -> int:
        """Decisions so far, which name the checkpoint."""

    @property
    def env(self) -> VecEnv | None:
        """Its environments; those that seed their episodes (``EpisodeSeeding``) go on with the next one."""

    @property
    def replay_buffer(self) -> ReplayBuffer | None:
        """What it learns from; needed."""

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Draws the random actions before learning."""

    @property
    def device(self) -> torch.device:
        """Where ``generators`` draw, and CUDA's global one; on a device of another type they can't go on."""

    @property
    def generators(self) -> Mapping[str, torch.Generator]:
        """Its own random streams by name; none if it draws from the global one."""

    def get_vec_normalize_env(self) -> VecNormalize | None:
        """Return what normalises observations and rewards, if anything does."""

    def save(self, path: io.BytesIO, /) -> None:
        """Write all else to a file, which the agent's class loads."""


def training_state(agent: Checkpointable) -> dict[str, Any]:
    """Return what neither the agent's file nor its replay holds, as tensors and plain values.

    Objects of the user can't be read back.
    """
    replay, (name, keys, *rest) = agent.replay_buffer, np.random.get_state()
    return {
        "episodes": _episodes(agent.env),
        "normalization": _normalization(agent.get_vec_normalize_env()),
        "device": agent.device.type,
        "generators": {name: generator.get_state() for name, generator in agent.generators.items()},
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(agent.device) if agent.device.type == "cuda" else None,
        "numpy_rng": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python_rng": random.getstate(),
        "replay_rng": replay.rng.bit_generator.state if isinstance(replay, SequenceReplayBuffer) else None,
        "action_space_rng": agent.action_space.np_random.bit_generator.state,
    }


def set_training_state(agent: Checkpointable, state: dict[str, Any]) -> None:
    """Give a loaded agent and its process back what :func:`training_state` returned."""
    if agent.env is not None and state["episodes"] is not None:
        _set_next_episodes(agent.env, state["episodes"])
    if state["normalization"] is not None:
        _set_normalization(agent.get_vec_normalize_env(), state["normalization"])
    if isinstance(agent.replay_buffer, SequenceReplayBuffer):
        agent.replay_buffer.rng.bit_generator.state = state["replay_rng"]
    agent.action_space.np_random.bit_generator.state = state["action_space_rng"]
    for name, generator in agent.generators.items():
        if state["device"] == agent.device.type:
            generator.set_state(state["generators"][name])
    torch.set_rng_state(state["torch_rng"])
    cuda_rng = state.get("cuda_rng")  # earlier versions left it out
    if cuda_rng is not None and agent.device.type == "cuda":
        torch.cuda.set_rng_state(cuda_rng, agent.device)
    name, keys, *rest = state["numpy_rng"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["python_rng"]
    random.setstate((version, tuple(internal), gauss))


def _episodes(env: VecEnv | None) -> list[tuple[int | None, int]] | None:
    """Seed and number of each environment's current episode, where environments are seeded by episode."""
    if env is None or not env.has_attr("episode_seeding_state"):
        return None
    states = env.env_method("episode_seeding_state")
    return [(None if seed is None else int(seed), int(episode)) for seed, episode in states]


def _set_next_episodes(env: VecEnv, episodes: list[tuple[int | None, int]]) -> None:
    if not env.has_attr("set_episode_seeding_state") or len(episodes) != env.num_envs:
        return
    env.reset()  # uses up the seed that the agent's set-up left for the next reset
    for index, (seed, episode) in enumerate(episodes):
        env.env_method("set_episode_seeding_state", seed, episode, indices=[index])


def _running_statistics(env: VecNormalize) -> dict[str, RunningMeanStd]:
    statistics = {"ret_rms": env.ret_rms}
    if env.norm_obs:
        assert isinstance(env.obs_rms, RunningMeanStd)  # observations are a Box
        statistics["obs_rms"] = env.obs_rms
    return statistics


def _normalization(env: VecNormalize | None) -> dict[str, dict[str, torch.Tensor]] | None:
    """Mean, variance and count of what the environments normalise by; a reset sets discounted returns back."""
    if env is None:
        return None
    return {
        name: {part: torch.from_numpy(np.array(getattr(rms, part))) for part in ("mean", "var", "count")}
        for name, rms in _running_statistics(env).items()
    }


def _set_normalization(env: VecNormalize | None, saved: dict[str, dict[str, torch.Tensor]]) -> None:
    if env is None:
        warnings.warn(
            "the checkpoint holds statistics of VecNormalize, but the environment has none: give load_checkpoint "
            "env=VecNormalize(...), as when it was written, or the agent sees observations on another scale",
            stacklevel=5,
        )
        return
    for name, rms in _running_statistics(env).items():
        if name in saved:
            rms.mean, rms.var = saved[name]["mean"].numpy(), saved[name]["var"].numpy()
            rms.count = saved[name]["count"].item()
