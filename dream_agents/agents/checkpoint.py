"""Checkpoints that survive a kill at any moment: written aside, verified, renamed; the last good one is found."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent

_PREFIX, _UNFINISHED = "checkpoint_", ".unfinished_"
_AGENT, _REPLAY, _STATE, _MANIFEST = "agent.zip", "replay.npz", "state.pt", "manifest.json"


class CheckpointError(ValueError):
    """A checkpoint is incomplete or damaged."""


class CheckpointCallback(BaseCallback):
    """Writes checkpoints while an agent learns.

    One is due every ``save_freq`` decisions and written at the next episode's end, after its updates, so that a
    resumed run goes on where this one would have. Where episodes and rounds of updates don't end together, it is
    written ``save_freq`` decisions late at most, and the episode in progress is cut. A full disk costs a warning,
    not the run.

    :param folder: where checkpoints go
    :param save_freq: decisions between checkpoints
    :param keep: good checkpoints that are kept
    :param verbose: 1 prints each checkpoint's path
    """

    def __init__(self, folder: str | Path, save_freq: int = 10_000, keep: int = 2, verbose: int = 0):
        super().__init__(verbose)
        self.folder, self.save_freq, self.keep = Path(folder), save_freq, keep
        self._last_save = 0

    def _on_training_start(self) -> None:
        self._last_save = self.num_timesteps

    def _on_rollout_start(self) -> None:
        since = self.model.num_timesteps - self._last_save
        starts = self.model._last_episode_starts
        at_episode_end = starts is not None and bool(starts.all())
        if since >= 2 * self.save_freq or (since >= self.save_freq and at_episode_end):
            self._last_save = self.model.num_timesteps
            self._save()

    def _save(self) -> None:
        try:
            path = save_checkpoint(self.model, self.folder, self.keep)  # type: ignore[arg-type]
        except OSError as error:
            warnings.warn(
                f"no checkpoint was written to {self.folder} at decision {self._last_save}: {error}; older ones are "
                f"still there, the next try is in {self.save_freq} decisions",
                stacklevel=2,
            )
            return
        if self.verbose > 0:
            print(f"checkpoint: {path}")

    def _on_step(self) -> bool:
        return True


def save_checkpoint(agent: WorldModelAgent, folder: str | Path, keep: int = 2) -> Path:
    """Write everything an agent needs to go on learning, atomically, and drop all but the newest ``keep``.

    :return: the new checkpoint's folder
    :raises OSError: if it can't be written; earlier checkpoints then stay
    """
    folder = Path(folder)
    final = folder / f"{_PREFIX}{agent.num_timesteps:010d}"
    unfinished = folder / f"{_UNFINISHED}{final.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        agent.save(unfinished / _AGENT)
        assert agent.replay_buffer is not None
        np.savez(unfinished / _REPLAY, **agent.replay_buffer.state_arrays())  # type: ignore[arg-type]
        torch.save(_training_state(agent), unfinished / _STATE)
        files = {name: _describe(unfinished / name) for name in (_AGENT, _REPLAY, _STATE)}
        manifest = {"decisions": agent.num_timesteps, "agent": type(agent).__name__, "files": files}
        (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        for path in (*unfinished.iterdir(), unfinished):
            _flush(path)
        if final.exists():  # the same decision was saved before, e.g. by a run that was resumed
            shutil.rmtree(final)
        unfinished.rename(final)
        _flush(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    for old in find_checkpoints(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def find_checkpoints(folder: str | Path) -> list[Path]:
    """List a folder's checkpoints, newest first, good or not."""
    return sorted(Path(folder).glob(f"{_PREFIX}*"), reverse=True)


def newest_good_checkpoint(folder: str | Path) -> Path:
    """Find the newest checkpoint that is whole; bad ones are named in a warning.

    :param folder: folder of checkpoints, or one checkpoint
    :raises FileNotFoundError: if there is none
    """
    folder = Path(folder)
    candidates = [folder] if folder.name.startswith(_PREFIX) else find_checkpoints(folder)
    for candidate in candidates:
        try:
            verify_checkpoint(candidate)
        except CheckpointError as error:
            warnings.warn(f"checkpoint {candidate} can't be used: {error}", stacklevel=3)
        else:
            return candidate
    raise FileNotFoundError(
        f"no good checkpoint in {folder} ({len(candidates)} found); they are folders named {_PREFIX}<decisions>, "
        "as CheckpointCallback or `dream-agents train` writes them"
    )


def verify_checkpoint(checkpoint: Path) -> None:
    """Check sizes and checksums.

    :raises CheckpointError: if a file is missing, truncated or changed
    """
    try:
        files = json.loads((checkpoint / _MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{_MANIFEST} is missing or damaged ({error})") from error
    for name, expected in files.items():
        path = checkpoint / name
        if not path.is_file():
            raise CheckpointError(f"{name} is missing")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{name} has {size} bytes instead of {expected['bytes']}")
        if _sha256(path) != expected["sha256"]:
            raise CheckpointError(f"{name} has another checksum than when it was written")


def read_checkpoint_task(checkpoint: Path) -> dict[str, Any]:
    """How the training environments were made: keyword arguments of the agent, ``env`` among them."""
    return torch.load(checkpoint / _STATE, weights_only=True)["task"]


def restore_training_state(agent: WorldModelAgent, checkpoint: Path) -> None:
    """Give a loaded agent its replay buffer, random states and the number of the next episode back."""
    assert agent.replay_buffer is not None
    with np.load(checkpoint / _REPLAY) as arrays:
        agent.replay_buffer.load_state_arrays(dict(arrays))
    state = torch.load(checkpoint / _STATE, weights_only=True)
    if agent.env is not None and state["episodes"] is not None:
        _set_next_episodes(agent.env, state["episodes"])
    agent.replay_buffer.rng.bit_generator.state = state["replay_rng"]
    agent.action_space.np_random.bit_generator.state = state["action_space_rng"]
    for name, generator in agent.generators.items():
        if state["device"] == agent.device.type:
            generator.set_state(state["generators"][name])
    torch.set_rng_state(state["torch_rng"])
    name, keys, *rest = state["numpy_rng"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["python_rng"]
    random.setstate((version, tuple(internal), gauss))


def _training_state(agent: WorldModelAgent) -> dict[str, Any]:
    """Everything beside networks, optimizers and replay, as tensors and plain values (no pickled objects)."""
    assert agent.replay_buffer is not None
    name, keys, *rest = np.random.get_state()
    return {
        "task": agent.task_kwargs,
        "episodes": _episodes(agent.env),
        "device": agent.device.type,
        "generators": {name: generator.get_state() for name, generator in agent.generators.items()},
        "torch_rng": torch.get_rng_state(),
        "numpy_rng": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python_rng": random.getstate(),
        "replay_rng": agent.replay_buffer.rng.bit_generator.state,
        "action_space_rng": agent.action_space.np_random.bit_generator.state,
    }


def _episodes(env: VecEnv | None) -> list[tuple[int | None, int]] | None:
    """Seed and number of each environment's current episode, where environments are seeded by episode."""
    if env is None or not env.has_attr("episode_seeding_state"):
        return None
    return env.env_method("episode_seeding_state")


def _set_next_episodes(env: VecEnv, episodes: list[tuple[int | None, int]]) -> None:
    if not env.has_attr("set_episode_seeding_state") or len(episodes) != env.num_envs:
        return
    env.reset()  # uses up the seed that the agent's set-up left for the next reset
    for index, (seed, episode) in enumerate(episodes):
        env.env_method("set_episode_seeding_state", seed, episode, indices=[index])


def _describe(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Make sure that a file or folder is on the disk before anything refers to it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
