"""Updates as CUDA graphs."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from dream_agents.fast.graphed import side_stream, waiting_is_an_error
from dream_agents.fast.weights import WeightsWatch
from dream_agents.models.base import WorldModel
from dream_agents.replay import SequenceBatch
from dream_agents.replay.stream import StreamBatch

Batch = SequenceBatch | StreamBatch

#: updates one by one, on batches of the same kind, before a CUDA graph is captured
_UPDATES_BEFORE_CAPTURE = 3


class Learner(Protocol):
    """What is needed of :class:`dream_agents.learners.base.Learner`."""

    world_model: WorldModel
    optimizers: dict[str, torch.optim.Optimizer]
    generator: torch.Generator
    capturable: bool

    def update(self, batch: Any) -> dict[str, Tensor]:
        """Do one update and return scalars for the log."""

    def pretrain(self, batch: Any) -> dict[str, Tensor]:
        """Do one of the updates that make up for the random decisions."""


def kind_of(batch: Batch) -> tuple[Hashable, ...]:
    """What has to be equal for two batches to share a graph: which parts there are, their shapes and types."""
    return tuple((name, part.shape, part.dtype) for name, part in _parts(batch).items())


class FixedUpdate:
    """A learner's update on a batch whose tensors stay where they are, as a CUDA graph needs it.

    :param learner: what learns, on any device
    :param batch: of the kind that will come; its values don't matter
    :param method: "update" or "pretrain"
    """

    def __init__(self, learner: Learner, batch: Batch, method: str = "update"):
        self._learner, self._method = learner, method
        self._batch = _copied(batch, self._keep)
        self._latents: Tensor | None = None
        self._watch = WeightsWatch([learner.world_model])
        self._states = [optimizer.state for optimizer in learner.optimizers.values()]
        self._config = copy.copy(getattr(learner, "config", None))
        self._run: Callable[[], dict[str, Tensor]] = self.update

    def update(self) -> dict[str, Tensor]:
        """Update on what the fixed tensors hold."""
        metrics: dict[str, Tensor] = getattr(self._learner, self._method)(self._batch)
        return metrics

    def _keep(self, latents: Tensor) -> None:
        """Stand in for a batch's ``remember``, which waits for the device."""
        self._latents = latents

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

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Update on ``batch``; metrics have to be read before the next update."""
        given = _parts(batch)
        for name, place in _parts(self._batch).items():
            place.copy_(given[name])
        metrics = self._run()
        if isinstance(batch, StreamBatch) and self._latents is not None:
            batch.remember(self._latents)
        return metrics


class GraphedUpdate(FixedUpdate):
    """:class:`FixedUpdate` captured in a CUDA graph: an update of a small model is bound by launching its kernels.

    Capturing updates nothing.

    :param learner: what learns, on a CUDA device
    :param batch: of the kind that will come
    :param method: "update" or "pretrain"
    :raises RuntimeError: if the update waits for values on the GPU, which a graph can't
    """

    def __init__(self, learner: Learner, batch: Batch, method: str = "update"):
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

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Do one update, and return metrics, which have to be read before the next."""
        return self._do("update", batch)

    def pretrain(self, batch: Batch) -> dict[str, Tensor]:
        """Do one of the updates that make up for the random decisions, and return metrics like :meth:`update`."""
        return self._do("pretrain", batch)

    def _do(self, method: str, batch: Batch) -> dict[str, Tensor]:
        plain: Callable[[Batch], dict[str, Tensor]] = getattr(self.learner, method)
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
                with (
                    _remembering_later(batch) as now,
                    side_stream(batch.rewards.device),
                    waiting_is_an_error() if last else nullcontext(),
                ):
                    return plain(now)
            del self._count[kind]
            graph = self._graphs[kind] = GraphedUpdate(self.learner, batch, method)
        except RuntimeError as error:
            self._refused = True
            reason = str(error).splitlines()[0]
            warnings.warn(f"updates are done without a CUDA graph ({reason})", stacklevel=5)
            return plain(batch)
        return graph(batch)


def _parts(batch: Batch) -> dict[str, Tensor]:
    """The tensors that an update reads, by name."""
    parts = {name: part for name, part in batch._asdict().items() if isinstance(part, Tensor)}
    extra = batch.extra if isinstance(batch, SequenceBatch) else None
    return parts | {f"extra/{name}": value for name, value in (extra or {}).items()}


def _copied(batch: Batch, remember: Callable[[Tensor], None]) -> Batch:
    """The batch in tensors of its own; it leaves latents to ``remember``."""
    copies: dict[str, Any] = {
        name: part.clone() for name, part in batch._asdict().items() if isinstance(part, Tensor)
    }
    if isinstance(batch, StreamBatch):
        return batch._replace(**copies, remember=remember)
    extra = None if batch.extra is None else {name: value.clone() for name, value in batch.extra.items()}
    return batch._replace(**copies, extra=extra, stored=None)


@contextmanager
def _remembering_later(batch: Batch) -> Iterator[Batch]:
    """The batch, which remembers latents after the block: they have to be waited for."""
    if not isinstance(batch, StreamBatch):
        yield batch
        return
    kept: list[Tensor] = []
    yield batch._replace(remember=kept.append)
    for latents in kept:
        batch.remember(latents)
