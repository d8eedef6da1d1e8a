"""What an evaluation found, and how sure that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """What one planner reached.

    :param planner: name of the planner
    :param planner_options: its options
    :param changed_options: options that the planner's name alone does not stand for: they differ from the agent's own
        planner of that name, or else from the defaults
    :param env: the environment's id
    :param seed: episode i's initial state depends on this seed and i alone
    :param returns: undiscounted return of each episode
    :param lengths: decisions of each episode
    :param successes: whether each episode ended in success, where the task defines it
    :param n_envs: environments that were planned for in one call
    :param ms_per_decision: median wall-clock of a ``predict`` call, divided by ``n_envs``
    :param latency_ms: median wall-clock of a ``predict`` call for one environment
    :param decisions_per_second: decisions of all environments a second of wall-clock, their steps included
    :param seconds: wall-clock of the whole evaluation, environments included
    :param deterministic: whether exploration noise was left out
    :param device: where the model was
    :param hardware: name of that processor or GPU
    :param threads: PyTorch's threads on the CPU
    :param env_kwargs: keyword arguments that the environment was made with
    :param model: what the user calls the model; empty where nobody said it
    :param checksum: of the model's weights, SHA-256; empty where it was not asked for
    """

    planner: str
    planner_options: Mapping[str, Any]
    changed_options: Mapping[str, Any]
    env: str
    seed: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    successes: tuple[bool, ...] | None
    n_envs: int
    ms_per_decision: float
    latency_ms: float
    decisions_per_second: float
    seconds: float
    deterministic: bool
    device: str
    hardware: str
    threads: int
    env_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: str = ""
    checksum: str = ""

    @property
    def planner_label(self) -> str:
        """Name of the planner, with what is changed in brackets: ``"mppi (iterations=3, samples=128)"``."""
        if not self.changed_options:
            return self.planner
        changes = ", ".join(f"{name}={value}" for name, value in self.changed_options.items())
        return f"{self.planner} ({changes})"

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.returns)

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation of the returns over episodes."""
        return float(np.std(self.returns))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% bootstrap interval of the mean return over episodes; None for a single episode."""
        return bootstrap_interval(self.returns)

    @property
    def success_rate(self) -> float | None:
        """Share of successful episodes, where the task defines success."""
        return None if self.successes is None else float(np.mean(self.successes))

    def first(self, episodes: int) -> EvaluationResult:
        """The same with the first episodes only."""
        successes = None if self.successes is None else self.successes[:episodes]
        return dataclasses.replace(
            self, returns=self.returns[:episodes], lengths=self.lengths[:episodes], successes=successes
        )

    def followed_by(self, later: EvaluationResult) -> EvaluationResult:
        """Add the episodes after these; times and device come from the part with more episodes."""
        longer = later if later.episodes > self.episodes else self
        both = None
        if self.successes is not None and later.successes is not None:
            both = self.successes + later.successes
        return dataclasses.replace(
            longer,
            returns=self.returns + later.returns,
            lengths=self.lengths + later.lengths,
            successes=both,
            seconds=self.seconds + later.seconds,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EvaluationResult:
        """Make a result of what :meth:`to_dict` returned.

        :raises KeyError: if something is missing
        """
        fields = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        for name in ("returns", "lengths", "successes"):
            fields[name] = None if fields[name] is None else tuple(fields[name])
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        interval = self.interval
        return {
            "model": self.model,
            "checksum": self.checksum,
            "planner": self.planner,
            "planner_options": plain(self.planner_options),
            "changed_options": plain(self.changed_options),
            "env": self.env,
            "env_kwargs": plain(self.env_kwargs),
            "seed": self.seed,
            "episodes": self.episodes,
            "mean": self.mean,
            "std": self.std,
            "interval_95": None if interval is None else list(interval),
            "success_rate": self.success_rate,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "successes": None if self.successes is None else list(self.successes),
            "n_envs": self.n_envs,
            "ms_per_decision": self.ms_per_decision,
            "latency_ms": self.latency_ms,
            "decisions_per_second": self.decisions_per_second,
            "seconds": self.seconds,
            "deterministic": self.deterministic,
            "device": self.device,
            "hardware": self.hardware,
            "threads": self.threads,
        }


def plain(value: Any) -> Any:
    """Make a value one that JSON holds and gives back as it is: lists for tuples, text for what it has no word for."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean; None for fewer than two values, which have no spread.

    :param values: e.g. returns of episodes
    :param confidence: probability that the interval is to have
    :param resamples: how often the values are drawn again
    :param seed: seed of the draws
    """
    if len(values) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.choice(np.asarray(values, dtype=np.float64), size=(resamples, len(values)))
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(drawn.mean(1), (tail, 100 - tail))
    return float(low), float(high)
