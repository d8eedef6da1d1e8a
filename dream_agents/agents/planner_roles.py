"""The planners of an agent: one acts in ``predict``, one while learning, and one is whom a policy imitates."""

from __future__ import annotations

from typing import Any

from dream_agents.agents.policy import WorldModelPolicy
from dream_agents.learners.base import Backbone, get_backbone, planner_kwargs
from dream_agents.planners import Planner, make_optional_planner, make_planner


def check_replanner(backbone: str, replanner: str | Planner | None) -> None:
    """Raise a ValueError for a replanner that nothing would ask.

    :param backbone: name of the backbone
    """
    if replanner is not None and not get_backbone(backbone).imitates_planner:
        raise ValueError(
            f'replanner={replanner!r}: the backbone "{backbone}" does not imitate plans; leave it out'
        )


class PlannerRoles:
    """The part of :class:`WorldModelAgent` that knows which planner does what."""

    policy: WorldModelPolicy
    backbone_name: str
    obs_type: str
    _planner: Planner
    _training_planner: Planner | None
    _replanner: Planner | None

    @property
    def backbone(self) -> type[Backbone]:
        """What made the world model, and makes its learner."""
        return get_backbone(self.backbone_name)

    def make_planner(self, planner: str | Planner, **options: Any) -> Planner:
        """Make a planner for this agent's world model; a planner object is passed through.

        :param planner: a name in ``registry.planners``, or a planner
        :param options: the planner's options; others are the backbone's ``planner_options``, or the planner's defaults
        :raises ValueError: for an unknown name or option, and for options with an object
        """
        return make_planner(planner, **planner_kwargs(self.backbone, self.obs_type, planner, options))

    def _make_training_planner(
        self, planner: str | Planner | None, given: dict[str, Any] | None = None
    ) -> Planner | None:
        options = planner_kwargs(self.backbone, self.obs_type, planner, given)
        return make_optional_planner("training_planner", planner, options)

    def _make_replanner(
        self, planner: str | Planner | None, given: dict[str, Any] | None = None
    ) -> Planner | None:
        check_replanner(self.backbone_name, planner)
        options = planner_kwargs(self.backbone, self.obs_type, planner, given)
        return make_optional_planner("replanner", planner, options)

    @property
    def planner(self) -> Planner:
        """The planner of ``predict``; settable at any time, by name (:meth:`make_planner`) or object."""
        return self._planner

    @planner.setter
    def planner(self, planner: str | Planner) -> None:
        self._planner = self.policy.planner = self.make_planner(planner)

    @property
    def training_planner(self) -> Planner | None:
        """The planner that acts while learning, None for :attr:`planner`; settable as that one."""
        return self._training_planner

    @training_planner.setter
    def training_planner(self, planner: str | Planner | None) -> None:
        self._training_planner = self._make_training_planner(planner)

    @property
    def replanner(self) -> Planner | None:
        """The planner that plans replayed steps again, None for the one that acts while learning; settable, too."""
        return self._replanner

    @replanner.setter
    def replanner(self, planner: str | Planner | None) -> None:
        self._replanner = self._make_replanner(planner)

    @property
    def collector(self) -> Planner:
        """The planner that acts while learning."""
        return self._training_planner or self._planner

    @property
    def expert(self) -> Planner:
        """The planner whose plans a policy imitates, where it does."""
        return self._replanner or self.collector
