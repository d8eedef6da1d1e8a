"""How agents are saved, and loaded from what was saved."""

from __future__ import annotations

import dataclasses
import inspect
import io
import itertools
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile, ZipFile

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import json_to_data, open_path
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.checkpoint import (
    AGENT_FILE,
    check_agent,
    newest_good_checkpoint,
    restore_training_state,
    save_checkpoint,
)
from dream_agents.agents.collecting import CollectingAgent
from dream_agents.agents.exporting import ExportingAgent
from dream_agents.agents.keywords import explain_misplaced, parameters_of
from dream_agents.agents.task import TrainingTask
from dream_agents.registry import UnknownNameError, agents, suites
from dream_agents.wrappers import make_env, native_spaces, resolve, task_info
from dream_agents.wrappers.gymnasium_ids import SUITE as GYMNASIUM
from dream_agents.wrappers.make import EnvLike
from dream_agents.wrappers.spaces import NativeSpaces
from dream_agents.wrappers.watched import watch

#: arguments of the agent that say how its environments are made
_TASK_OPTIONS = ("obs_type", "env_kwargs", "n_envs", "vec_env_cls", "not_finite")

SelfSavedAgent = TypeVar("SelfSavedAgent", bound="SavedAgent")


class SavedAgent(ExportingAgent, CollectingAgent):
    """What every agent of this package adds to Stable-Baselines3's: environments by id, frames, checkpoints.

    It stands before an algorithm among a class's bases. An agent sets ``task``, ``generators`` and
    ``_action_repeat``, and may override the hook :meth:`_attributes_to_load`.
    """

    #: how the environments were made
    task: TrainingTask
    #: what the environments themselves observe, which ``observation_space`` may be in another form
    native_observation_space: gym.Space[Any] | None = None
    #: name of the class that wrote the file, in what was saved
    saved_by: str
    #: the agent's own random streams by name; none if it draws from the global one
    generators: Mapping[str, torch.Generator]
    _action_repeat: int

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Explain keyword arguments that belong to a part of the agent; Python's own error names a base class."""
        explain_misplaced(cls, kwargs)
        return super().__new__(cls)

    @property
    def env_frames(self) -> int:
        """Frames of the simulator so far: decisions times action repeat."""
        return self.num_timesteps * self._action_repeat

    def dump_logs(self) -> None:
        """Write the log, with ``time/env_frames``."""
        self.logger.record("time/env_frames", self.env_frames)
        super().dump_logs()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_pace", "_callback", "while_learning"]

    def set_env(self, env: EnvLike | VecEnv, force_reset: bool = True) -> None:
        """Continue in another environment with the same spaces.

        :param env: an id, a ``gymnasium.Env``, a function that makes one, or a ``VecEnv``
        :param force_reset: begin a new episode
        :raises ValueError: if it has other spaces
        """
        task = self.task.changed_to(env)
        made = self._wrap_env(task.make(env), self.verbose)
        self._check_fit(vars(self), made)
        self.observation_space, self.action_space = made.observation_space, made.action_space
        try:
            super().set_env(made, force_reset)
            self.task = task
        finally:
            self._adopt_spaces()
        self._action_repeat = task_info(made).action_repeat

    def _adopt_spaces(self) -> None:
        """Have the environment's own action space, also where environments of ``make_env`` act in [-1, 1]."""
        if self.env is not None:
            self.native_observation_space, self.action_space = native_spaces(self.env)
            if self.env.has_attr("native_spaces"):
                (normalized,) = self.env.get_attr("is_normalized", indices=[0])
                self.task = dataclasses.replace(self.task, normalized=normalized)

    @classmethod
    def _check_fit(cls, saved: Mapping[str, Any], env: VecEnv) -> None:
        """Raise a ValueError unless an agent with these attributes can act in an environment.

        :param saved: the agent's attributes
        :param env: the environment
        """
        observed, acted = native_spaces(env)
        known = (saved["observation_space"], saved.get("native_observation_space"))
        if not any(_same(*pair) for pair in itertools.product(known, (env.observation_space, observed))):
            raise ValueError(f"Observation spaces do not match: {known[0]} != {env.observation_space}")
        if saved["action_space"] not in (env.action_space, acted):
            raise ValueError(f"Action spaces do not match: {saved['action_space']} != {acted}")

    @classmethod
    def load(  # type: ignore[override]
        cls: type[SelfSavedAgent], path: str | Path | Any, env: EnvLike | VecEnv | None = None, **kwargs: Any
    ) -> SelfSavedAgent:
        """Load what :meth:`save` wrote. See Stable-Baselines3's ``load``.

        The file holds pickled objects, so it can run code: load only those that you trust.

        :param env: also an environment id, made with the options that were saved (``env_kwargs`` if the id is the
            same), or a function that makes an environment
        :param kwargs: keyword arguments of the agent that replace the saved ones
        :raises ValueError: for those that decide which weights there are, unknown ones, for files of other agents, and
            for environments with other spaces
        """
        saved = read_attributes(path)
        check_known(cls, kwargs)
        task = TrainingTask.of_version(saved["task"])
        if "native_observation_space" not in saved:
            saved |= _spaces_of_version_0_1(task)
        objects: dict[str, Any] = {"action_space": saved["action_space"]}
        if env is not None:
            task = task.changed_to(
                env, **{name: kwargs.pop(name) for name in _TASK_OPTIONS if name in kwargs}
            )
        cls._check_owner(path, saved)
        attributes = cls._attributes_to_load(path, saved, kwargs)
        if env is not None:
            env = cls._wrap_env(task.make(env), 0)
            cls._check_fit(saved, env)
            # Stable-Baselines3 compares them with the environment's; _setup_model sets the agent's.
            objects = {"observation_space": env.observation_space, "action_space": env.action_space}
        attributes["native_observation_space"] = saved.get("native_observation_space")
        objects |= {"task": task} | (attributes.pop("custom_objects", None) or {})
        agent = super().load(path, env, custom_objects=objects, **attributes)
        if agent.env is not None:
            watch(agent.env, task.not_finite)  # the constructor that load calls knows the default only
        return agent

    def save(self, path: str | Path | io.BufferedIOBase, *args: Any, **kwargs: Any) -> None:
        """Write the agent to a file; see Stable-Baselines3's ``save``. The file says which agent wrote it."""
        self.saved_by = type(self).__name__
        super().save(path, *args, **kwargs)

    @classmethod
    def _check_owner(cls, path: str | Path | Any, saved: Mapping[str, Any]) -> None:
        """Hook of :meth:`load`: check whose file it is.

        :param path: the file, which messages name
        :param saved: the saved agent's attributes
        :raises ValueError: if it is an agent's that this one can't load
        """
        if saved.get("agent_name") != getattr(cls, "agent_name", None):
            owner = owner_of(saved)
            raise ValueError(f"{path} was saved by {owner}, not by {cls.__name__}; load it with {owner}.load")

    @classmethod
    def _attributes_to_load(
        cls, path: str | Path | Any, saved: dict[str, Any], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Hook of :meth:`load`: turn keyword arguments into attributes.

        :param path: the file, which messages name
        :param saved: the saved agent's attributes
        :param kwargs: given to ``load``, without those that say how environments are made
        :return: attributes that replace saved ones, and what else Stable-Baselines3's ``load`` takes
        :raises ValueError: if this agent can't change what is given
        """
        return kwargs

    def save_checkpoint(self, folder: str | Path, keep: int = 2) -> Path:
        """Write a checkpoint with replay buffer and random states into ``folder``; see :class:`CheckpointCallback`.

        :param folder: where checkpoints are
        :param keep: checkpoints that are kept, the last written ones
        """
        return save_checkpoint(self, folder, keep)

    @classmethod
    def load_checkpoint(
        cls: type[SelfSavedAgent], folder: str | Path, env: EnvLike | VecEnv | None = None, **kwargs: Any
    ) -> SelfSavedAgent:
        """Go on from the newest good checkpoint; bad ones are named in a warning.

        It holds pickled objects, so it can run code: load only your own.

        Continue with ``learn(more_decisions, reset_num_timesteps=False)``. Weights, optimizers, replay and random
        states of agent and process go on as they were. So do the environments of a world-model agent, with the next
        episode. Those of SAC have no state that could be saved: they get a new seed, made of the agent's and its
        decisions.

        :param folder: what was given to :class:`CheckpointCallback`, or one checkpoint
        :param env: needed where the agent was not made with an environment id
        :param kwargs: as for :meth:`load`
        :raises FileNotFoundError: if no checkpoint is good
        :raises ValueError: if another agent wrote it, and for keyword arguments that the agent does not have
        """
        checkpoint = newest_good_checkpoint(folder)
        check_agent(checkpoint, cls)
        if env is None:
            env = read_attributes(checkpoint / AGENT_FILE)["task"].env
        agent = cls.load(checkpoint / AGENT_FILE, env, **kwargs)
        if not agent.task.seeds_episodes:
            agent._reseed_env()
        restore_training_state(agent, checkpoint)
        return agent

    def _reseed_env(self) -> None:
        """Seed environments so that a resumed run meets other episodes than the run before it."""
        if self.env is not None and self.seed is not None:
            seeds = np.random.SeedSequence([self.seed, self.num_timesteps])
            self.env.seed(int(seeds.generate_state(1)[0]) // 2)


def check_known(agent: type, given: Iterable[str]) -> None:
    """Check the names of keyword arguments of ``load``.

    :param agent: the agent's class
    :param given: the names
    :raises UnknownNameError: (a ``ValueError``) for one that neither the agent nor Stable-Baselines3's ``load`` has
    """
    known = {*inspect.signature(OffPolicyAlgorithm.load).parameters, *parameters_of(agent)}
    known -= {"path", "env", "kwargs"}
    for name in given:
        if name not in known:
            raise UnknownNameError(f"option of {agent.__name__}", name, sorted(known))


def owner_of(saved: Mapping[str, Any]) -> str:
    """Name the class of the agent that saved a file; files of version 0.1 do not always say it.

    :param saved: the saved agent's attributes
    """
    if "saved_by" in saved:
        return str(saved["saved_by"])
    if "agent_name" in saved:
        return str(agents.get(saved["agent_name"]).__name__)
    return {"bmpc": "BMPC", "dreamer": "DreamerV3", "dreamer_gaussian": "DreamMPC"}.get(
        str(saved.get("backbone_name")), "TDMPC2"
    )


def _spaces_of_version_0_1(task: TrainingTask) -> dict[str, Any]:
    """Return an agent's own spaces, as attributes, where version 0.1 saved its normalized environment's.

    :param task: how its environments were made
    """
    if task.env is None:
        return {}
    try:
        suite, id = resolve(task.env)
        if suite.name in suites.builtin and suite.name != GYMNASIUM.name:
            return {}  # its environments are normalized themselves
        env = make_env(id, obs_type=task.obs_type, **task.env_kwargs)
    except Exception as error:  # environments may raise anything
        warnings.warn(
            f"{task.env} can't be made here ({error}), so that this agent of version 0.1 acts in [-1, 1]; pass env=",
            stacklevel=3,
        )
        return {}
    env.close()
    if not isinstance(env, NativeSpaces):
        return {}
    observed, acted = env.native_spaces
    return {"native_observation_space": observed, "action_space": acted}


def _same(space: gym.Space[Any] | None, other: gym.Space[Any]) -> bool:
    """Tell whether two spaces are one but for the precision of their numbers."""
    if isinstance(space, spaces.Box) and isinstance(other, spaces.Box) and space.dtype != np.uint8:
        with np.errstate(over="ignore"):
            one, two = (np.stack([box.low, box.high]).astype(np.float32) for box in (space, other))
        return one.shape == two.shape and bool(np.allclose(one, two))
    return space == other


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
