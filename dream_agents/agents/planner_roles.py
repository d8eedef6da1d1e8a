"""The planners of an agent: one acts in ``predict``, one while learning, and one is whom a policy imitates."""

from __future__ import annotations

from dream_agents.agents.policy import WorldModelPolicy
from dream_agents.planners import Planner, make_optional_planner, make_planner


class PlannerRoles:
    """The part of :class:`WorldModelAgent` that knows which planner does what."""

    policy: WorldModelPolicy
    _planner: Planner
    _training_planner: Planner | None
    _replanner: Planner | None

    @property
    def planner(self) -> Planner:
        """The planner of ``predict``; settable by name or object at any time."""
        return self._planner

    @planner.setter
    def planner(self, planner: str | Planner) -> None:
        self._planner = self.policy.planner = make_planner(planner)

    @property
    def training_planner(self) -> Planner | None:
        """The planner that acts while learning, None for :attr:`planner`; settable as that one."""
        return self._training_planner

    @training_planner.setter
    def training_planner(self, planner: str | Planner | None) -> None:
        self._training_planner = make_optional_planner("training_planner", planner)

    @property
    def replanner(self) -> Planner | None:
        """The planner that plans replayed steps again, None for the one that acts while learning; settable, too."""
        return self._replanner

    @replanner.setter
    def replanner(self, planner: str | Planner | None) -> None:
        self._replanner = make_optional_planner("replanner", planner)

    @property
    def collector(self) -> Planner:
        """The planner that acts while learning."""
        return self._training_planner or self._planner

    @property
    def expert(self) -> Planner:
        """The planner whose plans a policy imitates, where it does."""
        return self._replanner or self.collector
