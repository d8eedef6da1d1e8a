"""``--set name=value``: any option of agents, learners and planners."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dream_agents.cli.signatures import (
    Keyword,
    check_names,
    class_made_by,
    describe_hint,
    keywords_of,
    matches,
)

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

    :param agent: the agent's name
    :param assignments: e.g. ``["batch_size=128", "planner_kwargs.samples=128"]``
    :param planner: name of the planner whose options ``planner_kwargs`` are; None for the agent's default
    :raises ValueError: for an unknown name or a value of another type
    """
    from dream_agents.registry import agents

    known = keywords_of(agents.get(agent))
    keywords: dict[str, Any] = {}
    values = parse_assignments(assignments)
    for name, value in values.items():
        outer, dot, inner = name.partition(".")
        if name in _OWN_OPTIONS:
            raise ValueError(f"--set {name}: use {_OWN_OPTIONS[name]} instead")
        check_names(f'the agent "{agent}"', [outer], [key for key in known if not key.startswith("_")])
        if dot:
            if not outer.endswith("_kwargs"):
                raise ValueError(f"--set {name}: {outer} has no options of its own")
            keywords.setdefault(outer, {})[inner] = value
        else:
            _check_type(name, value, known[name])
            keywords[name] = value
    _check_nested(known, keywords, planner)
    return keywords


@contextmanager
def blaming_options(assignments: Iterable[str]) -> Iterator[None]:
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
    """Turn ``planner.option=value`` texts into options of each planner, and check their names and types.

    :param assignments: e.g. ``["dream.iterations=2"]``
    :param planners: the planners that are compared
    :raises ValueError: for another planner, an unknown option or a value of another type
    """
    from dream_agents.registry import planners as registered

    options: dict[str, dict[str, Any]] = {name: {} for name in planners}
    known = {name: keywords_of(registered.get(name)) for name in options}
    for name, value in parse_assignments(assignments).items():
        planner, dot, option = name.rpartition(".")
        if not dot or planner not in options:
            raise ValueError(
                f"--set {name}: write planner.option=value, with one of the planners {', '.join(options)}"
            )
        check_names(f'the planner "{planner}"', [option], known[planner])
        _check_type(name, value, known[planner][option])
        options[planner][option] = value
    return options


def _check_nested(known: dict[str, Keyword], keywords: dict[str, Any], planner: str | None) -> None:
    """Check the options of learner, networks and planners, which ``--set``, ``--planner`` or defaults name."""
    from dream_agents.registry import backbones, planners

    def name_of(role: str) -> Any:
        return keywords.get(role, known[role].default if role in known else None)

    def check(group: str, owner: str, cls: type) -> None:
        fields = keywords_of(cls)
        check_names(owner, keywords[group], fields)
        check_types(group, fields)

    def check_types(group: str, fields: dict[str, Keyword]) -> None:
        for option, value in keywords[group].items():
            if option in fields:
                _check_type(f"{group}.{option}", value, fields[option])

    backbone = name_of("backbone")
    if keywords.get("learner_kwargs"):
        check("learner_kwargs", f'the backbone "{backbone}"', backbones.get(backbone).config_class)
    if keywords.get("model_kwargs"):
        model = class_made_by(backbones.get(backbone).build_world_model)
        check_types("model_kwargs", {} if model is None else keywords_of(model))
    acting = planner or name_of("planner")
    for group, name in (("planner_kwargs", acting), ("training_planner_kwargs", name_of("training_planner"))):
        if keywords.get(group) and isinstance(name, str):
            check(group, f'the planner "{name}"', planners.get(name))


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
