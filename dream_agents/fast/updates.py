"""Updates as CUDA graphs."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from dream_agents.fast.graphed import side_stream, waiting_is_an_error
from dream_agents.fast.weights import WeightsWatch
from dream_agents.models.base import WorldModel
from dream_agents.replay import SequenceBatch

#: updates one by one, on batches of the same kind, before a CUDA graph is captured
_UPDATES_BEFORE_CAPTURE = 3


class Learner(Protocol):
    """What is needed of :class:`dream_agents.learners.base.Learner`."""

    world_model: WorldModel
    optimizers: dict[str, torch.optim.Optimizer]
    generator: torch.Generator
    capturable: bool

    def update(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Do one update and return scalars for the log."""

    def pretrain(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Do one of the updates that make up for the random decisions."""


def kind_of(batch: SequenceBatch) -> tuple[Hashable, ...]:
    """What has to be equal for two batches to share a graph: which parts there are, their shapes and types."""
    return tuple((name, part.shape, part.dtype) for name, part in _parts(batch).items())


class FixedUpdate:
    """A learner's update on a batch whose tensors stay where they are, as a CUDA graph needs it.

    :param learner: what learns, on any device
    :param batch: of the kind that will come; its values don't matter
    :param method: "update" or "pretrain"
    """

    def __init__(self, learner: Learner, batch: SequenceBatch, method: str = "update"):
        self._learner, self._method = learner, method
        self._batch = _copied(batch)
        self._watch = WeightsWatch([learner.world_model])
        self._states = [optimizer.state for optimizer in learner.optimizers.values()]
        self._config = copy.copy(getattr(learner, "config", None))
        self._run: Callable[[], dict[str, Tensor]] = self.update

    def update(self) -> dict[str, Tensor]:
        """Update on what the fixed tensors hold."""
        metrics: dict[str, Tensor] = getattr(self._learner, self._method)(self._batch)
        return metrics

    def holds(self) -> bool:
        """Whether weights and optimizers are where they were, and hyperparameters what they were."""
        optimizers = self._learner.optimizers.values()
        return (
            self._watch.same_places()
            and all(
                optimizer.state is state for optimizer, state in zip(optimizers, self._states, strict=True)
            )  # loading makes others
            and getattr(self._learner, "config", None) == self._config
        )

    def __call__(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Update on ``batch``; metrics have to be read before the next update."""
        given = _parts(batch)
        for name, place in _parts(self._batch).items():
            place.copy_(given[name])
        return self._run()


class GraphedUpdate(FixedUpdate):
    """:class:`FixedUpdate` captured in a CUDA graph: an update of a small model is bound by launching its kernels.

    Capturing updates nothing.

    :param learner: what learns, on a CUDA device
    :param batch: of the kind that will come
    :param method: "update" or "pretrain"
    :raises RuntimeError: if the update waits for values on the GPU, which a graph can't
    """

    def __init__(self, learner: Learner, batch: SequenceBatch, method: str = "update"):
        super().__init__(learner, batch, method)
        for optimizer in learner.optimizers.values():
            optimizer.zero_grad(set_to_none=True)  # gradients then lie in the graph's own memory
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(learner.generator)  # draws go on from its state in each replay
        with torch.cuda.graph(self._graph):
            self._metrics = self.update()
        self._run = self._replay

    def _replay(self) -> dict[str, Tensor]:
        self._graph.replay()
        return self._metrics


class FastUpdates:
    """A learner's updates, on a CUDA device as graphs once batches of a kind have come a few times.

    :param learner: what learns
    """

    def __init__(self, learner: Learner):
        self.learner = learner
        self._graphs: dict[Hashable, GraphedUpdate] = {}
        self._count: Counter[Hashable] = Counter()
        self._refused = not learner.capturable

    def update(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Do one update, and return metrics, which have to be read before the next."""
        return self._do("update", batch)

    def pretrain(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Do one of the updates that make up for the random decisions, and return metrics like :meth:`update`."""
        return self._do("pretrain", batch)

    def _do(self, method: str, batch: SequenceBatch) -> dict[str, Tensor]:
        plain: Callable[[SequenceBatch], dict[str, Tensor]] = getattr(self.learner, method)
        if self._refused or not batch.rewards.is_cuda:
            return plain(batch)
        kind = (method, *kind_of(batch))
        graph = self._graphs.get(kind)
        if graph is not None and graph.holds():
            return graph(batch)
        self._graphs.pop(kind, None)
        self._count[kind] += 1
        try:
            if self._count[kind] <= _UPDATES_BEFORE_CAPTURE:
                last = self._count[kind] == _UPDATES_BEFORE_CAPTURE
                with side_stream(batch.rewards.device), waiting_is_an_error() if last else nullcontext():
                    return plain(batch)
            del self._count[kind]
            graph = self._graphs[kind] = GraphedUpdate(self.learner, batch, method)
        except RuntimeError as error:
            self._refused = True
            reason = str(error).splitlines()[0]
            warnings.warn(f"updates are done without a CUDA graph ({reason})", stacklevel=5)
            return plain(batch)
        return graph(batch)


def _parts(batch: SequenceBatch) -> dict[str, Tensor]:
    """The tensors that an update reads, by name."""
    parts = {name: getattr(batch, name) for name in ("observations", "actions", "rewards", "terminated")}
    if batch.mask is not None:
        parts["mask"] = batch.mask
    return parts | {f"extra/{name}": value for name, value in (batch.extra or {}).items()}


def _copied(batch: SequenceBatch) -> SequenceBatch:
    extra = None if batch.extra is None else {name: value.clone() for name, value in batch.extra.items()}
    return SequenceBatch(
        batch.observations.clone(),
        batch.actions.clone(),
        batch.rewards.clone(),
        batch.terminated.clone(),
        extra,
        mask=None if batch.mask is None else batch.mask.clone(),
    )
