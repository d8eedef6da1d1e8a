"""When a world-model agent does its updates, and what others may do between them."""

from __future__ import annotations

import copy
import time
import warnings
from abc import abstractmethod
from typing import Any

import torch
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from torch import Tensor

from dream_agents.agents.interrupts import whole
from dream_agents.agents.world_model_saving import SavedWorldModelAgent
from dream_agents.annex import make_updates
from dream_agents.learners.base import Backbone, Learner, get_backbone
from dream_agents.models.base import WorldModel
from dream_agents.planners import Planner
from dream_agents.replay import SequenceReplayBuffer

#: learning in fewer decisions is not timed ahead
_LONG = 1000
#: sub-sequences of an update that is tried to time it, before all are
_FEW = 16


class UpdatingAgent(SavedWorldModelAgent):
    """The part of :class:`WorldModelAgent` that updates.

    The updates that make up for the random decisions come at once, which may take long. Before each of them callbacks
    are called by ``on_rollout_start``, as between decisions later; one whose ``_on_rollout_start`` returns False ends
    ``learn`` there. So does Ctrl-C, between two updates. Those that are left are done when learning goes on, also from
    a checkpoint.
    """

    replay_buffer: SequenceReplayBuffer | None
    backbone_name: str
    learner_config: Any
    model_size: Any
    _seed_phase_done: bool = False
    #: updates to come that make up for random decisions, and others
    _seed_updates_left: int = 0
    _updates_left: int = 0
    _replay_ready: bool = False
    _warned_of_no_update: bool = False
    #: what updates: the learner, or what makes it faster
    _updates: Any = None

    @property
    @abstractmethod
    def backbone(self) -> type[Backbone]:
        """What made the world model, and makes its learner."""

    @property
    @abstractmethod
    def learner(self) -> Learner:
        """What learns the model."""

    @property
    @abstractmethod
    def world_model(self) -> WorldModel:
        """The learned model."""

    @property
    @abstractmethod
    def expert(self) -> Planner:
        """The planner whose plans a policy imitates, where it does."""

    @abstractmethod
    def _time_plan(self) -> float:
        """Seconds of a decision, tried without any effect."""

    @property
    def updates_left(self) -> int:
        """Updates that are due before the next decision."""
        return self._seed_updates_left + self._updates_left

    def _do_updates_left(self) -> None:
        if self._is_ready():
            self._update(self.batch_size)

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Do ``gradient_steps`` updates; the first call makes up for the random decisions before it, too."""
        if not self._is_ready():
            self._say_that_nothing_is_learned()
            return
        with whole():
            if not self._seed_phase_done:
                self._seed_phase_done = True
                self._seed_updates_left = self._updates_for(int(self.learning_starts))
            self._updates_left += gradient_steps
        self._update(batch_size)

    def _is_ready(self) -> bool:
        """Whether there is something to learn from."""
        assert self.replay_buffer is not None
        self._replay_ready = self._replay_ready or self.replay_buffer.can_sample()
        return self._replay_ready

    def _say_that_nothing_is_learned(self) -> None:
        if not self._warned_of_no_update:
            self._warned_of_no_update = True
            assert self.replay_buffer is not None
            warnings.warn(
                f"{type(self).__name__} can't learn yet: {self.replay_buffer.why_empty()}. There is no update until it "
                "does. After load(), load_replay_buffer() brings back the old one; if episodes of this task are all "
                "shorter, use shorter sequences (learner_kwargs)",
                stacklevel=2,
            )

    def _update(self, batch_size: int) -> None:
        """Do the updates that are left, or those until a callback stops learning, and log their means."""
        self.learner.set_learning_rate(self.lr_schedule(self._current_progress_remaining))
        self._collected_at = None  # each update is timed here
        began, count, metrics = time.perf_counter(), self.updates_left, {}
        while self._seed_updates_left > 0 and not self._is_stopped_between_updates(
            count - self.updates_left, count
        ):
            with whole():
                metrics = self._timed_update(batch_size, pretrain=True)
                self._seed_updates_left -= 1
        while self._updates_left > 0 and not self._is_stopped:
            with whole():
                metrics = self._timed_update(batch_size, pretrain=False)
                self._updates_left -= 1
        if not metrics:
            return
        for name, value in metrics.items():
            self.logger.record_mean(name, value.item())
        self.logger.record_mean(
            "time/ms_per_update", 1e3 * (time.perf_counter() - began) / (count - self.updates_left)
        )
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/learning_rate", self.lr_schedule(self._current_progress_remaining))

    def _timed_update(self, batch_size: int, pretrain: bool) -> dict[str, Tensor]:
        assert self.replay_buffer is not None
        began = time.perf_counter()
        batch = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
        if self._updates is None:
            self._updates = make_updates(self.learner)
        if pretrain:
            metrics = self._updates.pretrain(batch)
        else:
            metrics = self._updates.update(self.learner.refresh(batch, self.expert, self.replay_buffer))
        self._n_updates += 1
        self._updates_took(time.perf_counter() - began, 1)
        return metrics

    def _updates_for(self, decisions: int) -> int:
        """Updates that so many decisions bring at the ratio of ``gradient_steps`` and ``train_freq``."""
        assert isinstance(self.train_freq, TrainFreq)
        if self.gradient_steps < 0 or self.train_freq.unit != TrainFrequencyUnit.STEP:
            return decisions
        return round(decisions * self.gradient_steps / (self.train_freq.frequency * self.n_envs))

    def _left(self) -> tuple[int, int, int]:
        """Random decisions, decisions by the agent and updates that are left of this ``learn``."""
        random, planned, _ = super()._left()
        later = self._updates_for(planned)
        if not self._seed_phase_done and planned > 0:
            later += self._updates_for(int(self.learning_starts))
        return random, planned, self.updates_left + later

    # ------------------------------------------------- how long it will take

    def _try_pace(self) -> None:
        """Time a decision and an update ahead, where many are to come."""
        assert self._pace is not None and self.replay_buffer is not None
        _, planned, updates = self._left()
        if planned < _LONG or not self.replay_buffer.can_sample():
            return
        if 1 in self._pace.needs():
            self._pace.took(1, self._time_plan() + self._random_seconds(), self.n_envs)
        if 2 in self._pace.needs() and updates > 0:
            self._pace.took(2, self._time_update(), 1)

    def _random_seconds(self) -> float:
        assert self._pace is not None
        seen = self._pace.seconds[0]
        return self.n_envs * sum(seen) / max(1, len(seen))

    def _time_update(self) -> float:
        """Seconds of an update, tried on a copy of the model; nothing of the agent or of its random streams changes."""
        assert self.replay_buffer is not None
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            learner = get_backbone(self.backbone_name).build_learner(
                copy.deepcopy(self.world_model),
                self.learner_config,
                self.lr_schedule(1.0),
                self.tau,
                torch.Generator(self.device),
            )
            few = min(_FEW, self.batch_size)
            seconds = self._time_one(learner, few) * self.batch_size / few
            if seconds < 1:  # neither long nor proportional
                seconds = self._time_one(learner, self.batch_size)
        return seconds

    def _time_one(self, learner: Learner, batch_size: int) -> float:
        assert self.replay_buffer is not None
        batch = self.replay_buffer.sample_aside(batch_size, env=self._vec_normalize_env)
        began = time.perf_counter()
        metrics = learner.pretrain(batch)
        for value in metrics.values():
            value.item()  # waits for the device
        return time.perf_counter() - began

    def _advice(self) -> str:
        smaller = (
            f"a smaller model_size than {self.model_size!r}, " if isinstance(self.model_size, str) else ""
        )
        return (
            f'set {smaller}device="cuda", training_planner="policy", fewer decisions, or fewer updates '
            "(train_freq=2, gradient_steps=1)"
        )
