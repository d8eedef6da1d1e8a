"""Model cards: what an entry is, how it was trained and what it was measured to reach."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import tomli_w

from dream_agents.registry import UnknownNameError
from dream_agents.zoo.errors import ZooError, is_control
from dream_agents.zoo.sources import EMBEDDED, parse_address

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CARD_FILE = "card.toml"

#: Bytes that a card may have; the longest ones here have three thousand.
MOST_CARD_BYTES = 100_000

#: What weights' names and shapes follow, and the file next to a card that holds them.
FORMATS = {"dream-agents": "model.safetensors", "tdmpc2": "model.pt", "bmpc": "model.pt"}

#: Value of an option of a planner or a network.
Scalar = bool | int | float | str

#: Bounds of sizes in a card, beyond which nobody trains and a check of the shapes takes forever.
_WIDEST, _MOST_COPIES = 1_000_000, 100

_NAME_PART = r"[a-z0-9][a-z0-9_.-]*"
_NAME = re.compile(rf"{_NAME_PART}(/{_NAME_PART})?")
#: A name of more parts than any table has; each part costs the reader of TOML more time and memory than the one before.
_DEEP_NAME = re.compile(r"""((?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*\.[ \t]*){20}""")
_SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


class Evaluation(Protocol):
    """What a card takes from :class:`~dream_agents.evaluation.EvaluationResult`, with its names and units."""

    @property
    def planner_label(self) -> str:
        """Name of the planner, with the options that were changed."""

    @property
    def mean(self) -> float:
        """Mean return."""

    @property
    def std(self) -> float:
        """Standard deviation of the returns over episodes."""

    @property
    def episodes(self) -> int:
        """Number of episodes."""

    @property
    def seed(self) -> int:
        """Seed of the episodes."""

    @property
    def latency_ms(self) -> float:
        """Median time of a decision for one environment."""

    @property
    def hardware(self) -> str:
        """Name of the processor or GPU."""


@dataclass(frozen=True)
class Result:
    """What the entry's weights were measured to reach with one planner.

    The card's planner has the card's options, any other one its defaults, unless its name is followed by others.

    :param planner: name of the planner, and its options in brackets where they are neither
    :param mean: mean over episodes, in units of ``measure``
    :param std: standard deviation over episodes
    :param episodes: number of episodes
    :param seed: seed of the evaluation
    :param ms_per_decision: milliseconds that a decision for one environment took
    :param device: where, e.g. the name of the processor
    :param measure: "return" or "success"
    """

    planner: str
    mean: float
    std: float
    episodes: int
    seed: int
    ms_per_decision: float
    device: str
    measure: str = "return"

    def __post_init__(self) -> None:
        _require(math.isfinite(self.mean), "mean", self.mean, "a finite number")
        _require(0 <= self.std < math.inf, "std", self.std, "a finite number of at least 0")
        _require(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        _require(
            0 <= self.ms_per_decision < math.inf,
            "ms_per_decision",
            self.ms_per_decision,
            "a finite number of at least 0",
        )
        _require(self.measure in ("return", "success"), "measure", self.measure, '"return" or "success"')

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation) -> Result:
        """Take planner and return from what :func:`dream_agents.evaluation.evaluate` found."""
        return cls(
            planner=evaluation.planner_label,
            mean=evaluation.mean,
            std=evaluation.std,
            episodes=evaluation.episodes,
            seed=evaluation.seed,
            ms_per_decision=round(evaluation.latency_ms, 3),
            device=evaluation.hardware,
        )


@dataclass(frozen=True)
class Network:
    """Sizes of the networks, from which the shapes of all weights follow.

    :param obs_shape: shape of an observation, of images and numbers by key
    :param action_dim: number of action dimensions
    :param discount: discount factor of the predicted returns
    :param episodic: whether the task can end before its time limit
    :param model_size: the fields of the backbone's size, e.g. of :class:`~dream_agents.models.tdmpc.TDMPCSize`
    :param options: further keyword arguments of the networks
    """

    obs_shape: tuple[int, ...] | dict[str, tuple[int, ...]]
    action_dim: int
    discount: float
    episodic: bool
    model_size: dict[str, int]
    options: dict[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {"": self.obs_shape} if isinstance(self.obs_shape, tuple) else self.obs_shape
        _require(0 < len(shapes) <= _MOST_COPIES, "obs_shape", shapes, f"1 to {_MOST_COPIES} shapes by key")
        for key, shape in shapes.items():
            _require(
                0 < len(shape) <= 4 and all(0 < width <= _WIDEST for width in shape),
                f"obs_shape.{key}" if key else "obs_shape",
                list(shape),
                f"up to 4 numbers in 1 to {_WIDEST}",
            )
        _require(0 < self.action_dim <= _WIDEST, "action_dim", self.action_dim, f"in 1 to {_WIDEST}")
        _require(0 < self.discount <= 1, "discount", self.discount, "in (0, 1]")
        for name, width in self.model_size.items():
            most = _MOST_COPIES if name.startswith("num_") else _WIDEST
            _require(0 < width <= most, f"model_size.{name}", width, f"in 1 to {most}")


@dataclass(frozen=True)
class Card:
    """Everything that ``card.toml`` says about an entry.

    :param name: the entry's name, ``<agent>-<task>`` in lower case, or ``<group>/<name>``
    :param agent: name of the agent in ``registry.agents``
    :param backbone: name of the backbone in ``registry.backbones``
    :param planner: name of the planner that acts in ``predict``
    :param environment: id of the environment that it was trained in; where another package registers it, that one
        has to be imported before
    :param obs_type: what it observes there
    :param license: license of the weights, an SPDX identifier where there is one
    :param authors: who made them
    :param source: where the weights are: "embedded" (next to the card), ``hf://<repo>@<revision>/<path>``, or an https
        address
    :param format: what the weights' names and shapes follow, one of :data:`FORMATS`
    :param network: sizes of the networks
    :param sha256: checksum of the weights' file; None only for a file elsewhere that was never downloaded
    :param size: its size in bytes; None as for ``sha256``
    :param decisions: decisions that it was trained for, including the decisions of ``base``; None where nobody told
    :param frames: frames of the simulator that it was trained for: decisions times action repeat
    :param base: name of the entry whose weights the training began with; None for random ones
    :param seed: seed of the training; None if it had none
    :param command: the exact command, or code, that trained it
    :param planner_kwargs: options of the planner that differ from its defaults
    :param versions: versions of the packages that it was made with
    :param results: measured results
    :raises ZooError: naming the field that is not as it should be
    """

    name: str
    agent: str
    backbone: str
    planner: str
    environment: str
    obs_type: str
    license: str
    authors: tuple[str, ...]
    source: str
    format: str
    network: Network
    sha256: str | None = None
    size: int | None = None
    decisions: int | None = None
    frames: int | None = None
    base: str | None = None
    seed: int | None = None
    command: str = ""
    planner_kwargs: dict[str, Scalar] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    results: tuple[Result, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        _require(
            ":" not in self.environment, "environment", self.environment, "an id without a module before it"
        )
        _require(self.decisions is None or self.decisions >= 0, "decisions", self.decisions, "at least 0")
        _require(self.frames is None or self.frames >= 0, "frames", self.frames, "at least 0")
        if self.base is not None:
            check_name(self.base, "base")
        self._check_source()

    def _check_source(self) -> None:
        if self.source != EMBEDDED:
            try:
                parse_address(self.source)
            except ZooError as error:
                raise ZooError(
                    f'source = {self.source!r}: {error}, or "embedded" for weights next to the card'
                ) from None
        for field_name in ("sha256", "size") if self.source == EMBEDDED else ():
            if getattr(self, field_name) is None:
                raise ZooError(
                    f"{field_name} is missing: only a file elsewhere may lack it, before it is downloaded"
                )
        _require(
            self.sha256 is None or _SHA256.fullmatch(self.sha256) is not None,
            "sha256",
            self.sha256,
            "64 hexadecimal digits, lower case",
        )
        _require(self.size is None or self.size > 0, "size", self.size, "at least 1")
        formats = ", ".join(f'"{name}"' for name in FORMATS)
        _require(self.format in FORMATS, "format", self.format, f"one of {formats}")
        _require(
            self.format in ("dream-agents", self.backbone),
            "format",
            self.format,
            f'"dream-agents" or that of the backbone "{self.backbone}"',
        )

    @property
    def own_mean(self) -> float:
        """The mean of the card's own planner, or else the best one; minus infinity where nothing was measured."""
        own = [result.mean for result in self.results if result.planner == self.planner]
        return max(own or [result.mean for result in self.results], default=-math.inf)


def check_name(name: str, field_name: str = "name") -> None:
    """Check that a name can be an entry's.

    :param name: the name
    :param field_name: what it is, for the message
    :raises ZooError: if it can't, e.g. because it would lead out of the folder of entries
    """
    _require(
        _NAME.fullmatch(name) is not None,
        field_name,
        name,
        "lower-case letters, digits, '.', '_' and '-', starting with a letter or digit, "
        "with at most one '/' between two such parts",
    )


def read_card(folder: Path) -> Card:
    """Read the card in a folder.

    :raises ZooError: if there is none, or naming the field that is wrong
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise ZooError(f"{folder} is not an entry of the zoo: it has no {CARD_FILE}")
    return read_card_file(path)


def read_card_file(path: Path) -> Card:
    """Read a card, whatever its file is called.

    :raises ZooError: if it can't be read, or naming the field that is wrong
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_CARD_BYTES + 1)
        if len(content) > MOST_CARD_BYTES:
            raise ValueError(f"it has more than {MOST_CARD_BYTES} bytes")
        text = content.decode()
        if _DEEP_NAME.search(text) is not None:
            raise ValueError("it has a name of more than 20 parts")
        data = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ZooError(f"{path} cannot be read: {error}") from error
    try:
        _check_printable(data, "")
        return _build(Card, data, "")
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from None


def to_toml(card: Card) -> bytes:
    """Contents of a card's file.

    :raises ZooError: naming the field that is wrong
    """
    data = _plain(dataclasses.asdict(card))
    _build(Card, data, "")
    return tomli_w.dumps(data).encode()


def make_result(result: Result | Mapping[str, Any]) -> Result:
    """Make a :class:`Result` of a mapping with its fields, or check one that is made; NumPy's numbers become Python's.

    :raises ZooError: naming the field that is missing or wrong
    """
    values = dataclasses.asdict(result) if isinstance(result, Result) else dict(result)
    return _build(Result, _plain(values), "result")


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ZooError(f"{name} = {value!r} is not {expected}")


def _check_printable(value: Any, where: str) -> None:
    """Refuse texts and names that a terminal would obey; ``where`` is what holds the value."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_printable(name, f"a name in {where or 'the card'}")
            _check_printable(item, f"{where}.{name}" if where else name)
    elif isinstance(value, list):
        for item in value:
            _check_printable(item, where)
    elif isinstance(value, str) and any(map(is_control, value)):
        raise ZooError(f"{where} = {value!r} has control characters")


def _plain(value: Any) -> Any:
    """Python's own numbers, tuples as lists; without None and empty tables, which TOML lacks or need not show."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None and item != {}}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _build(cls: type[T], data: Any, where: str) -> T:
    """Make a dataclass of a TOML table, checking names and types; ``where`` is the table's name."""
    if not isinstance(data, dict):
        raise ZooError(f"{where} = {data!r} is not a table")
    prefix = f"{where}." if where else ""
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in data:
        if name not in fields:
            raise ZooError(str(UnknownNameError("field", prefix + name, [prefix + f for f in fields])))
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise ZooError(f"{prefix}{name} is missing")
    values = {name: _convert(value, hints[name], prefix + name) for name, value in data.items()}
    try:
        return cls(**values)
    except ZooError as error:
        raise ZooError(f"{prefix}{error}") from None


def _convert(value: Any, hint: Any, name: str) -> Any:
    """Check a TOML value against a type hint of a card's field."""
    origin, options = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, name)  # type: ignore[arg-type]
    if origin is types.UnionType and isinstance(value, dict | list | tuple):
        kinds = {get_origin(option): option for option in options}
        hint = kinds.get(dict if isinstance(value, dict) else tuple, hint)
        origin, options = get_origin(hint), get_args(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ZooError(f"{name} = {value!r} is not an array")
        return tuple(_convert(item, options[0], f"{name}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ZooError(f"{name} = {value!r} is not a table")
        return {key: _convert(item, options[1], f"{name}.{key}") for key, item in value.items()}
    allowed = options if origin is types.UnionType else (hint,)
    if float in allowed and type(value) is int and int not in allowed:
        try:
            value = float(value)
        except OverflowError:
            raise ZooError(f"{name} is beyond every number with a fraction") from None
    if type(value) not in allowed:
        expected = " or ".join(kind.__name__ for kind in allowed if kind is not type(None))
        raise ZooError(f"{name} = {value!r} is not {expected}")
    return value
