"""What options agents, learners and planners take, read from their signatures."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection
from typing import Any


@dataclasses.dataclass(frozen=True)
class Keyword:
    """One option.

    :param name: its name
    :param default: its default, ``inspect.Parameter.empty`` if it has none
    :param hint: its type
    :param text: what the docstring says about it
    """

    name: str
    default: Any
    hint: Any
    text: str


def keywords_of(cls: type) -> dict[str, Keyword]:
    """Collect the named parameters of a class, those that it passes on to its base classes included."""
    found: dict[str, Keyword] = {}
    texts = _parameter_texts(cls)
    for base in cls.__mro__:
        if "__init__" not in base.__dict__:
            continue
        signature, hints = inspect.signature(base.__init__), _hints(base.__init__)  # type: ignore[misc]
        for name, parameter in signature.parameters.items():
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and name != "self" and name not in found:
                found[name] = Keyword(name, parameter.default, hints.get(name, Any), texts.get(name, ""))
        if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            break
    return found


def summary(cls: Any) -> str:
    """First sentence or line of a docstring."""
    lines = (inspect.getdoc(cls) or "").split("\n\n")[0].splitlines()
    return " ".join(lines).split(". ")[0].rstrip(".")


def matches(value: Any, hint: Any) -> bool:
    """Tell whether a plain value (number, text, bool, None, list, dictionary) fits a type."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, one) for one in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    wanted = origin or hint
    if wanted is float:
        wanted = (int, float)
    if isinstance(value, bool) and wanted is not bool:
        return False
    return isinstance(value, type(None) if wanted is None else wanted)


def describe_hint(hint: Any) -> str:
    """Write a type the way it is written in code."""
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint.__name__
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", str(hint))


def check_names(owner: str, given: Collection[str], known: Collection[str]) -> None:
    """Raise an :class:`UnknownNameError` for the first name that is not known."""
    from dream_agents.registry import UnknownNameError

    for name in given:
        if name not in known:
            raise UnknownNameError(f"option of {owner}", name, sorted(known))


def class_made_by(function: Callable[..., Any]) -> type | None:
    """Return the class that a function is annotated to return; None if that is none."""
    made = _hints(function).get("return")
    return made if isinstance(made, type) else None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Types of the parameters, without those that a package of others names but that can't be found."""
    hints: dict[str, Any] = {}
    for name, annotation in inspect.get_annotations(function).items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(NameError):
            hints |= typing.get_type_hints(one, getattr(inspect.unwrap(function), "__globals__", {}))
    return hints


def _parameter_texts(cls: type) -> dict[str, str]:
    """What ``:param name: text`` says in the docstrings of a class and its bases."""
    texts: dict[str, str] = {}
    for base in cls.__mro__:
        for name, text in re.findall(
            r":param (\w+):(.*?)(?=\n\s*:|\n\s*\n|\Z)", base.__doc__ or "", re.DOTALL
        ):
            texts.setdefault(name, " ".join(text.split()))
    return texts
