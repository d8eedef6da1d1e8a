"""Draws that take every finished episode equally often, however long it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class EpisodeStarts(NamedTuple):
    """Start points of ``E`` episodes, one episode after the other."""

    #: slot and environment of each start point, ``[S]``
    slots: np.ndarray
    envs: np.ndarray
    #: number of each episode, ``[E]``
    ids: np.ndarray
    #: where each episode's start points begin, and how many they are, ``[E]``
    first: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, slots: np.ndarray, envs: np.ndarray, episode_ids: np.ndarray) -> EpisodeStarts:
        """Group start points by their episodes.

        :param slots: slots of the start points ``[S]``
        :param envs: their environments ``[S]``
        :param episode_ids: numbers of their episodes ``[S]``, unique over environments
        """
        order = np.argsort(episode_ids, kind="stable")
        ids, first, counts = np.unique(episode_ids[order], return_index=True, return_counts=True)
        return cls(slots[order], envs[order], ids, first, counts)

    def draw(
        self,
        batch_size: int,
        rng: np.random.Generator,
        still_there: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Draw an episode uniformly, then one of its start points.

        Start points that were overwritten since they were grouped are left out. An episode of which some are left
        is drawn as often as any other.

        :param batch_size: number of draws ``B``
        :param rng: draws
        :param still_there: tells of slots, environments and episodes whether the start points are still stored
        :return: slots and environments ``[B]``; None if no start point is left
        """
        alive = np.arange(len(self.ids))
        chosen = np.zeros(batch_size, np.int64)  # places in ``slots``
        missing = np.arange(batch_size)
        while len(missing) > 0 and len(alive) > 0:
            episodes = rng.choice(alive, len(missing))
            chosen[missing] = self.first[episodes] + rng.integers(self.counts[episodes])
            places = chosen[missing]
            gone = ~still_there(self.slots[places], self.envs[places], self.ids[episodes])
            unfilled = np.zeros(len(missing), bool)
            for episode in np.unique(episodes[gone]):  # only the oldest of each environment
                here = gone & (episodes == episode)
                own = self.first[episode] + np.arange(self.counts[episode])
                left = own[still_there(self.slots[own], self.envs[own], np.full(len(own), self.ids[episode]))]
                if len(left) > 0:
                    chosen[missing[here]] = rng.choice(left, here.sum())
                else:
                    unfilled |= here
                    alive = alive[alive != episode]
            missing = missing[unfilled]
        return None if len(missing) > 0 else (self.slots[chosen], self.envs[chosen])
