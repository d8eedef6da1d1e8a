"""A replay buffer that draws sub-sequences of one episode."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from dream_agents.replay.observations import StoredObservations
from dream_agents.replay.starts import Starts
from dream_agents.wrappers.divergence import INVALID_STEP


class ExtraField(NamedTuple):
    """A field of each step that not every replay buffer has."""

    #: numbers a step
    width: int
    #: each of them until :meth:`SequenceReplayBuffer.rewrite` is told others
    default: float = 0.0


class StoredSteps(NamedTuple):
    """Where steps are stored; the arrays broadcast."""

    slots: np.ndarray
    envs: np.ndarray


class SequenceBatch(NamedTuple):
    """``B`` sub-sequences of ``L`` steps, time first."""

    #: ``[L + 1, B, *obs_shape]``
    observations: Tensor
    #: ``[L, B, A]``, in [-1, 1]
    actions: Tensor
    #: ``[L, B]``
    rewards: Tensor
    #: ``[L, B]``, 1 where the step ended the task; 0 at time limits
    terminated: Tensor
    #: the buffer's extra fields by name, each ``[L, B, width]``; None where it has none
    extra: Mapping[str, Tensor] | None = None
    #: where the steps are stored, ``[L, B]``; None where there are no extra fields to rewrite
    stored: StoredSteps | None = None
    #: 1 where the step happened, 0 after the end of an episode that is shorter, ``[L, B]``; None where all happened
    mask: Tensor | None = None


class SequenceReplayBuffer(Starts, StoredObservations):
    """Replay of sub-sequences of ``sequence_length + 1`` observations inside one episode of one environment.

    By default every start point is drawn equally often. With ``sampling="episodes"`` every finished episode is, and
    then a start point in it, as in TD-MPC2's public code; episodes that still go on are left out, unless none has ended
    yet. The two differ where episodes have different lengths.

    Each observation is stored once: a step takes one slot, and the last observation of an episode one more. The
    newest observation becomes available with the step that follows it.

    With ``frame_stack``, only the newest frame of an observation is stored, and stacks are put together again when
    they are drawn. So a sub-sequence can begin where all frames of its first observation are still stored. An
    episode whose first observation isn't one frame ``k`` times (the environment was not reset, or pads with other
    frames) takes ``k - 1`` slots more, for the older frames.

    :param buffer_size: number of slots, over all environments
    :param observation_space: a Box; images keep their dtype, anything else is stored as float32
    :param action_space: a Box
    :param device: where batches go
    :param n_envs: environments that are stored side by side
    :param optimize_memory_usage: accepted for Stable-Baselines3's sake; observations are stored once in any case
    :param handle_timeout_termination: treat time limits as not ending the task
    :param sequence_length: steps ``L`` in a sub-sequence
    :param seed: seed of the draws
    :param folder: keep the arrays in memory-mapped files there instead of in memory, from the first step stored on;
        the files have no names, belong to this buffer alone, and are gone when it or its process is
    :param frame_stack: frames ``k`` in observations ``[k * C, H, W]`` (uint8), oldest first; 1 stores observations
        as they are
    :param packed_images: shape of each image at the end of observations that are packed, uint8 ``[D]``; empty for
        others. With ``frame_stack``, each of them is a stack
    :param extra_fields: further fields of each step, by name; :meth:`rewrite` sets them, and batches have them
    :param short_episodes: draw episodes of less than ``sequence_length`` steps, too, each as one sub-sequence that is
        masked after its end
    :param sampling: draw "steps" or "episodes" uniformly
    :raises ValueError: if the buffer can't hold one sub-sequence an environment, or observations are no such stacks
    """

    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        sequence_length: int = 3,
        seed: int | None = None,
        folder: str | Path | None = None,
        frame_stack: int = 1,
        packed_images: Sequence[tuple[int, ...]] = (),
        extra_fields: Mapping[str, ExtraField] | None = None,
        short_episodes: bool = False,
        sampling: str = "steps",
    ):
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs)
        if frame_stack < 1:
            raise ValueError(f"frame_stack={frame_stack}: an observation has at least 1 frame")
        self.frame_stack, self.packed_images = frame_stack, tuple(packed_images)
        self._stored_shape = self._shape_to_store(observation_space)
        self.buffer_size = buffer_size // n_envs
        needed = sequence_length + 1 + frame_stack
        if self.buffer_size < needed:
            stacks = f" with stacks of {frame_stack} frames" if frame_stack > 1 else ""
            raise ValueError(
                f"buffer_size={buffer_size} over {n_envs} environments leaves {self.buffer_size} slots each; "
                f"a sub-sequence of {sequence_length} steps{stacks} needs at least {needed}"
            )
        self.sequence_length, self.short_episodes = sequence_length, short_episodes
        self.sampling = self._check_sampling(sampling)
        self.handle_timeout_termination = handle_timeout_termination
        self.rng = np.random.default_rng(seed)
        self.folder = Path(folder) if folder is not None else None
        self.extra_fields = dict(extra_fields or {})
        self._allocate(self.buffer_size if folder is None else 0)
        self.reset()

    def _fields(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of what is stored in each slot of an environment, by the name of the array."""
        fields: dict[str, tuple[tuple[int, ...], Any]] = {
            "actions": ((self.action_dim,), np.float32),
            "rewards": ((), np.float32),
            "terminated": ((), np.float32),
            "episode_ids": ((), np.int64),
        }
        fields |= self._observation_fields()
        for name, field in self.extra_fields.items():
            if name in fields:
                raise ValueError(f"extra_fields has {name!r}, which every replay buffer stores; rename it")
            fields[name] = ((field.width,), np.float32)
        return fields

    def _allocate(self, slots: int) -> None:
        """Make arrays that take no memory until they are written to."""
        for name, (shape, dtype) in self._fields().items():
            setattr(self, name, self._zeros((slots, self.n_envs, *shape), dtype))

    def _zeros(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if self.folder is None or 0 in shape:
            return np.zeros(shape, dtype)
        # The file has no name, and stays for as long as the map does.
        with tempfile.TemporaryFile(dir=self.folder) as file:
            return np.memmap(file, dtype, mode="w+", shape=shape)

    def _make_room(self) -> None:
        """Open the files at the first use: a saved agent that is loaded to act needs none."""
        if self.folder is not None and len(self.rewards) == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._allocate(self.buffer_size)

    def reset(self) -> None:
        """Forget everything."""
        self.positions = np.zeros(self.n_envs, np.int64)  # next slot of each environment
        self.filled = np.zeros(self.n_envs, np.int64)  # slots in use of each environment
        self._current_ids = np.arange(self.n_envs)
        self._next_id = self.n_envs
        self._last_steps = StoredSteps(np.empty(0, np.int64), np.empty(0, np.int64))
        self.pos, self.full = 0, False
        self._episodes = None

    def size(self) -> int:
        """Slots in use over all environments."""
        return int(self.filled.sum())

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store one step of every environment, each argument ``[n_envs, ...]``.

        Where ``infos`` has an ``invalid_step``, the step did not happen: its episode ends with ``obs``.

        :raises ValueError: if a stack of frames isn't that before it moved on by one frame
        """
        self._make_room()
        obs = np.asarray(obs).reshape(self.n_envs, *self.obs_shape)
        invalid = np.array([INVALID_STEP in info for info in infos])
        timeouts = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        terminated = done & ~timeouts if self.handle_timeout_termination else done
        envs = np.flatnonzero(~invalid)
        slots = self._put(envs, obs[envs])
        self.actions[slots, envs] = np.asarray(action).reshape(self.n_envs, self.action_dim)[envs]
        self.rewards[slots, envs] = reward[envs]
        self.terminated[slots, envs] = terminated[envs]
        for name, field in self.extra_fields.items():
            getattr(self, name)[slots, envs] = field.default
        self._last_steps = StoredSteps(slots, envs)
        self._advance(envs)
        self._end_episodes(np.flatnonzero(done & ~invalid), np.asarray(next_obs).reshape(obs.shape))
        self._end_episodes(np.flatnonzero(invalid), obs)

    def _end_episodes(self, envs: np.ndarray, observations: np.ndarray) -> None:
        """Store the last observations of the episodes of ``envs``, out of all environments' last ones."""
        if len(envs) > 0:
            self._put(envs, observations[envs])
            self._advance(envs)
            self.start_episodes(envs)

    @property
    def last_steps(self) -> StoredSteps:
        """Where :meth:`add` has put the latest step of each environment that has taken one."""
        return self._last_steps

    def rewrite(self, steps: StoredSteps, **fields: np.ndarray) -> None:
        """Replace extra fields of stored steps.

        :param steps: as in a batch, or a part of them
        :param fields: new contents by name, each ``[*steps, width]``
        :raises ValueError: for a name that is none of ``extra_fields``
        """
        for name, values in fields.items():
            if name not in self.extra_fields:
                raise ValueError(
                    f"{name!r} is no extra field of this replay buffer; those are {sorted(self.extra_fields)}"
                )
            getattr(self, name)[steps.slots, steps.envs] = values

    def _advance(self, envs: np.ndarray, slots: int = 1) -> None:
        self.positions[envs] = (self.positions[envs] + slots) % self.buffer_size
        self.filled[envs] = np.minimum(self.filled[envs] + slots, self.buffer_size)
        self.pos, self.full = int(self.positions[0]), bool(self.filled.min() == self.buffer_size)

    def start_episodes(self, envs: np.ndarray | None = None) -> None:
        """Let the next step of ``envs`` (all by default) begin a new episode, whether or not the last one ended."""
        envs = np.arange(self.n_envs) if envs is None else envs
        self._current_ids[envs] = self._next_id + np.arange(len(envs))
        self._next_id += len(envs)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> SequenceBatch:  # type: ignore[override]
        """Draw sub-sequences, uniformly over start points or over episodes: see ``sampling``.

        :param batch_size: number of sub-sequences ``B``
        :param env: normalises observations and rewards, if given
        :raises ValueError: if no episode is long enough yet
        """
        starts, envs = self._draw_starts(batch_size)
        offsets = np.arange(self.sequence_length + 1)[:, None]  # [L + 1, 1]
        lengths = self._lengths(starts, envs) if self.short_episodes else self.sequence_length
        mask = np.broadcast_to(offsets[:-1] < lengths, (self.sequence_length, batch_size))  # [L, B]
        # After an episode's end its last observation stays, and the rest is 0.
        slots = (starts + np.minimum(offsets, lengths)) % self.buffer_size  # [L + 1, B]
        steps = slots[:-1]

        def read(name: str, default: float = 0.0) -> np.ndarray:
            values = getattr(self, name)[steps, envs]
            if not mask.all():
                values[~mask] = default
            return values

        rewards = read("rewards")
        if env is not None:
            rewards = env.normalize_reward(rewards)  # 0 stays 0
        batch = SequenceBatch(
            self._read_observations(slots, envs, env),
            self._to_device(read("actions")),
            self._to_device(rewards),
            self._to_device(read("terminated")),
            mask=None if mask.all() else self._to_device(mask.astype(np.float32)),
        )
        if not self.extra_fields:
            return batch
        extra = {name: read(name, field.default) for name, field in self.extra_fields.items()}
        return batch._replace(
            extra={name: self._to_device(values) for name, values in extra.items()},
            stored=StoredSteps(steps, np.broadcast_to(envs, steps.shape)),
        )

    def sample_aside(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Draw a batch to try things on: later draws are the same as without it, and nothing can be stored from it."""
        state = self.rng.bit_generator.state
        try:
            return self.sample(batch_size, env)
        finally:
            self.rng.bit_generator.state = state

    def _to_device(self, array: np.ndarray) -> Tensor:
        return self.to_torch(np.asarray(array), copy=False)  # a plain array, where it was a memory-mapped one

    def state_arrays(self) -> dict[str, np.ndarray]:
        """Everything stored, cut to the slots in use, for :meth:`load_state_arrays`."""
        used = int(self.filled.max())
        arrays = {name: getattr(self, name)[:used] for name in self._fields()}
        counters = {"positions": self.positions, "filled": self.filled, "current_ids": self._current_ids}
        counters["next_id"] = np.array(self._next_id)
        if self.frame_stack > 1:
            counters["frame_stack"] = np.array(self.frame_stack)
        return arrays | counters

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what :meth:`state_arrays` gave.

        :raises ValueError: if the arrays were stored by a buffer of another size or other spaces
        """
        stored_stack = int(arrays.get("frame_stack", 1))
        if stored_stack != self.frame_stack:
            raise ValueError(
                f"stored replay arrays have frame_stack={stored_stack}, this buffer has frame_stack="
                f"{self.frame_stack}; make it with frame_stack={stored_stack}"
            )
        self._make_room()
        self.reset()
        used = len(arrays["rewards"])
        for name in self._fields():
            own = getattr(self, name)
            if used > len(own) or arrays[name].shape[1:] != own.shape[1:]:
                raise ValueError(
                    f"stored replay array {name} has shape {arrays[name].shape}, "
                    f"this buffer's has shape {own.shape}; use the same buffer_size and environments"
                )
            own[:used] = arrays[name]
        self.positions[:], self.filled[:] = arrays["positions"], arrays["filled"]
        self._current_ids[:], self._next_id = arrays["current_ids"], int(arrays["next_id"])
        self._episodes = None
        self._unroll()
        self.pos, self.full = int(self.positions[0]), bool(self.filled.min() == self.buffer_size)

    def _unroll(self) -> None:
        """Put the oldest slot first where the ring was full and smaller than this one."""
        for env in np.flatnonzero((self.filled < self.buffer_size) & (self.positions != self.filled)):
            used, oldest = self.filled[env], self.positions[env]
            for name in self._fields():
                column = getattr(self, name)[:used, env]
                column[:] = np.roll(column, -oldest, axis=0)
            self.positions[env] = used
