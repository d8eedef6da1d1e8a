"""What files of world-model agents hold, and what ``load`` may change."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.keywords import parameters_of
from dream_agents.agents.learning_rate import make_schedule
from dream_agents.agents.planner_roles import check_replanner
from dream_agents.agents.saving import SavedAgent, owner_of
from dream_agents.agents.task import check_numbers, make_action_noise, make_config
from dream_agents.learners.base import get_backbone, planner_kwargs
from dream_agents.planners import Memory, make_planner
from dream_agents.wrappers.make import EnvLike

#: keyword arguments that the weights decide
_FIXED = ("backbone", "model_size", "model_kwargs", "episodic")
#: keyword arguments that are checked as the constructor checks them
_NUMBERS = tuple(inspect.signature(check_numbers).parameters)
#: attributes that the first decisions after loading make again
_NOT_SAVED = (
    "_learner",
    "_updates",
    "generators",
    "_plan_memory",
    "_plan_owner",
    "_last_plan",
    "_ranges",
)


class SavedWorldModelAgent(SavedAgent):
    """The part of :class:`WorldModelAgent` that says what its files hold, and what ``load`` may change."""

    #: whether files are loaded that another agent saved, whatever backbone they have
    loads_any_backbone: ClassVar[bool] = False
    _plan_memory: Memory | None

    def set_env(self, env: EnvLike | VecEnv, force_reset: bool = True) -> None:
        """Continue in another environment with the same spaces."""
        super().set_env(env, force_reset)
        self._plan_memory = None

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), *_NOT_SAVED]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "learner"], []

    @classmethod
    def _check_owner(cls, path: str | Path | Any, saved: Mapping[str, Any]) -> None:
        """Take files of this agent, and of others that have its backbone: they act alike."""
        super()._check_owner(path, saved)
        owner, backbone = owner_of(saved), saved.get("backbone_name")
        takes = cls.loads_any_backbone or backbone == parameters_of(cls)["backbone"].default
        if backbone is None or not (takes or saved.get("saved_by", cls.__name__) == cls.__name__):
            loaders = {f"{owner}.load": "", "DreamMPC.load": ", which plans in any world model"}
            raise ValueError(
                f'{path} was saved by {owner} (backbone "{backbone}"), not by {cls.__name__}; load it with '
                + " or ".join(f"{loader}{why}" for loader, why in loaders.items())
            )

    @classmethod
    def _attributes_to_load(
        cls, path: str | Path | Any, saved: dict[str, Any], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Make planners, the learner's configuration and schedules of their keywords; None counts as not given."""
        rest = {name: value for name, value in kwargs.items() if value is not None}
        fixed = [name for name in _FIXED if name in rest]
        if fixed:
            raise ValueError(f"{', '.join(fixed)}: the saved weights decide, so these can't be given")
        if "learning_rate" in rest:
            rest["learning_rate"] = make_schedule(rest["learning_rate"])
        check_numbers(**{name: rest[name] for name in _NUMBERS if name in rest})
        check_replanner(saved["backbone_name"], rest.get("replanner"))
        backbone = get_backbone(saved["backbone_name"])
        attributes: dict[str, Any] = {"model_kwargs": backbone.complete_model_kwargs(saved["model_kwargs"])}
        for name in ("planner", "training_planner", "replanner"):
            given = rest.pop(f"{name}_kwargs", {})
            if name in rest:
                planner = rest.pop(name)
                options = planner_kwargs(backbone, saved["obs_type"], planner, given)
                attributes[f"_{name}"] = make_planner(planner, **options)
            elif given:
                raise ValueError(f"{name}_kwargs are given without a {name}")
        if "learner_kwargs" in rest:
            config = saved["learner_config"]
            attributes["learner_config"] = make_config(
                type(config), vars(config) | rest.pop("learner_kwargs")
            )
        if "action_noise" in rest:
            attributes["action_noise"] = make_action_noise(rest.pop("action_noise"), saved["action_space"])
        return rest | attributes
