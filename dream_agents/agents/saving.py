"""How agents are saved, and made again from what was saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from zipfile import BadZipFile, ZipFile

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import json_to_data, open_path
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.checkpoint import (
    AGENT_FILE,
    newest_good_checkpoint,
    restore_training_state,
    save_checkpoint,
)
from dream_agents.agents.learning_rate import make_schedule
from dream_agents.agents.task import TrainingTask, make_config
from dream_agents.learners.base import get_backbone, planner_kwargs
from dream_agents.planners import Memory, make_planner
from dream_agents.wrappers import task_info

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent

#: arguments of the agent that say how its environments are made
_TASK_OPTIONS = ("obs_type", "env_kwargs", "n_envs", "vec_env_cls")
#: those that the weights decide
_FIXED = ("backbone", "model_size", "model_kwargs", "episodic")

SelfSavedAgent = TypeVar("SelfSavedAgent", bound="SavedAgent")


class SavedAgent(OffPolicyAlgorithm):
    """The part of :class:`WorldModelAgent` that saves, loads and changes environments."""

    #: how the environments were made
    task: TrainingTask
    _action_repeat: int
    _plan_memory: Memory | None

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        """Continue in another environment with the same spaces."""
        task = self.task.changed_to(env)
        env = task.make(env)
        super().set_env(env, force_reset)
        self.task = task
        self._action_repeat = task_info(env).action_repeat
        self._plan_memory = None

    def _excluded_save_params(self) -> list[str]:
        own = [
            "_learner",
            "generators",
            "_plan_memory",
            "_plan_owner",
            "_last_plan",
            "_last_obs",
            "_last_original_obs",
            "_last_episode_starts",
        ]
        return [*super()._excluded_save_params(), *own]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "learner"], []

    @classmethod
    def load(  # type: ignore[override]
        cls: type[SelfSavedAgent], path: str | Path | Any, env: GymEnv | str | None = None, **kwargs: Any
    ) -> SelfSavedAgent:
        """Load what :meth:`save` wrote. See Stable-Baselines3's ``load``.

        :param env: also an environment id, made with the options that were saved (``env_kwargs`` if the id is the
            same)
        :param kwargs: keyword arguments of the agent that are to be others than the saved ones
        :raises ValueError: for those that decide which weights there are, and for files of other agents
        """
        saved = read_attributes(path)
        task, env = reopen_task(saved["task"], env, kwargs)
        agent = super().load(path, env, **_attributes(kwargs, saved))
        agent.task = task
        return agent

    def save_checkpoint(self, folder: str | Path) -> Path:
        """Write a checkpoint with replay buffer and random states into ``folder``; see :class:`CheckpointCallback`."""
        return save_checkpoint(cast("WorldModelAgent", self), folder)

    @classmethod
    def load_checkpoint(
        cls: type[SelfSavedAgent], folder: str | Path, env: GymEnv | str | None = None, **kwargs: Any
    ) -> SelfSavedAgent:
        """Go on from the newest good checkpoint; bad ones are named in a warning.

        Continue with ``learn(more_decisions, reset_num_timesteps=False)``.

        :param folder: what was given to :class:`CheckpointCallback`, or one checkpoint
        :param env: needed where the agent was not made with an environment id
        :param kwargs: as for :meth:`load`
        :raises FileNotFoundError: if no checkpoint is good
        """
        checkpoint = newest_good_checkpoint(folder)
        if env is None:
            env = read_attributes(checkpoint / AGENT_FILE)["task"].env
        agent = cls.load(checkpoint / AGENT_FILE, env, **kwargs)
        restore_training_state(cast("WorldModelAgent", agent), checkpoint)
        return agent


def reopen_task(
    task: TrainingTask, env: GymEnv | str | None, kwargs: dict[str, Any]
) -> tuple[TrainingTask, VecEnv | None]:
    """Make the environments that a loaded agent goes on in.

    :param task: the saved agent's
    :param env: as ``load`` takes it; None for no environments
    :param kwargs: given to ``load``; those that say how environments are made are taken out
    :return: how they are made, and they themselves
    """
    if env is None:
        return task, None
    given = {name: kwargs.pop(name) for name in _TASK_OPTIONS if name in kwargs}
    task = task.changed_to(env, **given)
    return task, task.make(env)


def read_attributes(path: str | Path | Any) -> dict[str, Any]:
    """Read a saved agent's attributes without its weights."""
    file = open_path(path, "r", suffix="zip")
    try:
        with ZipFile(file) as archive:
            saved = json_to_data(archive.read("data").decode())
    except (BadZipFile, KeyError):
        saved = {}
    finally:
        if isinstance(path, str | Path):
            file.close()
    if "task" not in saved:
        raise ValueError(f"{path} was not written by save() of an agent of this package")
    return saved


def _attributes(kwargs: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """Turn keyword arguments of an agent into the attributes that they stand for.

    :param kwargs: given to ``load``; those that are None count as not given
    :param saved: the saved agent's attributes
    :raises ValueError: for arguments that decide which weights there are
    """
    rest = {name: value for name, value in kwargs.items() if value is not None}
    fixed = [name for name in _FIXED if name in rest]
    if fixed:
        raise ValueError(f"{', '.join(fixed)}: the saved weights decide, so these can't be given")
    attributes: dict[str, Any] = {}
    backbone = get_backbone(saved["backbone_name"])
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
        attributes["learner_config"] = make_config(type(config), vars(config) | rest.pop("learner_kwargs"))
    if "learning_rate" in rest:
        attributes["learning_rate"] = make_schedule(rest["learning_rate"])
    return rest | attributes
