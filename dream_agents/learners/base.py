"""The contract between agents and what trains their world model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners import Planner
from dream_agents.replay import ExtraField, SequenceBatch, SequenceReplayBuffer

#: names of the fields in which a replay buffer holds the distribution that a planner drew each decision from
PLAN_MEAN, PLAN_STD = "plan_mean", "plan_std"


def plan_fields(action_dim: int) -> dict[str, ExtraField]:
    """What replay holds for a learner that imitates plans; N(0, 1) stands in for those of random decisions."""
    return {PLAN_MEAN: ExtraField(action_dim, 0.0), PLAN_STD: ExtraField(action_dim, 1.0)}


def imitates_planner(backbone: type[Backbone]) -> bool:
    """Whether a backbone's learner takes :func:`plan_fields` from replay; not if it doesn't say so."""
    return getattr(backbone, "imitates_planner", False)


def default_replay(backbone: type[Backbone]) -> type[SequenceReplayBuffer]:
    """The replay buffer that a backbone's learner draws from; sub-sequences of one episode if it doesn't say so."""
    return getattr(backbone, "replay_buffer_class", SequenceReplayBuffer)


def sequence_length(config: Any) -> int:
    """Steps of the sequences that a learner draws: its ``sequence_length``, or else its horizon."""
    return getattr(config, "sequence_length", config.horizon)


class Learner(ABC):
    """Losses, optimizers and targets of one world model."""

    #: steps in a sub-sequence that :meth:`update` takes
    horizon: int
    world_model: WorldModel
    optimizers: dict[str, torch.optim.Optimizer]

    @abstractmethod
    def update(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Do one update and return scalars for the log, without synchronising the device."""

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


class Backbone(Protocol):
    """A kind of world model together with its learner, under one name in the registry.

    One whose learner imitates plans says so by ``imitates_planner = True``; batches then hold :func:`plan_fields`.
    """

    #: dataclass of the learner's hyperparameters
    config_class: ClassVar[type]

    @staticmethod
    def build_world_model(
        obs_shape: tuple[int, ...],
        action_dim: int,
        model_size: Any,
        discount: float,
        episodic: bool,
        **kwargs: Any,
    ) -> WorldModel:
        """Make the networks."""
        ...

    @staticmethod
    def build_learner(
        world_model: WorldModel, config: Any, learning_rate: float, tau: float, generator: torch.Generator
    ) -> Learner:
        """Make the learner of a world model that is on its device already."""
        ...
