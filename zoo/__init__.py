"""Pretrained models by name.

    >>> from dream_agents import zoo
    >>> zoo.names("walker")
    ['dream_mpc-walker-walk', 'tdmpc2-walker-walk']
    >>> model = zoo.load("tdmpc2-walker-walk")

An entry is a folder with a card (``card.toml``) and weights (``model.safetensors``); no pickle is ever loaded
from one.
"""

from dream_agents.zoo.cards import Card, Network, Result, ZooError
from dream_agents.zoo.catalog import card, names
from dream_agents.zoo.loading import load, load_world_model, verify
from dream_agents.zoo.saving import record_results, save

__all__ = [
    "Card",
    "Network",
    "Result",
    "ZooError",
    "card",
    "load",
    "load_world_model",
    "names",
    "record_results",
    "save",
    "verify",
]
