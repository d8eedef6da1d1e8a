"""From entries and files to agents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dream_agents.planners import make_planner
from dream_agents.registry import UnknownNameError, agents, planners
from dream_agents.zoo.cards import Card
from dream_agents.zoo.catalog import Entry, find
from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.fetching import fetch
from dream_agents.zoo.reading import locate_weights, read_entry
from dream_agents.zoo.sources import is_address
from dream_agents.zoo.tdmpc2_import import PublicCheckpoint, load_tdmpc2_state_dict
from dream_agents.zoo.weights import build_world_model, make_size, network_options

if TYPE_CHECKING:
    from stable_baselines3.common.type_aliases import GymEnv

    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.models.base import WorldModel
    from dream_agents.models.packing import ObsShape
    from dream_agents.planners import Planner


@dataclass
class _Source:
    """Where an agent comes from.

    ``fixed`` are keyword arguments of the agent that the weights decide, ``defaults`` those that may be changed.
    """

    label: str
    agent: str
    state: dict[str, Tensor]
    obs_shape: ObsShape
    action_dim: int
    environment: str | None
    fixed: dict[str, Any]
    defaults: dict[str, Any]
    card: Card | None = None
    checkpoint: PublicCheckpoint | None = None

    def state_for(self, world_model: WorldModel) -> dict[str, Tensor]:
        """Weights that fit an agent's world model, whose task says whether it ends."""
        return (
            self.state
            if self.checkpoint is None
            else self.checkpoint.for_task(world_model.episodic).state_dict
        )


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
        >>> model = zoo.load("tdmpc2-official/dog-run-1")                # downloaded once
        >>> model = zoo.load("path/to/dog-run-1.pt", env="dmc_dog-run-v0")  # as its public code saved it
        >>> model = zoo.load("hf://somebody/their-model")                # what push() made

    ``learn`` continues from the weights, with new optimizers and an empty replay buffer. Only names of entries that
    are published elsewhere and addresses use the network, and only the first time.

    :param name_or_path: an entry's name; an environment's id, for its entry whose own planner did best, of those that
        are here; an entry's folder or a ``.pt`` file of TD-MPC2 or BMPC; or the address of either,
        ``hf://<repo>@<revision>/<path>`` or ``https://...``
    :param env: as for the agent; None for the environment that the entry was trained in
    :param device: "auto", "cpu", "cuda" or a device
    :param planner: acts in ``predict``, a name in ``registry.planners`` or a planner; None for the entry's
    :param kwargs: further keyword arguments of the agent, e.g. ``learning_rate`` or ``tensorboard_log``
    :raises UnknownNameError: (a ``ValueError``) for an unknown name, with the nearest ones
    :raises ZooError: if a file is damaged or can't be downloaded, or weights and environment don't fit, naming both
        sides
    """
    is_checkpoint = Path(name_or_path).suffix == ".pt"
    source = _read_checkpoint(name_or_path) if is_checkpoint else _read_entry(name_or_path)
    clash = sorted(source.fixed.keys() & kwargs)
    if clash:
        raise ZooError(f"{', '.join(clash)}: {source.label} decides, so these can't be given")
    if env is None:
        _check_environment(source)
    options = source.defaults | kwargs
    if planner is not None:
        options["planner"] = planner
    elif source.card is not None and kwargs.get("planner_kwargs") is not None:
        options["planner"] = source.card.planner
    elif source.card is not None:
        # An object, since backbones have defaults of their own for planners by name.
        options["planner"] = _make_planner(source.card)
    agent: WorldModelAgent = _agent_class(source)(
        source.environment if env is None else env, device=device, **source.fixed, **options
    )
    try:
        _check_spaces(agent, source)
    except ZooError:
        if env is None or isinstance(env, str):
            agent.get_env().close()  # type: ignore[union-attr]
        raise
    agent.world_model.load_state_dict(source.state_for(agent.world_model))
    if source.card is not None:
        agent.base = source.card.name
        agent.earlier_decisions, agent.earlier_frames = source.card.decisions, source.card.frames
    return agent


def load_world_model(name_or_path: str | Path, device: torch.device | str = "auto") -> WorldModel:
    """Load the networks of an entry without making an environment or an agent, ready for use by a planner.

    :param name_or_path: an entry's name, an environment's id, an entry's folder or its address
    :param device: "auto", "cpu", "cuda" or a device
    :raises UnknownNameError: (a ``ValueError``) for an unknown name, with the nearest ones
    :raises ZooError: if a file is damaged or can't be downloaded
    """
    from stable_baselines3.common.utils import get_device

    entry = find(name_or_path, download=True)
    card, state = entry.card, read_entry(entry, download=True)
    world_model = build_world_model(card.network, card.backbone)
    world_model.load_state_dict(state)
    return world_model.eval().to(get_device(device))


def verify(name_or_path: str | Path) -> Card:
    """Check an entry's card, its weights' size, checksum, names, shapes and values, and that it can be made here.

    Nothing is downloaded.

    :param name_or_path: an entry's name, an environment's id, an entry's folder or its address
    :return: its card
    :raises UnknownNameError: (a ``ValueError``) for an unknown name, with the nearest ones
    :raises ZooError: naming what is wrong, or that the entry was never downloaded
    """
    entry = find(name_or_path)
    card = entry.card
    _check_names(entry)
    _make_planner(card)
    read_entry(entry, download=False)
    return card


def download(name_or_address: str, again: bool = False) -> Path:
    """Download an entry or a checkpoint into the cache, so that it loads without the network from then on.

    What arrives is read and checked before it is kept, and its checksum is noted: a later download that is another
    file is refused.

    :param name_or_address: an entry's name, or the address of an entry's folder or of a ``.pt`` file
    :param again: download it even if it is here
    :return: the file of its weights
    :raises UnknownNameError: (a ``ValueError``) for an unknown name, with the nearest ones
    :raises ZooError: if it can't be downloaded, or what arrives is not what it should be
    """
    if is_address(name_or_address) and name_or_address.endswith(".pt"):
        return fetch(name_or_address, load_tdmpc2_state_dict, again=again).path
    return locate_weights(find(name_or_address, download=True, again=again), download=True, again=again)


def _check_names(entry: Entry) -> None:
    """Raise a :class:`ZooError` unless there is what an entry's card names, its environment aside."""
    from dream_agents.wrappers import OBS_TYPES

    card = entry.card
    named: tuple[tuple[str, Sequence[str], str], ...] = (
        ("agent", agents.names(), card.agent),
        ("planner", planners.names(), card.planner),
        ("obs_type", OBS_TYPES, card.obs_type),
    )
    for field, known, name in named:
        if name not in known:
            raise ZooError(
                f'{entry.folder or card.name}: {field} = "{name}" is not one of {", ".join(known)}'
            )


def _check_environment(source: _Source) -> None:
    """Raise a :class:`ZooError` unless there is the environment that a model was trained in."""
    from dream_agents.wrappers import resolve

    if source.environment is None:
        raise ZooError(f"{source.label} does not say what it was trained in; pass env=")
    try:
        resolve(source.environment)
    except UnknownNameError as error:
        raise ZooError(f"{source.label} was trained in an environment that is not here: {error}") from error


def _agent_class(source: _Source) -> type[WorldModelAgent]:
    """Look up the agent.

    :raises ZooError: if it has no world model
    """
    from dream_agents.agents.base import WorldModelAgent

    found = agents.get(source.agent)
    if not (isinstance(found, type) and issubclass(found, WorldModelAgent)):
        raise ZooError(
            f'{source.label}: agent = "{source.agent}" has no world model, whose weights an entry holds'
        )
    return found


def _make_planner(card: Card) -> Planner:
    """Make the planner of a card.

    :raises ZooError: if it does not take the card's options
    """
    try:
        return make_planner(card.planner, **card.planner_kwargs)
    except Exception as error:  # options are a stranger's
        raise ZooError(
            f'"{card.name}": planner_kwargs = {card.planner_kwargs} can\'t be used: {error}'
        ) from error


def _read_entry(name_or_path: str | Path) -> _Source:
    entry = find(name_or_path, download=True)
    _check_names(entry)
    card, state = entry.card, read_entry(entry, download=True)
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
            "model_kwargs": network_options(network, card.backbone),
            "episodic": network.episodic,
            "obs_type": card.obs_type,
        },
        defaults={"gamma": network.discount},
        card=card,
    )


def _read_checkpoint(path: str | Path) -> _Source:
    file = Path(path)
    if isinstance(path, str) and is_address(path):
        file = fetch(path, load_tdmpc2_state_dict).path
    found = load_tdmpc2_state_dict(file)
    # A termination head counts where the task ends, which the environment tells; without one there is nothing to ask.
    task = {} if found.episodic else {"episodic": False}
    return _Source(
        label=str(path),
        agent=found.backbone,
        state=found.state_dict,
        obs_shape=(found.obs_dim,),
        action_dim=found.action_dim,
        environment=None,
        fixed={"backbone": found.backbone, "model_size": found.size, **task},
        defaults={},
        checkpoint=found,
    )


def _check_spaces(agent: WorldModelAgent, source: _Source) -> None:
    """Compare the environment's sizes with the weights'."""
    obs_shape, action_dim = agent.policy.encoding.shape, agent.world_model.action_dim
    if (obs_shape, action_dim) != (source.obs_shape, source.action_dim):
        trained = f", trained in {source.environment}," if source.environment else ""
        raise ZooError(
            f"{source.label}{trained} takes observations of shape {source.obs_shape} and gives {source.action_dim} "
            f"actions; the environment has observations of shape {obs_shape} and {action_dim} actions"
        )
