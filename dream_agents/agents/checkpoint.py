"""Checkpoints that survive a kill at any moment: written aside, verified, renamed; the last good one is found."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from dream_agents.agents.collecting import CollectingAgent
from dream_agents.agents.plain_weights import pack_weights
from dream_agents.agents.training_state import Checkpointable, set_training_state, training_state
from dream_agents.files import only_writer
from dream_agents.replay.arrays import replay_arrays, set_replay_arrays

_PREFIX, _UNFINISHED, _REPLACED = "checkpoint_", ".unfinished_", ".replaced_"
AGENT_FILE, _REPLAY, _STATE, _MANIFEST = "agent.zip", "replay.npz", "state.pt", "manifest.json"
_FILES = (AGENT_FILE, _REPLAY, _STATE)
#: Weights and counters without pickle; checkpoints of version 0.1 lack them.
WEIGHTS_FILE = "weights.safetensors"


class CheckpointError(ValueError):
    """A checkpoint is incomplete or damaged."""


class _Manifest(NamedTuple):
    #: counts the checkpoints in their folder, in the order of writing
    number: int
    decisions: int
    #: "bytes" and "sha256" by name
    files: dict[str, dict[str, Any]]
    #: name of the agent's class; None in checkpoints of version 0.1 and before
    agent: str | None = None


class CheckpointCallback(BaseCallback):
    """Writes checkpoints while an agent learns.

    One is due every ``save_freq`` decisions and written at the next episode's end, after its updates, so that a
    resumed run goes on where this one would have; one that is due when ``learn`` ends is written then. Where episodes
    and rounds of updates don't end together, it is written ``save_freq`` decisions late at most, and the episode in
    progress is cut. A full disk costs a warning, not the run.

    ``learn`` raises a ValueError at once if the folder holds good checkpoints of more decisions than the agent has:
    they are another run's, and are not to be lost. While it goes on, no other process can write to the folder: it is
    told so by a BlockingIOError.

    :param folder: where checkpoints go
    :param save_freq: decisions between checkpoints
    :param keep: checkpoints that are kept, the last written ones; damaged ones don't count
    :param verbose: 1 prints each checkpoint's path
    :raises ValueError: if ``save_freq`` or ``keep`` is less than 1
    """

    def __init__(self, folder: str | Path, save_freq: int = 10_000, keep: int = 2, verbose: int = 0):
        super().__init__(verbose)
        for name, value in (("save_freq", save_freq), ("keep", keep)):
            if value < 1:
                raise ValueError(f"{name}={value}: at least 1 is needed")
        self.folder, self.save_freq, self.keep = Path(folder), save_freq, keep
        self._last_save = 0
        #: decisions of the last checkpoint that was written; None before
        self.written_at: int | None = None

    def _on_training_start(self) -> None:
        self._last_save = self.num_timesteps
        if isinstance(self.model, CollectingAgent):
            self.model.while_learning.enter_context(only_writer(self.folder))
        _refuse_other_runs(self.folder, self.num_timesteps)

    def _on_rollout_start(self) -> None:
        since = self.model.num_timesteps - self._last_save
        starts = self.model._last_episode_starts
        at_episode_end = starts is not None and bool(starts.all())
        if since >= 2 * self.save_freq or (since >= self.save_freq and at_episode_end):
            self._save()

    def _on_training_end(self) -> None:
        if self.model.num_timesteps - self._last_save >= self.save_freq:
            self._save()

    def _save(self) -> None:
        self._last_save = self.model.num_timesteps
        try:
            path = save_checkpoint(cast("Checkpointable", self.model), self.folder, self.keep)
        except ChildProcessError:
            raise  # environments that have died, not the disk
        except OSError as error:
            warnings.warn(
                f"no checkpoint was written to {self.folder} at decision {self._last_save}: {error}; older ones are "
                f"still there, the next try is in {self.save_freq} decisions",
                stacklevel=2,
            )
            return
        self.written_at = self._last_save
        if self.verbose > 0:
            print(f"checkpoint: {path}")

    def _on_step(self) -> bool:
        return True


def save_checkpoint(agent: Checkpointable, folder: str | Path, keep: int = 2) -> Path:
    """Write everything an agent needs to go on learning, atomically, and drop all but the last written ``keep``.

    Damaged checkpoints don't count, and go when there are ``keep`` others. Checkpoints of more decisions than the
    agent has are left alone. One of as many decisions is replaced.

    :return: the new checkpoint's folder
    :raises OSError: if it can't be written; earlier checkpoints then stay
    :raises BlockingIOError: if another process writes to the folder
    :raises ValueError: if ``keep`` is less than 1
    """
    if keep < 1:
        raise ValueError(f"keep={keep}: at least 1 is needed")
    with only_writer(Path(folder)):
        return _write_checkpoint(agent, Path(folder), keep)


def _write_checkpoint(agent: Checkpointable, folder: Path, keep: int) -> Path:
    for stale in folder.glob(f"{_UNFINISHED}*"):  # of processes that were killed
        shutil.rmtree(stale, ignore_errors=True)
    final = folder / f"{_PREFIX}{agent.num_timesteps:010d}"
    unfinished = folder / f"{_UNFINISHED}{final.name}"
    unfinished.mkdir(parents=True)
    try:
        _write_files(agent, unfinished)
        files = {name: _describe(unfinished / name) for name in (*_FILES, WEIGHTS_FILE)}
        manifest = _Manifest(_next_number(folder), agent.num_timesteps, files, type(agent).__name__)
        content = manifest._asdict()
        content["sha256"] = _checksum_of(content)
        (unfinished / _MANIFEST).write_text(json.dumps(content, indent=1))
        for path in (*unfinished.iterdir(), unfinished):
            _flush(path)
        _put_in_place(unfinished, final, manifest.number)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _drop_old(folder, agent.num_timesteps, keep)
    return final


def find_checkpoints(folder: str | Path) -> list[Path]:
    """List a folder's checkpoints, last written first, good or not.

    Those that don't say when they were written come before all others, so that they are not overlooked. One that
    was being replaced when the process was killed is listed, too.
    """
    found = [path for prefix in (_PREFIX, _REPLACED) for path in Path(folder).glob(f"{prefix}*")]
    return sorted(found, key=lambda path: (_write_order(path), path.name), reverse=True)


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
    for name, expected in _check_sizes(checkpoint).files.items():
        try:
            actual = _sha256(checkpoint / name)
        except OSError as error:
            raise CheckpointError(f"{name} can't be read ({error})") from error
        if actual != expected["sha256"]:
            raise CheckpointError(f"{name} has another checksum than when it was written")


def restore_training_state(agent: Checkpointable, checkpoint: Path) -> None:
    """Give a loaded agent its replay buffer, random states, number of the next episode and normalisation back."""
    assert agent.replay_buffer is not None
    with np.load(checkpoint / _REPLAY) as arrays:
        set_replay_arrays(agent.replay_buffer, dict(arrays))
    set_training_state(agent, torch.load(checkpoint / _STATE, weights_only=True))


def _refuse_other_runs(folder: Path, decisions: int) -> None:
    """Raise a ValueError if a good checkpoint in the folder has more decisions than the run that starts."""
    for checkpoint in find_checkpoints(folder):
        try:
            ahead = _read_manifest(checkpoint).decisions
            if ahead <= decisions:
                continue
            verify_checkpoint(checkpoint)
        except CheckpointError:
            continue  # it is why an earlier one was loaded
        raise ValueError(
            f"{folder} holds {checkpoint.name}, of {ahead} decisions, and this agent has {decisions}: another run "
            "wrote it. Continue that run (load_checkpoint of this folder, then learn with reset_num_timesteps=False), "
            "or give CheckpointCallback another folder"
        )


def _write_files(agent: Checkpointable, folder: Path) -> None:
    """Write all but the manifest; PyTorch writes to memory, since a full disk is no OSError where it writes itself."""
    assert agent.replay_buffer is not None
    agent_file, state_file = io.BytesIO(), io.BytesIO()
    agent.save(agent_file)
    torch.save(training_state(agent), state_file)
    (folder / AGENT_FILE).write_bytes(agent_file.getbuffer())
    (folder / _STATE).write_bytes(state_file.getbuffer())
    (folder / WEIGHTS_FILE).write_bytes(pack_weights(cast(BaseAlgorithm, agent)))
    np.savez(folder / _REPLAY, **replay_arrays(agent.replay_buffer))  # type: ignore[arg-type]


def _put_in_place(unfinished: Path, final: Path, number: int) -> None:
    """Rename so that at every moment the new checkpoint or the one that it replaces is found."""
    replaced = final.with_name(f"{_REPLACED}{number}_{final.name}")
    if final.exists():  # the same decision was saved before, e.g. by a run that was resumed
        final.rename(replaced)
    unfinished.rename(final)
    _flush(final.parent)
    _discard(replaced)


def _drop_old(folder: Path, decisions: int, keep: int) -> None:
    """Drop damaged checkpoints, and all but the last written ``keep`` of up to ``decisions``, if there are as many.

    Sizes alone are checked: to read every replay buffer at every save would take too long.
    """
    whole, damaged = [], []
    for checkpoint in find_checkpoints(folder):
        try:
            if _check_sizes(checkpoint).decisions <= decisions:
                whole.append(checkpoint)
        except CheckpointError:
            damaged.append(checkpoint)
    if len(whole) >= keep:
        for checkpoint in whole[keep:] + damaged:
            _discard(checkpoint)


def _discard(checkpoint: Path) -> None:
    """Remove a checkpoint if it is there, renamed first: what is left by a kill must not look like a damaged one."""
    removed = checkpoint.with_name(f"{_UNFINISHED}{checkpoint.name}")
    with contextlib.suppress(OSError):
        checkpoint.rename(removed)
        shutil.rmtree(removed)


def _read_manifest(checkpoint: Path) -> _Manifest:
    """Read a manifest; those that were written before it had a checksum of its own and an agent lack both."""
    try:
        content = json.loads((checkpoint / _MANIFEST).read_text())
        checksum = content.pop("sha256", None)
        names = set(_Manifest._fields) if checksum is not None else set(_Manifest._fields) - {"agent"}
        if content.keys() != names or (checksum is not None and checksum != _checksum_of(content)):
            raise ValueError("it was changed")
        listed = [*_FILES, *(name for name in content["files"] if name == WEIGHTS_FILE)]
        files = {name: {key: content["files"][name][key] for key in ("bytes", "sha256")} for name in listed}
        return _Manifest(int(content["number"]), int(content["decisions"]), files, content.get("agent"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{_MANIFEST} is missing or damaged ({error!r})") from error


def _checksum_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_agent(checkpoint: Path, agent: type) -> None:
    """Check that a checkpoint is of an agent's class; checkpoints of version 0.1 do not say it.

    :raises ValueError: if another one wrote it
    """
    wrote = _read_manifest(checkpoint).agent
    if wrote is not None and wrote != agent.__name__:
        raise ValueError(
            f"{checkpoint} was written by {wrote}, not {agent.__name__}: go on with {wrote}.load_checkpoint"
        )


def _write_order(checkpoint: Path) -> float:
    try:
        return _read_manifest(checkpoint).number
    except CheckpointError:
        return math.inf


def _next_number(folder: Path) -> int:
    numbers = [_write_order(checkpoint) for checkpoint in find_checkpoints(folder)]
    return 1 + int(max((number for number in numbers if number < math.inf), default=0))


def _check_sizes(checkpoint: Path) -> _Manifest:
    """Return the manifest if files are there and as long as it says."""
    manifest = _read_manifest(checkpoint)
    for name, expected in manifest.files.items():
        path = checkpoint / name
        if not path.is_file():
            raise CheckpointError(f"{name} is missing")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{name} has {size} bytes instead of {expected['bytes']}")
    return manifest


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
