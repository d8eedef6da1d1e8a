"""Which entries there are, and how a name leads to one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from dream_agents.registry import UnknownNameError
from dream_agents.zoo import official
from dream_agents.zoo.cards import CARD_FILE, FORMATS, MOST_CARD_BYTES, Card, read_card, read_card_file
from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.fetching import cached_pin, fetch
from dream_agents.zoo.sources import EMBEDDED, inside, is_address

#: The entries that come with the package.
ENTRIES = Path(__file__).with_name("entries")


@dataclass(frozen=True)
class Entry:
    """A card, and where it was found.

    :param card: the card; its ``source`` is where the weights are
    :param folder: the card's folder, where an embedded entry's weights lie, too; None for a card that is not a file
    """

    card: Card
    folder: Path | None = None

    @property
    def is_here(self) -> bool:
        """Whether it loads without the network."""
        return self.card.source == EMBEDDED or cached_pin(self.card.source) is not None


def names(filter: str = "", offline: bool = False) -> list[str]:
    """List the entries, sorted: those that come with the package, and those that TD-MPC2's authors published.

    :param filter: part of the name, in any case
    :param offline: leave out those that were never downloaded here
    """
    listed = [entry.name for entry in official.entries().values() if not offline or _is_downloaded(entry)]
    return sorted(name for name in {*embedded_names(), *listed} if filter.lower() in name)


def embedded_names() -> list[str]:
    """List the entries that come with the package."""
    return sorted(path.parent.relative_to(ENTRIES).as_posix() for path in ENTRIES.rglob(CARD_FILE))


def card(name_or_path: str | Path) -> Card:
    """Read the card of an entry; nothing is downloaded for it.

    :param name_or_path: as for :func:`dream_agents.zoo.load`
    :raises UnknownNameError: (a ``ValueError``) if there is no such entry, with the nearest names
    :raises ZooError: naming what is wrong with its card
    """
    return find(name_or_path).card


def find(name_or_path: str | Path, download: bool = False, again: bool = False) -> Entry:
    """Find an entry and read its card.

    A string is taken for an address, else for an entry's name, else for an environment's name, else for a folder.

    :param download: whether a card may be downloaded from its address
    :param again: download it even if it is there
    :raises UnknownNameError: (a ``ValueError``) if it is none of them
    :raises ZooError: naming what is wrong with the entry's card
    """
    name = str(name_or_path)
    if isinstance(name_or_path, str):
        if is_address(name):
            return _find_address(name, download, again)
        if name in embedded_names():
            return _embedded(name)
        if name in official.entries():
            return _official(name)
        _refuse_unreadable(name)
        best = _best_for_environment(name)
        if best is not None:
            return best
    folder = Path(name_or_path)
    if folder.is_dir():
        return Entry(_pinned(read_card(folder)), folder)
    raise _unknown(name)


def _find_address(address: str, download: bool, again: bool) -> Entry:
    """Get the card of an entry that is a folder elsewhere; its weights lie next to the card."""
    if address.endswith(".pt"):
        raise ZooError(f"{address} is a checkpoint without a card; load() takes it, with env=")
    fetched = fetch(
        inside(address, CARD_FILE),
        read_card_file,
        most=MOST_CARD_BYTES,
        name=address,
        download=download,
        again=again,
    )
    card = read_card_file(fetched.path)
    if card.source == EMBEDDED:
        card = dataclasses.replace(card, source=inside(address, FORMATS[card.format]))
    return Entry(_pinned(card), fetched.path.parent)


def _embedded(name: str) -> Entry:
    """Read the card of an entry that comes with the package."""
    card = read_card(ENTRIES / name)
    if card.name != name:
        raise ZooError(f'{ENTRIES / name / CARD_FILE}: name = "{card.name}" is not the folder\'s, "{name}"')
    return Entry(_pinned(card), ENTRIES / name)


def _official(name: str) -> Entry:
    return Entry(_pinned(official.make_card(official.entries()[name])))


def _refuse_unreadable(name: str) -> None:
    """Say why a published checkpoint is no entry.

    :raises ZooError: if it is one of those that nothing reads right
    """
    group, _, file = name.partition("/")
    if group == official.GROUP and file in official.UNREADABLE:
        raise ZooError(f"{name} is {official.UNREADABLE_REASON}")


def _is_downloaded(entry: official.OfficialEntry) -> bool:
    return cached_pin(entry.source) is not None


def _pinned(card: Card) -> Card:
    """The card with the checksum of the first download, where it has none itself."""
    pin = cached_pin(card.source) if card.sha256 is None else None
    return card if pin is None else dataclasses.replace(card, sha256=pin.sha256, size=pin.size)


def _best_for_environment(name: str) -> Entry | None:
    """Find the entry of an environment that is here and whose own planner reached the best mean; None if none is."""
    id = _environment_id(name)
    if id is None:
        return None
    fitting = [entry for entry in map(_embedded, embedded_names()) if entry.card.environment == id]
    if not fitting:
        published = [entry for entry in official.entries().values() if entry.environment == id]
        fitting = [_official(entry.name) for entry in published if _is_downloaded(entry)]
    return max(fitting, key=lambda entry: entry.card.own_mean, default=None)


def _environment_id(name: str) -> str | None:
    """The id that a name of an environment stands for; None if it is none, or has a module to import before it."""
    from dream_agents.wrappers import resolve

    if ":" in name:
        return None
    try:
        return resolve(name)[1]
    except UnknownNameError:
        return None


def _unknown(name: str) -> UnknownNameError:
    known = names()
    environments = {card(entry).environment for entry in embedded_names()}
    hint = (
        "`dream_agents.zoo.names()` lists the entries. "
        "A path must lead to an entry's folder or to a .pt file of TD-MPC2 or BMPC."
    )
    id = _environment_id(name)
    if id is not None:
        hint = _entries_nearby(id)
    published = [entry.name for entry in official.entries().values() if entry.environment == id]
    if published:
        hint = (
            f"No entry for {id} is here; TD-MPC2's authors published {', '.join(published)}, which "
            "`dream_agents.zoo.load(name)` downloads."
        )
    return UnknownNameError("zoo entry", name, [*known, *sorted(environments)], hint)


def _entries_nearby(id: str) -> str:
    """What to say of an environment without an entry: which entries its suite has."""
    from dream_agents.wrappers import resolve

    suite = resolve(id)[0]
    nearby = [
        f"{entry.card.name} ({entry.card.environment})"
        for entry in map(_embedded, embedded_names())
        if resolve(entry.card.environment)[0] is suite
    ]
    there_are = (
        f"Entries of the same suite: {', '.join(nearby)}." if nearby else "Its suite has no entry yet."
    )
    return f'{there_are} Train one: `dream_agents.DreamMPC("{id}").learn()`.'
