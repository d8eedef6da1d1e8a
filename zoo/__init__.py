"""Pretrained models by name.

    >>> from dream_agents import zoo
    >>> zoo.names("walker", offline=True)
    ['bmpc-walker-walk', 'dream_mpc-walker-walk', 'dreamer-walker-walk', 'tdmpc2-walker-walk']
    >>> model = zoo.load("tdmpc2-walker-walk")

An entry is a card (``card.toml``) and weights. Weights that come with the package lie next to the card
(``model.safetensors``); weights that others published are downloaded when they are first used. No pickle is ever loaded
from one. Names are imported when they are first used, so that listing entries does not import PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dream_agents.zoo.cards import Card, Network, Result
    from dream_agents.zoo.catalog import card, names
    from dream_agents.zoo.errors import ZooError
    from dream_agents.zoo.exporting import export, push
    from dream_agents.zoo.loading import download, load, load_world_model, verify
    from dream_agents.zoo.saving import record_results, save

__all__ = [
    "Card",
    "Network",
    "Result",
    "ZooError",
    "card",
    "download",
    "export",
    "load",
    "load_world_model",
    "names",
    "push",
    "record_results",
    "save",
    "verify",
]

_MODULES = {
    "cards": ("Card", "Network", "Result"),
    "catalog": ("card", "names"),
    "errors": ("ZooError",),
    "exporting": ("export", "push"),
    "loading": ("download", "load", "load_world_model", "verify"),
    "saving": ("record_results", "save"),
}
_SOURCES = {name: module for module, names_there in _MODULES.items() for name in names_there}


def __getattr__(name: str) -> Any:
    if name in _SOURCES:
        return getattr(import_module(f"dream_agents.zoo.{_SOURCES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
