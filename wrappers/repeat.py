"""Action repeat."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


def check_repeat(repeat: int) -> None:
    """Raise a `ValueError` if `repeat` is not a positive whole number."""
    if not isinstance(repeat, int) or repeat < 1:
        raise ValueError(f"action_repeat must be a positive whole number, not {repeat!r}")


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Hold each action for several frames of the simulator; the rewards are summed.

    The frames stop early where the episode ends. `metadata["action_repeat"]` tells the number, and
    `metadata["render_fps"]` is divided by it.

    :param env: the environment, which takes one frame a step
    :param repeat: frames a decision
    :raises ValueError: if `repeat` is not a positive whole number
    """

    def __init__(self, env: gym.Env[Any, Any], repeat: int) -> None:
        check_repeat(repeat)
        gym.utils.RecordConstructorArgs.__init__(self, repeat=repeat)
        gym.Wrapper.__init__(self, env)
        self.repeat = repeat
        self.metadata = {**env.metadata, "action_repeat": repeat * env.metadata.get("action_repeat", 1)}
        if "render_fps" in self.metadata:
            self.metadata["render_fps"] /= repeat

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one decision; return the last frame's observation, flags and info, and the summed reward."""
        total = 0.0
        for _ in range(self.repeat):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info
