"""``--set name=value``: any option of agents, learners and planners."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dream_agents.cli.groups import groups_with, option_groups
from dream_agents.cli.signatures import Keyword, check_names, describe_hint, keywords_of, matches

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_OWN_OPTIONS = {
    "env": "the argument ENV",
    "model_size": "--model-size",
    "planner": "--planner",
    "seed": "--seed",
    "n_envs": "--n-envs",
    "device": "--device",
    "tensorboard_log": "--out",
}
#: Groups of options that are not, or not wholly, checked before those who take them see them.
_UNCHECKED_GROUPS = ("env_kwargs", "model_kwargs", "policy_kwargs", "replay_buffer_kwargs")


def parse_value(text: str) -> Any:
    """Read a number, true, false, none, or a list, tuple or dictionary of these; anything else is text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Read ``name=value`` texts.

    :raises ValueError: for a text without ``=``, and a name that is given twice
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ValueError(f"--set {assignment}: write name=value, e.g. --set planner_kwargs.samples=128")
        if name in values:
            raise ValueError(f"--set {name} is given twice")
        values[name] = parse_value(text.strip())
    return values


def agent_keywords(agent: str, assignments: Iterable[str], planner: str | None = None) -> dict[str, Any]:
    """Turn ``--set`` texts into keyword arguments of an agent, and check their names and types.

    A name is the agent's own option, or ``group.option``. An option of the agent's parts needs no group where only one
    of them has it; one that the learner shares with planners, such as ``horizon``, is set for all of them.

    :param agent: the agent's name
    :param assignments: e.g. ``["batch_size=128", "horizon=5", "planner_kwargs.samples=128"]``
    :param planner: name of the planner whose options ``planner_kwargs`` are; None for the agent's default
    :raises ValueError: for an unknown or ambiguous name or a value of another type
    """
    from dream_agents.registry import agents

    agent_class = agents.get(agent)
    known = {name: keyword for name, keyword in keywords_of(agent_class).items() if not name.startswith("_")}
    keywords: dict[str, Any] = {}
    without_group: dict[str, Any] = {}
    for name, value in parse_assignments(assignments).items():
        outer, dot, inner = name.partition(".")
        if name in _OWN_OPTIONS:
            raise ValueError(f"--set {name}: use {_OWN_OPTIONS[name]} instead")
        if dot:
            check_names(f'the agent "{agent}"', [outer], known)
            if not outer.endswith("_kwargs"):
                raise ValueError(f"--set {name}: {outer} has no options of its own")
            keywords.setdefault(outer, {})[inner] = value
        elif name in known:
            _check_type(name, value, known[name])
            keywords[name] = value
        else:
            without_group[name] = value
    groups = option_groups(agent_class, keywords, planner)
    every = {option for group in groups for option in group.options}
    check_names(f'the agent "{agent}"', without_group, {*known, *every})
    for name, value in without_group.items():
        for group in groups_with(name, groups):
            options = keywords.setdefault(group.keyword, {})
            if name in options:
                raise ValueError(f"--set {name} is given twice, also as {group.keyword}.{name}")
            options[name] = value
    for group in groups:
        given = keywords.get(group.keyword) or {}
        if group.is_complete:
            check_names(group.owner, given, group.options)
        for name in given.keys() & group.options.keys():
            _check_type(f"{group.keyword}.{name}", given[name], group.options[name])
    return keywords


@contextmanager
def naming_unchecked_options(assignments: Iterable[str]) -> Iterator[None]:
    """Explain what the block raises where ``--set`` gives options that could not be checked before.

    Without such options a ``TypeError`` is a mistake in the code, not the user's, and passes through.

    :param assignments: e.g. ``["env_kwargs.g=3"]``
    :raises ValueError: instead, naming the options
    """
    try:
        yield
    except (TypeError, AssertionError) as error:
        unchecked = [text for text in assignments if text.strip().startswith(_UNCHECKED_GROUPS)]
        if not unchecked:
            raise
        reason = " ".join(str(error).split())
        named = [text for text in unchecked if f"'{_last_name(text)}'" in reason]
        options = ", ".join(f"--set {text}" for text in named or unchecked)
        raise ValueError(f"{options} can't be used: {reason}") from error


def _last_name(assignment: str) -> str:
    """``"foo"`` of ``"env_kwargs.foo=1"``."""
    return assignment.partition("=")[0].rpartition(".")[2].strip()


def split_environment_options(assignments: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Take the environment's options, ``env_kwargs.name=value``, out of ``--set`` texts; return them and the rest.

    :raises ValueError: for a text without ``=``, and a name that is given twice
    """
    group = "env_kwargs."
    texts = list(assignments)
    chosen = [text.strip() for text in texts if text.strip().startswith(group)]
    rest = [text for text in texts if not text.strip().startswith(group)]
    return {name.removeprefix(group): value for name, value in parse_assignments(chosen).items()}, rest


def planner_options(assignments: Iterable[str], planners: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Turn ``--set`` texts into options of each planner, and check their names and types.

    ``planner.option`` is one planner's; an option without a planner is set for all of them that have it.

    :param assignments: e.g. ``["dream.iterations=2", "horizon=5"]``
    :param planners: the planners that are compared
    :raises ValueError: for another planner, an unknown option or a value of another type
    """
    from dream_agents.registry import planners as registered

    options: dict[str, dict[str, Any]] = {name: {} for name in planners}
    known = {name: keywords_of(registered.get(name)) for name in options}
    for name, value in parse_assignments(assignments).items():
        planner, dot, option = name.rpartition(".")
        if dot and planner not in options:
            raise ValueError(
                f"--set {name}: {planner} is not one of the planners that act here, {', '.join(options)}"
            )
        if dot:
            check_names(f'the planner "{planner}"', [option], known[planner])
        else:
            check_names(f"the planners {', '.join(options)}", [option], _names_in(known))
        for owner in [planner] if dot else [owner for owner in options if option in known[owner]]:
            if option in options[owner]:
                also = option if dot else f"{owner}.{option}"
                raise ValueError(f"--set {name} is given twice, also as {also}")
            _check_type(name, value, known[owner][option])
            options[owner][option] = value
    return options


def _names_in(known: dict[str, dict[str, Keyword]]) -> set[str]:
    return {option for options in known.values() for option in options}


def _check_type(name: str, value: Any, keyword: Keyword) -> None:
    if not matches(value, keyword.hint):
        kind = describe_hint(keyword.hint)
        raise ValueError(f"--set {name}={value}: {keyword.name} is {kind}, not {type(value).__name__}")


def check_output(path: Path) -> None:
    """Make the folder of a file that is written at the end, so that a mistake does not cost all that came before.

    :raises OSError: if the file can't be written
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} is a folder that nothing can be written to")


def check_device(device: str) -> None:
    """Check that PyTorch can compute there.

    :raises ValueError: if it can't, saying what it can use
    """
    import torch

    try:
        torch.empty(0, device="cpu" if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:
        usable = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--device {device} can't be used ({reason}); here are {', '.join(usable)}"
        ) from error
