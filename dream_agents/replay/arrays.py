"""What replay buffers hold, as arrays that go into a checkpoint."""

from __future__ import annotations

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

from dream_agents.replay.sequence import SequenceReplayBuffer

_PLAIN = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def replay_arrays(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    """Everything that :func:`set_replay_arrays` needs to go on, of our buffer or Stable-Baselines3's."""
    if isinstance(buffer, SequenceReplayBuffer):
        return buffer.state_arrays()
    # Where next observations are not stored on their own, that of the newest step stands in the next slot.
    used = buffer.buffer_size if buffer.full else min(buffer.pos + 1, buffer.buffer_size)
    arrays = {name: array[:used] for name, array in _plain_arrays(buffer).items()}
    return {**arrays, "pos": np.array(buffer.pos), "full": np.array(buffer.full)}


def set_replay_arrays(buffer: ReplayBuffer, arrays: dict[str, np.ndarray]) -> None:
    """Put back what :func:`replay_arrays` gave.

    :raises ValueError: if the buffer has another size, or is for other environments
    """
    if isinstance(buffer, SequenceReplayBuffer):
        buffer.load_state_arrays(arrays)
        return
    for name, own in _plain_arrays(buffer).items():
        if name in arrays:
            stored = arrays[name]
            fits = len(stored) == len(own) if arrays["full"] else len(stored) <= len(own)
            if not fits or stored.shape[1:] != own.shape[1:]:
                raise ValueError(
                    f"the replay buffer's {name} have shape {own.shape}, but {stored.shape} in the checkpoint; "
                    "continue with the buffer_size, n_envs and environment that it was written with"
                )
            own[: len(stored)] = stored
    buffer.pos, buffer.full = int(arrays["pos"]), bool(arrays["full"])


def _plain_arrays(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    """The arrays of a buffer of Stable-Baselines3; a dictionary's are named "observations.key"."""
    arrays: dict[str, np.ndarray] = {}
    for name in _PLAIN:
        value = getattr(buffer, name, None)
        if isinstance(value, dict):
            arrays |= {f"{name}.{key}": array for key, array in value.items()}
        elif value is not None:
            arrays[name] = value
    return arrays


def cut_episodes(buffer: ReplayBuffer) -> None:
    """Let the next step of every environment begin a new episode, whether or not the last one has ended."""
    if isinstance(buffer, SequenceReplayBuffer):
        buffer.start_episodes()
    elif buffer.full or buffer.pos > 0:
        last = (buffer.pos - 1) % buffer.buffer_size
        if buffer.optimize_memory_usage:  # the next observation of the last step will be another episode's
            buffer.dones[last] = True
        else:  # steps that are summed over end here
            buffer.timeouts[last] = np.maximum(buffer.timeouts[last], 1 - buffer.dones[last])
