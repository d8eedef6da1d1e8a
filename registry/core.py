"""Names that stand for things: built in, registered at run time, or brought by other packages."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class UnknownNameError(KeyError, ValueError):
    """A name that nothing answers to; its text gives the nearest names.

    It is a `KeyError` and a `ValueError`, so either `except` clause catches it.

    :param kind: what was looked for, in the singular: ``"planner"``
    :param name: the name that was asked for
    :param available: every name that would have been right
    :param hint: where to look instead; by default the available names are listed
    """

    def __init__(self, kind: str, name: str, available: Iterable[str], hint: str | None = None) -> None:
        self.kind = kind
        self.name = name
        self.available = tuple(available)
        self.hint = hint
        super().__init__(kind, name, self.available, hint)

    @property
    def nearest(self) -> tuple[str, ...]:
        """Up to three available names that are spelled alike, the closest first."""
        spelled = {name.lower(): name for name in self.available}
        matches = difflib.get_close_matches(self.name.lower(), spelled, n=3)
        return tuple(spelled[match] for match in matches)

    def __str__(self) -> str:
        article = "an" if self.kind[0] in "aeiou" else "a"
        text = f'"{self.name}" is not {article} {self.kind}'
        if self.nearest:
            text += "; did you mean " + " or ".join(f'"{name}"' for name in self.nearest) + "?"
        else:
            text += "."
        return f"{text} {self.hint or 'Available: ' + (', '.join(self.available) or 'none') + '.'}"


class PluginError(ImportError):
    """Another package announces a name through an entry point that cannot be loaded."""


class Registry(Generic[T]):
    """What the names of one kind of thing stand for.

    A name comes from one of three places, asked in this order: `register` at run time, the package's own
    table, and the entry points of other installed packages. Nothing is imported before `get` asks for it.

    :param kind: what the names stand for, in the singular, for error messages: ``"planner"``
    :param entry_point_group: the entry-point group through which other packages add names
    :param builtin: the package's own names, each with where to find it: ``"module:attribute"``
    """

    def __init__(self, kind: str, entry_point_group: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self.entry_point_group = entry_point_group
        self.builtin = dict(builtin)
        self._registered: dict[str, T] = {}

    def register(self, name: str, *, override: bool = False) -> Callable[[T], T]:
        """Return a decorator that makes `name` stand for what it decorates.

        :param name: the name to give
        :param override: replace what the name stands for today
        :raises ValueError: (from the decorator) if the name stands for something else already
        """

        def decorate(thing: T) -> T:
            taken_by = self._taken_by(name, thing)
            if taken_by is not None and not override:
                raise ValueError(
                    f'the {self.kind} name "{name}" is taken by {taken_by}; '
                    "choose another name, or pass override=True to replace it"
                )
            self._registered[name] = thing
            return thing

        return decorate

    def get(self, name: str) -> T:
        """Return what `name` stands for, importing it if it has not been asked for before.

        :raises UnknownNameError: if nothing has that name
        :raises PluginError: if another package's entry point of that name cannot be loaded
        """
        if name in self._registered:
            return self._registered[name]
        if name in self.builtin:
            module, _, attribute = self.builtin[name].partition(":")
            thing: T = getattr(importlib.import_module(module), attribute)
            return thing
        found = [entry_point for entry_point in self._entry_points() if entry_point.name == name]
        if found:
            return self._load(name, found)
        raise UnknownNameError(self.kind, name, self.names())

    def names(self) -> list[str]:
        """Return every name, sorted, including the names of entry points (which are not imported)."""
        announced = {entry_point.name for entry_point in self._entry_points()}
        return sorted({*self.builtin, *self._registered, *announced})

    def name_of(self, thing: T) -> str | None:
        """Return the name that stands for `thing`, or None if there is none; nothing of this package is imported.

        Entry points are asked only for names that neither `register` nor the package's own table has.
        """
        path = f"{getattr(thing, '__module__', None)}:{getattr(thing, '__qualname__', None)}"
        for name, registered in self._registered.items():
            if registered is thing:
                return name
        for name, place in self.builtin.items():
            if place == path and name not in self._registered:
                return name
        for name in self.names():
            if name in self._registered or name in self.builtin:
                continue
            try:
                if self.get(name) is thing:
                    return name
            except PluginError:
                continue
        return None

    def _entry_points(self) -> Iterable[EntryPoint]:
        from importlib.metadata import entry_points

        return entry_points(group=self.entry_point_group)

    def _taken_by(self, name: str, thing: T) -> str | None:
        """Say in words what `name` stands for, or None if it is free or already stands for `thing`."""
        if name in self._registered:
            return None if self._registered[name] is thing else repr(self._registered[name])
        own_path = f"{getattr(thing, '__module__', None)}:{getattr(thing, '__qualname__', None)}"
        if name in self.builtin:
            return None if self.builtin[name] == own_path else self.builtin[name]
        same_name = (point for point in self._entry_points() if point.name == name)
        return next((_describe(point) for point in same_name if point.value != own_path), None)

    def _load(self, name: str, found: list[EntryPoint]) -> T:
        """Import the one entry point of that name."""
        if len({entry_point.value for entry_point in found}) > 1:
            packages = " and ".join(_describe(entry_point) for entry_point in found)
            raise PluginError(f'the {self.kind} "{name}" is announced by {packages}; uninstall one of them')
        try:
            thing: T = found[0].load()
        except Exception as error:
            raise PluginError(
                f'the {self.kind} "{name}" of {_describe(found[0])} cannot be loaded: '
                f"{type(error).__name__}: {error}. Update or uninstall that package."
            ) from error
        return thing


def _describe(entry_point: EntryPoint) -> str:
    """Name an entry point and the installed package that it comes from."""
    distribution: Any = entry_point.dist
    package = f"{distribution.name} {distribution.version}" if distribution else "an unknown package"
    return f"{package} ({entry_point.value})"
