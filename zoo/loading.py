"""From entries and files to agents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dream_agents.registry import Registry, agents, planners
from dream_agents.zoo.cards import Card, ZooError
from dream_agents.zoo.catalog import find
from dream_agents.zoo.tdmpc2_import import load_tdmpc2_state_dict
from dream_agents.zoo.weights import build_world_model, make_size, read_weights

if TYPE_CHECKING:
    from stable_baselines3.common.type_aliases import GymEnv

    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.models.base import WorldModel
    from dream_agents.planners import Planner


@dataclass
class _Source:
    """Where an agent comes from.

    ``fixed`` are keyword arguments of the agent that the weights decide, ``defaults`` those that may be changed.
    """

    label: str
    agent: str
    state: dict[str, Tensor]
    obs_shape: tuple[int, ...]
    action_dim: int
    environment: str | None
    fixed: dict[str, Any]
    defaults: dict[str, Any]


def load(
    name_or_path: str | Path,
    env: GymEnv | str | None = None,
    device: torch.device | str = "auto",
    planner: str | Planner | None = None,
    **kwargs: Any,
) -> WorldModelAgent:
    """Make an agent with pretrained weights; every file is checked before it is used.

        >>> model = zoo.load("tdmpc2-walker-walk")
        >>> model = zoo.load("tdmpc2-walker-walk", planner="dream", device="cpu")
        >>> model = zoo.load("dmc_walker-walk-v0")                       # the best entry of an environment
        >>> model = zoo.load("path/to/dog-run-1.pt", env="dmc_dog-run-v0")  # published by TD-MPC2's authors

    ``learn`` continues from the weights, with new optimizers and an empty replay buffer.

    :param name_or_path: an entry's name, an environment's id (for its entry whose own planner did best), an
        entry's folder, or a ``.pt`` file of TD-MPC2
    :param env: as for the agent; None for the environment that the entry was trained in
    :param device: "auto", "cpu", "cuda" or a device
    :param planner: acts in ``predict``, a name in ``registry.planners`` or a planner; None for the entry's
    :param kwargs: further keyword arguments of the agent, e.g. ``learning_rate`` or ``tensorboard_log``
    :raises UnknownNameError: (a ``ValueError``) for an unknown name, with the nearest ones
    :raises ZooError: if a file is damaged, or weights and environment don't fit, naming both sides
    """
    is_checkpoint = Path(name_or_path).suffix == ".pt"
    source = _read_checkpoint(Path(name_or_path)) if is_checkpoint else _read_entry(name_or_path)
    clash = sorted(source.fixed.keys() & kwargs)
    if clash:
        raise ZooError(f"{', '.join(clash)}: {source.label} decides, so these can't be given")
    if env is None and source.environment is None:
        raise ZooError(f"{source.label} does not say what it was trained in; pass env=")
    options = source.defaults | kwargs
    if planner is not None:
        options |= {"planner": planner, "planner_kwargs": kwargs.get("planner_kwargs")}
    agent: WorldModelAgent = agents.get(source.agent)(
        source.environment if env is None else env, device=device, **source.fixed, **options
    )
    try:
        _check_spaces(agent, source)
    except ZooError:
        if env is None or isinstance(env, str):
            agent.get_env().close()  # type: ignore[union-attr]
        raise
    agent.world_model.load_state_dict(source.state)
    return agent


def load_world_model(name_or_path: str | Path, device: torch.device | str = "auto") -> WorldModel:
    """Load the networks of an entry without making an environment or an agent, ready for use by a planner.

    :param name_or_path: an entry's name, an environment's id or an entry's folder
    :param device: "auto", "cpu", "cuda" or a device
    :raises UnknownNameError: (a ``ValueError``) for an unknown name, with the nearest ones
    :raises ZooError: if a file is damaged
    """
    from stable_baselines3.common.utils import get_device

    folder, card = find(name_or_path)
    state = read_weights(folder, card)
    world_model = build_world_model(card.network, card.backbone)
    world_model.load_state_dict(state)
    return world_model.eval().to(get_device(device))


def verify(name_or_path: str | Path) -> Card:
    """Check an entry's card, its weights' size, checksum, names, shapes and values, and that it can be made here.

    :param name_or_path: an entry's name, an environment's id or an entry's folder
    :return: its card
    :raises UnknownNameError: (a ``ValueError``) for an unknown name, with the nearest ones
    :raises ZooError: naming what is wrong
    """
    folder, card = find(name_or_path)
    named: tuple[tuple[str, Registry[Any], str], ...] = (
        ("agent", agents, card.agent),
        ("planner", planners, card.planner),
    )
    for field, registry, name in named:
        if name not in registry.names():
            raise ZooError(f'{folder}: {field} = "{name}" is not one of {", ".join(registry.names())}')
    read_weights(folder, card)
    return card


def _read_entry(name_or_path: str | Path) -> _Source:
    folder, card = find(name_or_path)
    state = read_weights(folder, card)
    network = card.network
    return _Source(
        label=f'"{card.name}"',
        agent=card.agent,
        state=state,
        obs_shape=network.obs_shape,
        action_dim=network.action_dim,
        environment=card.environment,
        fixed={
            "backbone": card.backbone,
            "model_size": make_size(card.backbone, network.model_size),
            "model_kwargs": network.options,
            "episodic": network.episodic,
            "obs_type": card.obs_type,
        },
        defaults={"gamma": network.discount, "planner": card.planner, "planner_kwargs": card.planner_kwargs},
    )


def _read_checkpoint(path: Path) -> _Source:
    state, size, obs_dim, action_dim, episodic = load_tdmpc2_state_dict(path)
    return _Source(
        label=str(path),
        agent="tdmpc2",
        state=state,
        obs_shape=(obs_dim,),
        action_dim=action_dim,
        environment=None,
        fixed={"backbone": "tdmpc2", "model_size": size, "episodic": episodic},
        defaults={},
    )


def _check_spaces(agent: WorldModelAgent, source: _Source) -> None:
    """Compare the environment's sizes with the weights'."""
    obs_shape, action_dim = agent.observation_space.shape, agent.world_model.action_dim
    if (obs_shape, action_dim) != (source.obs_shape, source.action_dim):
        trained = f", trained in {source.environment}," if source.environment else ""
        raise ZooError(
            f"{source.label}{trained} takes observations of shape {source.obs_shape} and gives {source.action_dim} "
            f"actions; the environment has observations of shape {obs_shape} and {action_dim} actions"
        )
