"""Every environment that Gymnasium knows: the suite asked last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import find_highest_version, get_env_id, parse_env_id

from dream_agents.registry.environments import is_registered
from dream_agents.wrappers.base import Task
from dream_agents.wrappers.divergence import end_at_divergence


class GymnasiumSuite:
    """The environments registered with Gymnasium by anybody else."""

    name = "gymnasium"

    def ids(self) -> Sequence[str]:
        """Return the ids in Gymnasium's registry, except the suites'."""
        return tuple(id for id in gym.registry if not is_registered(id))

    def names(self) -> Sequence[str]:
        """Return `ids`: Gymnasium has no aliases."""
        return self.ids()

    def resolve(self, name: str) -> str | None:
        """Return the id itself, with the latest version where it has none, or None if it is unknown."""
        id = name
        if id not in gym.registry:
            try:
                namespace, base, version = parse_env_id(name)
            except gym.error.Error:
                return None
            latest = find_highest_version(namespace, base) if version is None else None
            id = get_env_id(namespace, base, latest)
        return id if id in gym.registry and not is_registered(id) else None

    def task(self, id: str) -> Task:
        """Describe one environment as far as its registration does.

        :raises KeyError: if there is no such id
        """
        spec = gym.registry[id]
        return Task(
            id=id,
            entry_point=spec.entry_point or "",
            kwargs=spec.kwargs,
            max_episode_steps=spec.max_episode_steps,
        )

    def make(self, id: str, *, render_mode: str | None = None, **options: Any) -> gym.Env[Any, Any]:
        """Make one environment with `gymnasium.make`; where MuJoCo's physics diverges, its episode ends."""
        if render_mode is not None:  # not every environment takes the argument
            options["render_mode"] = render_mode
        return end_at_divergence(gym.make(id, **options))


SUITE = GymnasiumSuite()
"""All other Gymnasium ids."""
