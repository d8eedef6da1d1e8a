"""The file of an experiment: agents, tasks, seeds, evaluation, and what the report shows."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCALES = ("paper", "cpu")


@dataclasses.dataclass(frozen=True)
class AgentVariant:
    """An agent that is trained, or a trained model that is only evaluated.

    :param name: what the experiment calls it
    :param agent: its name in the registry of agents; None for a trained model
    :param model: a zoo entry, a saved file or a run's folder; None for an agent that is trained
    :param label: what reports call it
    :param planner: planner to act with while learning; None for the agent's default
    :param model_size: size of its networks; None for the agent's default
    :param planners: the planners that evaluate it; None for all of the experiment's
    :param options: as ``dream-agents train --set`` takes them
    """

    name: str
    agent: str | None = None
    model: str | None = None
    label: str = ""
    planner: str | None = None
    model_size: str | None = None
    planners: tuple[str, ...] | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """What reports call it."""
        return self.label or self.name


@dataclasses.dataclass(frozen=True)
class PlannerVariant:
    """A planner that evaluates the agents.

    :param name: what the experiment calls it
    :param planner: its name in the registry of planners; None for the agent's own
    :param label: what reports call it
    :param options: its options
    """

    name: str
    planner: str | None = None
    label: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """What reports call it."""
        return self.label or self.name


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How trained agents are evaluated.

    :param episodes: of each planner on each trained agent
    :param seed: of the episodes, the same for all
    :param n_envs: environments side by side; 1 where decisions are timed
    :param every_frames: frames between the evaluations on the way, by the agent's own planner; 0 for none
    :param every_episodes: episodes of each of these
    """

    episodes: int = 10
    seed: int = 0
    n_envs: int | None = None
    every_frames: int = 0
    every_episodes: int = 10


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is trained and evaluated.

    :param name: the file's name without its suffix, with its folder for the packaged ones: ``"paper/table-8"``
    :param title: in a few words
    :param about: what it shows, in a sentence or two
    :param tasks: ids of environments
    :param seeds: of the runs
    :param frames: of each run; a decision is as many frames as the task repeats an action
    :param agents: by name
    :param planners: by name
    :param evaluation: how trained agents are evaluated
    :param checkpoint_frames: frames between two checkpoints
    :param keep_checkpoints: checkpoints of a run that are kept, the newest ones
    :param report: what the report shows; each part of it reads its own table
    :param published: published rows to show next to these
    :param changes: what a scale has changed, in words
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    agents: Mapping[str, AgentVariant]
    about: str = ""
    seeds: tuple[int, ...] = (1, 2, 3)
    frames: int = 100_000
    planners: Mapping[str, PlannerVariant] = dataclasses.field(
        default_factory=lambda: {"own": PlannerVariant("own")}
    )
    evaluation: Evaluation = Evaluation()
    checkpoint_frames: int = 50_000
    keep_checkpoints: int = 2
    report: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    published: tuple[Mapping[str, Any], ...] = ()
    changes: tuple[str, ...] = ()


def read_experiment(
    path: str | Path, scale: str = "paper", frames: int | None = None, name: str | None = None
) -> Experiment:
    """Read an experiment's file.

    :param path: a TOML file
    :param scale: ``"paper"``, the file as it is, or ``"cpu"``, with its table ``[scale.cpu]``
    :param frames: in place of the file's frames
    :param name: what it is called; None for the file's name
    :raises ValueError: for what is no experiment, naming the file, the key, the value and what was expected
    :raises OSError: if it can't be read
    """
    path = Path(path)
    if scale not in SCALES:
        raise ValueError(f"scale={scale!r}: choose from {', '.join(SCALES)}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    try:
        return _build(content, name or path.stem, scale, frames)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def experiment_of(values: Mapping[str, Any]) -> Experiment:
    """The experiment that ``dataclasses.asdict`` made plain values of, after a way through JSON."""
    made = dict(values)
    for name, kind in (("agents", AgentVariant), ("planners", PlannerVariant)):
        made[name] = {key: kind(**_with_tuples(given)) for key, given in values[name].items()}
    made["evaluation"] = Evaluation(**values["evaluation"])
    for name in ("tasks", "seeds", "published", "changes"):
        made[name] = tuple(values[name])
    return Experiment(**made)


def _with_tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _build(content: dict[str, Any], name: str, scale: str, frames: int | None) -> Experiment:
    content = dict(content)
    scales = _table(content, "scale")
    changes: list[str] = []
    agent_changes: dict[str, Any] = {}
    if scale != "paper":
        changed = dict(_table(scales, scale))
        agent_changes = {key: changed.pop(key) for key in ("model_size", "options") if key in changed}
        evaluation = _table(content, "evaluation") | _table(changed, "evaluation")
        changes += _described({**changed, **agent_changes}, content)
        content |= changed | {"evaluation": evaluation}
    content.pop("scale", None)
    if frames is not None:
        changes.append(f"{frames} frames in place of {content.get('frames', Experiment.frames)}")
        content["frames"] = frames
    made: dict[str, Any] = {"name": name, "changes": tuple(changes)}
    made["agents"] = {
        variant.name: variant
        for key, given in _table(content, "agents").items()
        for variant in _agents(key, given, agent_changes)
    }
    if not made["agents"]:
        raise ValueError("it has no [agents.NAME]: name at least one")
    planners = {
        variant.name: variant
        for key, given in _table(content, "planners").items()
        for variant in _planners(key, given)
    }
    if planners:
        made["planners"] = planners
    made["evaluation"] = _make(Evaluation, "evaluation", _table(content, "evaluation"))
    made["report"] = _table(content, "report")
    made["published"] = tuple(content.pop("published", ()))
    for key in ("agents", "planners", "evaluation", "report"):
        content.pop(key, None)
    experiment = _make(Experiment, "the file", content, made)
    _check(experiment)
    return experiment


def _agents(key: str, given: Any, changes: Mapping[str, Any]) -> Iterator[AgentVariant]:
    """One variant, or one for each combination of the options that are lists."""
    where = f"agents.{key}"
    given = dict(_as_table(given, where))
    options = {**_table(given, "options"), **(_table(dict(changes), "options") if "agent" in given else {})}
    if "model_size" in changes and agent_takes(given.get("agent"), "model_size"):
        given["model_size"] = changes["model_size"]
    given.pop("options", None)
    if ("agent" in given) == ("model" in given):
        raise ValueError(
            f"{where} needs either `agent`, which is trained, or `model`, which is trained already"
        )
    yield from _variants(AgentVariant, where, key, given, options)


def agent_takes(agent: Any, keyword: str) -> bool:
    """Whether an agent has a keyword: those without a world model have neither sizes nor planners.

    :param agent: its name; one that is unknown has none
    :param keyword: the keyword
    """
    from dream_agents.registry import agents

    if agent not in agents.names():
        return False
    classes = [kind for kind in agents.get(agent).__mro__ if "__init__" in vars(kind)]
    return any(keyword in inspect.signature(kind.__init__).parameters for kind in classes)


def repeated(names: Sequence[str]) -> str | None:
    """The first name that is there twice; None where each is there once."""
    return next((name for name in names if names.count(name) > 1), None)


def _planners(key: str, given: Any) -> Iterator[PlannerVariant]:
    where = f"planners.{key}"
    given = dict(_as_table(given, where))
    options = _table(given, "options")
    given.pop("options", None)
    yield from _variants(PlannerVariant, where, key, given, options)


def _variants(
    kind: Any, where: str, key: str, given: Mapping[str, Any], options: Mapping[str, Any]
) -> Iterator[Any]:
    """One for each combination of options, each with a name and a label of its own."""
    for suffix, chosen in _combinations(options):
        label = (
            {"label": f"{given['label']}{suffix.replace(',', ', ')}"} if suffix and given.get("label") else {}
        )
        yield _make(kind, where, {**given, **label}, {"name": f"{key}{suffix}", "options": chosen})


def _combinations(options: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Options of each member of a sweep, and what its name ends in; options that are one value stay as they are."""
    swept = [name for name, value in options.items() if isinstance(value, list)]
    for values in itertools.product(*(options[name] for name in swept)):
        chosen = dict(zip(swept, values, strict=True))
        suffix = "".join(f",{name.rpartition('.')[2]}={value}" for name, value in chosen.items())
        yield suffix, {**options, **chosen}


def _make(kind: Any, where: str, given: Mapping[str, Any], made: Mapping[str, Any] | None = None) -> Any:
    """Make a dataclass of a table, and check names and types.

    :param made: values that are made already, which the table does not have
    """
    made = made or {}
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in made}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in fields:
            raise ValueError(f"{where} has {name!r}, which is none of: {', '.join(sorted(fields))}")
        values[name] = _checked(f"{where}.{name}", value, str(fields[name].type))
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    return kind(**values, **made)


def _checked(where: str, value: Any, hint: str) -> Any:
    """A value of TOML as a field wants it; lists become tuples."""
    if hint.startswith("tuple["):
        inner = "int" if hint.startswith("tuple[int") else "str"
        expected: Any = int if inner == "int" else str
        if not isinstance(value, list) or not all(
            isinstance(item, expected) and not isinstance(item, bool) for item in value
        ):
            raise ValueError(
                f"{where} = {value!r}: a list of {'whole numbers' if inner == 'int' else 'texts'} is expected"
            )
        return tuple(value)
    words = {"int": (int, "a whole number"), "str": (str, "a text")}
    expected, said = words[hint.partition(" ")[0]]
    if not isinstance(value, expected) or isinstance(value, bool):
        raise ValueError(f"{where} = {value!r}: {said} is expected")
    return value


def _table(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    return dict(_as_table(content.get(name, {}), name))


def _as_table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} = {value!r}: a table is expected")
    return value


def _check(experiment: Experiment) -> None:
    """Raise a ValueError for what no run could be made of; names of tasks and agents are checked when jobs are made."""
    for name in ("tasks", "seeds"):
        values = getattr(experiment, name)
        if not values:
            raise ValueError(f"{name} is empty: name at least one")
        if len(set(values)) < len(values):
            raise ValueError(f"{name} = {list(values)!r} names something twice")
    for where, number in (
        ("frames", experiment.frames),
        ("checkpoint_frames", experiment.checkpoint_frames),
        ("keep_checkpoints", experiment.keep_checkpoints),
        ("evaluation.episodes", experiment.evaluation.episodes),
        ("evaluation.n_envs", 1 if experiment.evaluation.n_envs is None else experiment.evaluation.n_envs),
        ("evaluation.every_episodes", experiment.evaluation.every_episodes),
    ):
        if number < 1:
            raise ValueError(f"{where} = {number}: at least 1 is expected")
    if experiment.evaluation.every_frames < 0:
        raise ValueError(
            f"evaluation.every_frames = {experiment.evaluation.every_frames}: 0 for never, or more"
        )
    for where, variants in (("agents", experiment.agents), ("planners", experiment.planners)):
        twice = repeated([variant.title for variant in variants.values()])
        if twice is not None:
            raise ValueError(f"two {where} are called {twice!r}: give each a label of its own")
    for variant in experiment.agents.values():
        unknown = set(variant.planners or ()) - set(experiment.planners)
        if unknown:
            raise ValueError(
                f"agents.{variant.name}.planners names {', '.join(sorted(unknown))}; the planners are "
                f"{', '.join(experiment.planners)}"
            )


def _described(changed: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """What a scale changes, in words."""
    words = []
    for key, value in changed.items():
        before = content.get(key)
        words.append(f"{key} {_said(value)}" + ("" if before is None else f" in place of {_said(before)}"))
    return words


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_said(item)}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
