"""Videos of an agent in its environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from dream_agents.evaluation.environments import check_ends, check_length, first_episode_seed, task_of
from dream_agents.evaluation.planners import acting_with
from dream_agents.wrappers import make_env, task_info
from dream_agents.wrappers.make import EnvLike

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from dream_agents.planners import Planner

_DEFAULT_FPS = 30


class VideoUnavailableError(ImportError):
    """What encodes videos is not installed."""


def record_video(
    model: BaseAlgorithm,
    path: str | Path,
    env: EnvLike | None = None,
    planner: str | Planner | None = None,
    *,
    seed: int = 0,
    max_decisions: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> float:
    """Film episode 0 of ``seed``, the first one of :func:`evaluate`, and return its return so far.

    :param model: an agent
    :param path: an ``.mp4`` file
    :param env: an environment's id or a function that makes one that renders ``"rgb_array"``; by default the one
        that the agent was made with
    :param planner: the planner to act with, as for :func:`evaluate`; None for the agent's own
    :param seed: seed of the episode
    :param max_decisions: stop there, even if the episode goes on
    :param env_kwargs: keyword arguments of the environment
    :param progress: called after each decision with the number of decisions so far
    :raises VideoUnavailableError: if the extra ``video`` is not installed
    :raises RenderingUnavailableError: if there is no OpenGL to render with; it names the packages to install
    :raises ValueError: if the file is no ``.mp4``, there is no environment to film, or its episodes neither end
        nor have a limit
    """
    path = Path(path)
    check_video_path(path)
    place, options = task_of(model, env, env_kwargs)
    check_video_available()
    if isinstance(place, str):
        options["render_mode"] = "rgb_array"
    one = make_env(place, **options)
    try:
        with acting_with(model, planner):
            return _film(model, one, path, seed, max_decisions, progress)
    finally:
        one.close()


def check_video_path(path: Path) -> None:
    """Raise a ``ValueError`` unless a file of that name can hold a video."""
    if path.suffix != ".mp4":
        raise ValueError(f"videos are written as .mp4; {path} has another suffix")


def check_video_available() -> None:
    """Raise :class:`VideoUnavailableError`, which says what to install, unless videos can be encoded."""
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise VideoUnavailableError(
            f"writing a video needs a package that is missing ({error}); pip install 'dream-agents[video]'"
        ) from error


def _film(
    model: BaseAlgorithm,
    env: gym.Env[Any, Any],
    path: Path,
    seed: int,
    max_decisions: int | None,
    progress: Callable[[int], None] | None,
) -> float:
    import imageio.v2
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".unfinished-{path.name}")
    fps = env.metadata.get("render_fps") or _DEFAULT_FPS
    obs, _ = env.reset(seed=first_episode_seed(seed))
    total, decisions, state, over = 0.0, 0, None, False
    if max_decisions is None:
        check_ends(env)
    limit = task_info(env).max_episode_steps if max_decisions is None else max_decisions
    # Players want even sizes; the encoder's own default, multiples of 16, would rescale the picture.
    writer: Any = imageio.v2.get_writer(unfinished, fps=fps, macro_block_size=2)
    with writer:
        writer.append_data(env.render())
        while not over and (max_decisions is None or decisions < max_decisions):
            starts = np.array([decisions == 0])
            action, state = model.predict(obs, state, starts, deterministic=True)
            obs, reward, terminated, truncated, _ = env.step(action)
            writer.append_data(env.render())
            total, decisions, over = total + float(reward), decisions + 1, terminated or truncated
            check_length(limit, decisions)
            if progress is not None:
                progress(decisions)
    os.replace(unfinished, path)
    return total
