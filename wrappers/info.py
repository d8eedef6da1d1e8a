"""What an environment's steps are: frames, limits and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


@dataclass(frozen=True)
class TaskInfo:
    """What a step and an episode of an environment are."""

    action_repeat: int
    """Frames of the simulator a decision: ``env_frames = decisions * action_repeat``."""
    max_episode_steps: int | None
    """Decisions after which an episode is truncated; None for no limit."""
    episodic: bool
    """Whether an episode may end by `terminated`, before the time limit."""
    frame_stack: int = 1
    """Images in an observation, along its first axis."""


@dataclass(frozen=True)
class EnvInfo:
    """One environment, as a listing shows it."""

    id: str
    suite: str
    observation_size: int
    """Numbers in a state observation."""
    action_size: int
    """Numbers in an action."""
    max_episode_steps: int | None
    """Decisions an episode; None for no limit."""
    action_repeat: int
    """Frames of the simulator a decision."""
    episodic: bool
    """Whether an episode may end by `terminated`, before the time limit."""
    aliases: tuple[str, ...]
    """Other names that `make_env` understands."""
    target_return: float | None = None
    """Return at which the benchmark counts an episode as a success; None if it names none."""
    random_return: float | None = None
    """Mean return of a uniform random policy as published, for normalized scores:
    ``(x - random) / (target - random)``."""


def task_info(env: gym.Env[Any, Any] | VecEnv) -> TaskInfo:
    """Tell what a step and an episode of an environment, or of a VecEnv's first one, are.

    The action repeat, `episodic` and `frame_stack` stand in the environment's `metadata`, under these names;
    where they do not, the repeat and the stack are 1 and episodes may end. The limit is that of Gymnasium's
    `TimeLimit`.
    """
    if isinstance(env, gym.Env):
        metadata = env.metadata
        limited = env.has_wrapper_attr("_max_episode_steps")
        limit = env.get_wrapper_attr("_max_episode_steps") if limited else None
    else:
        (metadata,) = env.get_attr("metadata", indices=[0])
        limited = env.has_attr("_max_episode_steps")
        limit = env.get_attr("_max_episode_steps", indices=[0])[0] if limited else None
    return TaskInfo(
        action_repeat=metadata.get("action_repeat", 1),
        max_episode_steps=limit,
        episodic=metadata.get("episodic", True),
        frame_stack=metadata.get("frame_stack", 1),
    )
