"""Which entries there are, and how a name leads to one."""

from __future__ import annotations

from pathlib import Path

from dream_agents.registry import UnknownNameError
from dream_agents.zoo.cards import CARD_FILE, Card, ZooError, read_card

#: The entries that come with the package.
ENTRIES = Path(__file__).with_name("entries")


def names(filter: str = "") -> list[str]:
    """List the entries, sorted.

    :param filter: part of the name, in any case
    """
    found = (path.parent.relative_to(ENTRIES).as_posix() for path in ENTRIES.rglob(CARD_FILE))
    return sorted(name for name in found if filter.lower() in name)


def card(name_or_path: str | Path) -> Card:
    """Read the card of an entry.

    :param name_or_path: as for :func:`dream_agents.zoo.load`
    :raises UnknownNameError: (a ``ValueError``) if there is no such entry, with the nearest names
    :raises ZooError: naming what is wrong with its card
    """
    return find(name_or_path)[1]


def find(name_or_path: str | Path) -> tuple[Path, Card]:
    """Find an entry's folder and read its card.

    A string is taken for an entry's name, else for an environment's name, else for a folder.

    :raises UnknownNameError: (a ``ValueError``) if it is none of them
    :raises ZooError: naming what is wrong with the entry's card
    """
    name = str(name_or_path)
    if isinstance(name_or_path, str):
        entry = name if name in names() else _best_for_environment(name)
        if entry is not None:
            return ENTRIES / entry, _own_card(entry)
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder, read_card(folder)
    known = names()
    environments = {_own_card(entry).environment for entry in known}
    hint = (
        "`dream_agents.zoo.names()` lists the entries that come with the package. "
        "A path must lead to an entry's folder or to a .pt file of TD-MPC2."
    )
    raise UnknownNameError("zoo entry", name, [*known, *sorted(environments)], hint)


def _own_card(name: str) -> Card:
    """Read the card of an entry that comes with the package."""
    card = read_card(ENTRIES / name)
    if card.name != name:
        raise ZooError(f'{ENTRIES / name / CARD_FILE}: name = "{card.name}" is not the folder\'s, "{name}"')
    return card


def _best_for_environment(name: str) -> str | None:
    """Name the entry of an environment whose own planner reached the best mean, or None if there is none."""
    from dream_agents.wrappers import resolve

    if ":" in name or not names():  # a module before the id would be imported
        return None
    try:
        _, id = resolve(name)
    except UnknownNameError:
        return None
    fitting = [card for card in map(_own_card, names()) if card.environment == id]
    best = max(fitting, key=lambda card: card.own_mean, default=None)
    return None if best is None else best.name
