"""What ``controller.json`` says of an exported file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from dream_agents.deploy.description import FILE_NAME, VERSION, checksum
from dream_agents.export.errors import ExportError
from dream_agents.export.program import ACTION, EPISODE_START, MEMORY, NEW_MEMORY, NOISE, Program
from dream_agents.files import write_json
from dream_agents.planners.draws import PERMUTATION

_OWN_UNITS = "the environment's own"
_HOW_TO_START = (
    "give episode_start = true with an episode's first observation: memory is ignored then, and may be zeros. "
    "With the next observations give false, and each new_memory as the memory of the same name. "
    "Draw new noise for every decision."
)
_HOW_TO_START_WITHOUT_MEMORY = (
    "there is no memory: every decision is the same function of its observation (and noise)"
)


def describe(
    program: Program, n_envs: int, action_space: spaces.Box, observation_space: gym.Space[Any]
) -> dict[str, Any]:
    """Names, shapes, types and units of a program's inputs and outputs.

    :param program: the program
    :param n_envs: environments a decision
    :param action_space: the environment's
    :param observation_space: what it observes
    """
    paths = {part.name: part.path for part in program.parts}
    inputs = [_input(name, program, paths) for name in program.inputs]
    outputs = [_output(name, program) for name in program.outputs]
    flat = all(isinstance(part.space, spaces.Box | spaces.MultiBinary) for part in program.parts)
    has_images = any(part.is_picture for part in program.parts)
    return {
        "n_envs": n_envs,
        "inputs": inputs,
        "outputs": outputs,
        "observation": {
            "kind": "array" if program.parts[0].path == () else "parts",
            "space": str(observation_space),
            "flat_size": spaces.flatdim(observation_space) if flat and not has_images else None,
        },
        "action": {
            "low": action_space.low.tolist(),
            "high": action_space.high.tolist(),
            "shape": list(action_space.shape),
            "dtype": str(action_space.dtype),
            "units": _OWN_UNITS,
        },
        "episode": _HOW_TO_START if EPISODE_START in program.inputs else _HOW_TO_START_WITHOUT_MEMORY,
    }


def _entry(name: str, program: Program, role: str, **more: Any) -> dict[str, Any]:
    values = program.outputs if name in program.outputs else program.inputs
    dtype = str(values[name].dtype).removeprefix("torch.")
    return {"name": name, "role": role, "shape": list(values[name].shape), "dtype": dtype, **more}


def _input(name: str, program: Program, paths: Mapping[str, Any]) -> dict[str, Any]:
    if name in paths:
        return _entry(name, program, "observation", path=list(paths[name]), units=_OWN_UNITS)
    if name.startswith(MEMORY):
        return _entry(name, program, "memory", units="the model's own")
    if name == EPISODE_START:
        return _entry(name, program, "episode_start", units="true where an episode begins")
    kind = name.removeprefix(NOISE)
    units = {
        "normal": "standard normal numbers",
        "uniform": "numbers from 0 to 1",
        "exponential": "exponential numbers of mean 1",
        PERMUTATION: "permutations of 0, 1, ..., of these lengths, one after the other",
    }[kind]
    lengths = [draw.shape.numel() for draw in program.draws if draw.kind == PERMUTATION]
    more = {"lengths": lengths} if kind == PERMUTATION else {}
    return _entry(name, program, "noise", distribution=kind, units=units, **more)


def _output(name: str, program: Program) -> dict[str, Any]:
    if name == ACTION:
        return _entry(name, program, "action", units=_OWN_UNITS)
    return _entry(
        name, program, "memory", feeds=MEMORY + name.removeprefix(NEW_MEMORY), units="the model's own"
    )


def make_id(program: Program, content: Mapping[str, Any]) -> str:
    """Name of a decision: equal only for equal weights, operations and description.

    :param program: the program
    :param content: what is described of it
    """
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    digest.update(program.graph.code.encode())
    for name, value in sorted({**program.graph.state_dict(), **_constants(program)}.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _constants(program: Program) -> dict[str, Any]:
    import torch

    names = [str(node.target) for node in program.graph.graph.nodes if node.op == "get_attr"]
    found = {name: getattr(program.graph, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def options_of(planner: Any) -> dict[str, Any]:
    """Options of a planner as JSON can hold them."""
    values = dataclasses.asdict(planner) if dataclasses.is_dataclass(planner) else vars(planner)  # type: ignore[arg-type]
    return {name: value if _is_plain(value) else repr(value) for name, value in values.items()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def check_folder(path: Path) -> None:
    """Check that a file may be written here without leaving another one without its description.

    :param path: the file that is to be exported
    :raises ExportError: if the folder's ``controller.json`` is that of a file by another name
    """
    others = sorted(name for name in _described(path.parent) if Path(name).stem != path.stem)
    if others:
        raise ExportError(
            f"{path.parent / FILE_NAME} describes {', '.join(others)}; give {path.name} a folder of its own, for "
            f"instance {path.parent / path.stem / path.name}"
        )


def write_description(path: Path, content: dict[str, Any], format: str) -> Path:
    """Write the description of an exported file next to it.

    The same decision in another format shares it; a file of another decision that has the same name otherwise goes.
    """
    own = {path.name: {"format": format, "sha256": checksum(path), "size": path.stat().st_size}}
    files: dict[str, Any] = {}
    for name, entry in _described(path.parent).items():
        other = path.parent / name
        if name == path.name or not other.is_file():
            continue
        if entry["id"] == content["id"]:
            files[name] = {key: value for key, value in entry.items() if key != "id"}
        else:
            os.remove(other)  # an earlier state, which would be refused: it has no description any more
    target = path.with_name(FILE_NAME)
    write_json(target, {"format_version": VERSION, "files": files | own, **content})
    return target


def _described(folder: Path) -> dict[str, dict[str, Any]]:
    """The files that a folder's description is of, with its id."""
    try:
        content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        return {
            name: {**entry, "id": content["id"]}
            for name, entry in content["files"].items()
            if (folder / name).is_file()
        }
    except (OSError, ValueError, KeyError, AttributeError):
        return {}
