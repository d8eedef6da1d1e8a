"""How agents are evaluated: defaults and checks, in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class EvaluationKeywords(TypedDict, total=False):
    """The fields of :class:`EvaluationSettings` as keywords of functions that take them one by one."""

    episodes: int
    seed: int
    n_envs: int | None
    deterministic: bool
    vec_env_cls: str
    env_kwargs: Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """How agents are evaluated, the same for every model and planner that are compared.

    :param episodes: number of episodes
    :param seed: seed of the episodes: episode i starts from a state that depends on it and i alone
    :param n_envs: environments side by side; None for one an episode, ten at most
    :param deterministic: leave out exploration noise
    :param vec_env_cls: ``"dummy"`` (in this process) or ``"subproc"`` (a process a processor, each with its share of
        the environments)
    :param env_kwargs: keyword arguments of the environment; None for none
    :raises ValueError: for less than one episode or environment
    """

    episodes: int = 10
    seed: int = 0
    n_envs: int | None = None
    deterministic: bool = True
    vec_env_cls: str = "dummy"
    env_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes={self.episodes}: at least one episode is needed")
        if self.n_envs is not None and self.n_envs < 1:
            raise ValueError(f"n_envs={self.n_envs}: at least one environment is needed")

    @property
    def side_by_side(self) -> int:
        """Number of environments that are used: by default one an episode, ten at most."""
        return min(self.episodes, 10 if self.n_envs is None else self.n_envs)

    def but(self, **changes: Unpack[EvaluationKeywords]) -> Self:
        """Return these settings with some of them changed.

        :param changes: fields and their new values
        :raises TypeError: for what is no field
        """
        return dataclasses.replace(self, **changes)
