"""Weights and counters of agents in a form that can't run code: safetensors, with the pickled file that learns on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

#: Attributes that say how long the weights were trained, and from which entry of the zoo on.
_COUNTERS = ("num_timesteps", "earlier_decisions", "earlier_frames", "base")


def pack_weights(agent: BaseAlgorithm) -> bytes:
    """Contents of a file that holds what an agent acts with: its policy's weights and its counters.

    :param agent: the agent
    """
    state = agent.policy.state_dict()
    # The file has one order of dimensions, and weights of convolutions may have another in memory.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    counters = {name: getattr(agent, name) for name in _COUNTERS if hasattr(agent, name)}
    return save(tensors, {"agent": type(agent).__name__, "counters": json.dumps(counters)})


def read_counters(path: Path) -> dict[str, Any]:
    """Read the counters.

    :param path: the file
    :raises ValueError: if it is no such file
    """
    try:
        with safe_open(path, "pt") as file:
            counters: dict[str, Any] = json.loads(file.metadata()["counters"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold an agent's weights ({error})") from error
    return counters


def put_weights(agent: BaseAlgorithm, path: Path) -> None:
    """Give an agent the weights and counters that a file holds.

    :param agent: an agent that was made with the same options
    :param path: the file
    :raises ValueError: if it holds another agent's weights
    """
    counters = read_counters(path)
    with safe_open(path, "pt", device=str(agent.device)) as file:
        wrote = file.metadata().get("agent")
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
    if wrote != type(agent).__name__:
        raise ValueError(f"{path} holds weights of {wrote}, not of {type(agent).__name__}")
    try:
        agent.policy.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the run's settings: {error}") from error
    for name in _COUNTERS:
        if name in counters:
            setattr(agent, name, counters[name])
