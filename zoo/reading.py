"""Weights of entries, whatever their format and wherever they are."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from dream_agents.zoo.cards import FORMATS, Card
from dream_agents.zoo.catalog import Entry
from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.fetching import fetch
from dream_agents.zoo.sources import EMBEDDED
from dream_agents.zoo.tdmpc2_import import PublicCheckpoint, load_tdmpc2_state_dict
from dream_agents.zoo.weights import make_size, read_checked, unpack


def read_entry(entry: Entry, download: bool) -> dict[str, Tensor]:
    """Read an entry's weights, as a whole state dict in float32.

    :param download: whether to use the network where they are not here
    :raises ZooError: if they can't be had or are not what the card says
    """
    path = locate_weights(entry, download)
    return _read(path, read_checked(path, entry.card) if entry.card.sha256 else path.read_bytes(), entry.card)


def locate_weights(entry: Entry, download: bool, again: bool = False) -> Path:
    """Return the file of an entry's weights, after downloading it where that is asked for.

    :param download: whether to use the network where it is not here
    :param again: download it even if it is here
    :raises ZooError: if it can't be had, or what arrives is not what the card says
    """
    card = entry.card
    if card.source == EMBEDDED:
        assert entry.folder is not None
        return entry.folder / FORMATS[card.format]

    # An entry that was found at an address is downloaded by it.
    name = card.name if entry.folder is None else None

    def check(path: Path) -> None:
        _read(path, path.read_bytes(), card)

    return fetch(
        card.source,
        check,
        sha256=card.sha256,
        size=card.size,
        name=name,
        download=download,
        again=again,
    ).path


def _read(path: Path, data: bytes, card: Card) -> dict[str, Tensor]:
    if card.format == "dream-agents":
        return unpack(data, path, card)
    checkpoint = load_tdmpc2_state_dict(path, data).for_task(card.network.episodic)
    _compare(checkpoint, path, card)
    return checkpoint.state_dict


def _compare(found: PublicCheckpoint, path: Path, card: Card) -> None:
    """Compare a checkpoint's sizes with the card's.

    :raises ZooError: naming both sides
    """
    network = card.network
    size = make_size(card.backbone, network.model_size)
    own = (found.backbone, (found.obs_dim,), found.action_dim, found.episodic, found.size)
    expected = (card.backbone, network.obs_shape, network.action_dim, network.episodic, size)
    titles = ("backbone", "obs_shape", "action_dim", "episodic", "model_size")
    for title, left, right in zip(titles, own, expected, strict=True):
        if left != right:
            raise ZooError(f"{path} has {title} = {left}, its card says {right}")
