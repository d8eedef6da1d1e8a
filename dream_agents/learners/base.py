"""The contract between agents and what trains their world model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.models.packing import ObsShape
from dream_agents.planners import Planner
from dream_agents.registry import backbones
from dream_agents.replay import ExtraField, SequenceBatch, SequenceReplayBuffer

#: names of the fields in which a replay buffer holds the distribution that a planner drew each decision from
PLAN_MEAN, PLAN_STD = "plan_mean", "plan_std"


def plan_fields(action_dim: int) -> dict[str, ExtraField]:
    """What replay holds for a learner that imitates plans; N(0, 1) stands in for plans of random decisions."""
    return {PLAN_MEAN: ExtraField(action_dim, 0.0), PLAN_STD: ExtraField(action_dim, 1.0)}


def mean_of_happened(values: Tensor, mask: Tensor | None, each_step: bool = False) -> Tensor:
    """Mean of ``values [T, B, ...]``, or means ``[T]`` of each step, over what happened; 0 where nothing did.

    :param mask: 1 where a step happened, ``[T, B]``; None where all did
    """
    dims = tuple(range(1 if each_step else 0, values.dim()))
    if mask is None:
        return values.mean(dims)
    mask = mask.view(*mask.shape, *[1] * (values.dim() - 2)).expand_as(values)
    return (values * mask).sum(dims) / mask.sum(dims).clamp(min=1)


class Learner(ABC):
    """Losses, optimizers and targets of one world model."""

    #: steps in a sub-sequence that :meth:`update` takes
    horizon: int
    world_model: WorldModel
    optimizers: dict[str, torch.optim.Optimizer]
    generator: torch.Generator
    #: whether :meth:`update` can be captured in a CUDA graph: nothing in it waits for the device, it draws from
    #: ``self.generator`` or the device's global one, and optimizers are ``capturable``, with learning rates that are
    #: tensors
    capturable: ClassVar[bool] = False

    @abstractmethod
    def update(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Do one update and return scalars for the log, without synchronising the device.

        Only where the backbone says that it ``takes_short_episodes`` can a batch have a mask.
        """

    def pretrain(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Do one of the updates that make up for the random decisions; by default as any other."""
        return self.update(batch)

    def refresh(
        self, batch: SequenceBatch, planner: Planner, replay_buffer: SequenceReplayBuffer
    ) -> SequenceBatch:
        """Bring plans in ``batch`` and replay up to date, before :meth:`update`; by default there are none.

        :param planner: whose plans are imitated
        :param replay_buffer: where the batch was drawn
        """
        return batch

    @abstractmethod
    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of every optimizer; networks with a rate of their own keep their ratio."""

    def state_dict(self) -> dict[str, Any]:
        """Optimizers and running statistics; networks are the world model's own."""
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Take back what :meth:`state_dict` gave; ``strict`` is there for Stable-Baselines3 and has no effect."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])


@dataclass
class LearnerConfig:
    """Hyperparameters of a learner that has no others.

    :param horizon: H, steps of the sub-sequences that it draws
    """

    horizon: int = 3


class Backbone(ABC):
    """A kind of world model together with its learner, under one name in the registry.

    A subclass has to say how both are made; every other hook has a default. Backbones are used as classes, nobody makes
    an instance.
    """

    #: dataclass of the learner's hyperparameters, what ``learner_kwargs`` are the fields of
    config_class: ClassVar[type] = LearnerConfig
    #: dataclass of the networks' sizes, whole numbers that the zoo writes into a card. A world model has its own as
    #: ``size``, and ``model_size`` takes one. None for models that the zoo does not store.
    size_class: ClassVar[type | None] = None
    #: whether the learner imitates plans; batches then hold :func:`plan_fields`
    imitates_planner: ClassVar[bool] = False
    #: whether the learner heeds a batch's ``mask``, so that it can learn from episodes shorter than its sequences
    takes_short_episodes: ClassVar[bool] = False
    #: whether the world model takes images and numbers by key, packed by
    #: :class:`~dream_agents.models.packing.Packing`; otherwise dictionaries are vectors
    encodes_by_key: ClassVar[bool] = False
    #: where the learner draws its batches from
    replay_buffer_class: ClassVar[type[SequenceReplayBuffer]] = SequenceReplayBuffer
    #: keyword arguments that an agent takes where its user gives none, e.g. ``{"batch_size": 16}``. Planners have hooks
    #: of their own.
    agent_defaults: ClassVar[Mapping[str, Any]] = {}
    #: options of the networks that an agent takes where its ``model_kwargs`` leave them open. Its files name them, so
    #: that they load after the default has changed.
    model_defaults: ClassVar[Mapping[str, Any]] = {}
    #: frames in an observation of ``obs_type="pixels"``
    frame_stack: ClassVar[int] = 3
    #: name of the planner that acts while ``DreamMPC`` learns; None for the planner of ``predict``
    default_training_planner: ClassVar[str | None] = None

    @staticmethod
    @abstractmethod
    def build_world_model(
        obs_shape: ObsShape,
        action_dim: int,
        model_size: Any,
        discount: float,
        episodic: bool,
        **kwargs: Any,
    ) -> WorldModel:
        """Make the networks.

        :param obs_shape: shape of an observation, a vector's or an image's; by key where it has both, which
            :class:`~dream_agents.models.packing.Packing` packs as bytes
        :param action_dim: number of action dimensions
        :param model_size: one of the backbone's sizes, by name or as its :attr:`size_class`
        :param discount: discount factor of the predicted returns
        :param episodic: whether the task can end before its time limit
        :param kwargs: further options of the networks, the agent's ``model_kwargs``
        """

    @classmethod
    def complete_model_kwargs(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the networks of a file, with what files of earlier versions leave out.

        :param saved: the options that a saved agent or a card of the zoo names
        :raises ValueError: for networks that this version does not have, saying what to do
        """
        return dict(saved)

    @staticmethod
    @abstractmethod
    def build_learner(
        world_model: WorldModel, config: Any, learning_rate: float, tau: float, generator: torch.Generator
    ) -> Learner:
        """Make the learner of a world model that is on its device already.

        :param world_model: what :meth:`build_world_model` made
        :param config: a :attr:`config_class`
        :param learning_rate: of the first update
        :param tau: rate at which target values follow
        :param generator: source of the learner's randomness, on the model's device
        """

    @staticmethod
    def sequence_length(config: Any) -> int:
        """Steps of the sequences that the learner draws; its horizon by default.

        :param config: a :attr:`config_class`
        """
        return int(config.horizon)

    @staticmethod
    def planner_options(planner: str, obs_type: str) -> dict[str, Any]:
        """Options of a planner that was asked for by name, where they differ on this world model from its defaults.

        The user's own options stand above them. By default there are none.

        :param planner: name in ``registry.planners``
        :param obs_type: what the agent observes, "state", "pixels" or "pixels+state"
        :raises ValueError: for a planner that has nothing to plan with in this world model
        """
        return {}


def get_backbone(name: str) -> type[Backbone]:
    """Look up a backbone.

    :param name: name in ``registry.backbones``
    :raises UnknownNameError: (a ``ValueError``) if nothing has that name
    :raises TypeError: for a class that is no :class:`Backbone`, or one that does not say how its parts are made
    """
    found = backbones.get(name)
    if not (isinstance(found, type) and issubclass(found, Backbone)):
        raise TypeError(
            f'the backbone "{name}" is {found!r}, which has to be a subclass of dream_agents.learners.base.Backbone'
        )
    if found.__abstractmethods__:
        missing = " and ".join(sorted(found.__abstractmethods__))
        raise TypeError(f'the backbone "{name}" ({found.__name__}) has to define {missing}')
    return found


def planner_kwargs(
    backbone: type[Backbone], obs_type: str, planner: str | Planner | None, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Options to make a planner with: what the backbone wants for its name, and above that what the user gives.

    :param obs_type: what the agent observes
    :param planner: a name; a planner that is made already, and none at all, has only the options given
    :param given: the user's options
    """
    wanted = backbone.planner_options(planner, obs_type) if isinstance(planner, str) else {}
    return {**wanted, **(given or {})}
