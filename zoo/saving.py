"""Writing entries."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dream_agents.registry import PluginError, Registry, agents, planners
from dream_agents.versions import package_versions
from dream_agents.zoo.cards import (
    CARD_FILE,
    FORMATS,
    Card,
    Result,
    Scalar,
    check_name,
    make_result,
    read_card,
    to_toml,
)
from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.files import checksum, write_aside
from dream_agents.zoo.sources import EMBEDDED
from dream_agents.zoo.weights import describe_network, pack

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent


def save(
    model: WorldModelAgent,
    folder: str | Path,
    *,
    name: str | None = None,
    results: Iterable[Result | Mapping[str, Any]] = (),
    command: str = "",
    license: str = "not stated",
    authors: str | Sequence[str] = (),
    environment: str | None = None,
    dtype: torch.dtype = torch.float16,
) -> Card:
    """Write an agent as an entry of the zoo, in place of the one that the folder may hold.

    Of the agent, its world model and its planner are kept; optimizers, target networks and replay are not.

    :param model: a world-model agent
    :param folder: the entry's folder; it is made if it is not there
    :param name: the entry's name; None for the folder's
    :param results: measured results, as :class:`Result` or mappings of its fields
    :param command: the exact command, or code, that trained the agent
    :param license: license of the weights, an SPDX identifier where there is one
    :param authors: who made them
    :param environment: id of the environment; None for the one that the agent was made with
    :param dtype: to which the weights are rounded
    :return: the card that was written
    :raises ZooError: if the agent, its planner or its environment can't be named, weights don't fit ``dtype``, or the
        agent learned in a ``VecNormalize``
    """
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.task import observation_normalizer
    from dream_agents.wrappers import resolve

    if not isinstance(model, WorldModelAgent):
        raise ZooError(f"the zoo stores world-model agents, not a {type(model).__name__}; use its own save()")
    if observation_normalizer(model) is not None:
        raise ZooError(
            "the agent learned on observations that VecNormalize brought to another scale, and an entry has no "
            "statistics for that; learn without VecNormalize(norm_obs=True), or keep the agent by its own save()"
        )
    folder = Path(folder)
    name = folder.resolve().name if name is None else name
    check_name(name)
    data = pack(model.world_model, dtype)
    card = Card(
        name=name,
        environment=resolve(environment or _environment_id(model))[1],
        license=license,
        authors=(authors,) if isinstance(authors, str) else tuple(authors),
        source=EMBEDDED,
        sha256=checksum(data),
        size=len(data),
        format="dream-agents",
        command=command,
        versions={"python": platform.python_version(), **package_versions()},
        results=tuple(make_result(result) for result in results),
        **_describe(model),
    )
    write_entry(folder, card, data)
    return card


def write_entry(folder: Path, card: Card, weights: bytes) -> None:
    """Write a card and the weights that lie next to it.

    :raises ZooError: naming the field of the card that is wrong
    """
    text = to_toml(card)
    folder.mkdir(parents=True, exist_ok=True)
    write_aside(folder / FORMATS[card.format], weights)
    write_aside(folder / CARD_FILE, text)


def record_results(folder: str | Path, results: Iterable[Result | Mapping[str, Any]]) -> Card:
    """Write measured results into an entry's card. They replace results of the same planners and measures.

    :param folder: the entry's folder
    :param results: as for :func:`save`
    :return: the card that was written
    :raises ZooError: if the folder holds no entry, or naming the field of a result that is wrong
    """
    folder = Path(folder)
    card = read_card(folder)
    merged = {(result.planner, result.measure): result for result in card.results}
    merged |= {(result.planner, result.measure): result for result in map(make_result, results)}
    card = dataclasses.replace(card, results=tuple(merged.values()))
    write_aside(folder / CARD_FILE, to_toml(card))
    return card


def _describe(model: WorldModelAgent) -> dict[str, Any]:
    """The fields of a card that the agent itself tells."""
    shape, options = model.policy.encoding.shape, _scalars("model_kwargs", model.model_kwargs)
    return {
        "agent": _registered_name(agents, type(model)),
        "backbone": model.backbone_name,
        "planner": _registered_name(planners, type(model.planner)),
        "planner_kwargs": _planner_options(model.planner),
        "obs_type": model.obs_type,
        "decisions": model.total_decisions,
        "frames": model.total_frames,
        "base": model.base,
        "seed": model.seed,
        "network": describe_network(model.world_model, model.backbone_name, shape, options),
    }


def _registered_name(registry: Registry[Any], cls: type) -> str:
    """Find the name under which a class can be asked for again."""
    for name in registry.names():
        try:
            found = registry.get(name)
        except PluginError:
            continue
        if found is cls:
            return name
    raise ZooError(
        f"{cls.__name__} has no name in the registry, which a card needs; give it one: registry.{registry.kind}s"
        f'.register("name")({cls.__name__})'
    )


def _environment_id(model: WorldModelAgent) -> str:
    """The id that the agent was made with, or that of its environment."""
    id: str | None = model.task.env
    env = model.get_env()
    if id is None and env is not None:
        spec = env.get_attr("spec", indices=[0])[0]
        id = None if spec is None else spec.id
    if id is None:
        raise ZooError("the agent's environment has no id, which a card needs; pass environment=")
    return id


def _planner_options(planner: Any) -> dict[str, Scalar]:
    """The fields of a planner that differ from their defaults."""
    fields = dataclasses.fields(planner) if dataclasses.is_dataclass(planner) else ()
    values = {field.name: getattr(planner, field.name) for field in fields if field.init}
    defaults = {field.name: field.default for field in fields}
    return _scalars("planner", {name: value for name, value in values.items() if value != defaults[name]})


def _scalars(owner: str, options: dict[str, Any]) -> dict[str, Scalar]:
    for name, value in options.items():
        if not isinstance(value, Scalar):
            raise ZooError(
                f"{owner}: {name}={value!r} is not a number, a string or a truth value, which a card holds"
            )
    return dict(options)
