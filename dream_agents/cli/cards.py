"""``dream-agents eval --update-card``: results go into the models' cards."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dream_agents.cli.console import say

if TYPE_CHECKING:
    from dream_agents.evaluation import EvaluationResult, EvaluationSettings


def check_cards(sources: Sequence[str], env: str | None, settings: EvaluationSettings) -> None:
    """Check that every model has a card that can be written, and that it can say how the results came about.

    :param sources: what the user calls the models
    :param env: the environment of the results; None for each model's own
    :param settings: how they are evaluated
    :raises ValueError: if it can't
    :raises PermissionError: if its folder can't be written to
    """
    if settings.env_kwargs or not settings.deterministic:
        given = "--set env_kwargs" if settings.env_kwargs else "--stochastic"
        raise ValueError(f"{given}: a card has no place to say that; leave it or --update-card out")
    for source in sources:
        card_folder(source, env)


def card_folder(source: str, env: str | None = None) -> Path:
    """Find the folder whose card takes a model's results.

    :param source: what the user calls the model
    :param env: the environment of the results; None for the model's own
    :raises ValueError: if there is no card, or it is of another environment
    :raises PermissionError: if its folder can't be written to
    """
    from dream_agents.runs import is_entry
    from dream_agents.wrappers import resolve
    from dream_agents.zoo.catalog import find
    from dream_agents.zoo.sources import is_address

    if not is_entry(source):
        raise ValueError(
            f"--update-card: {source} has no card; make it an entry of the zoo first: dream-agents zoo export "
            f"{shlex.quote(source)} FOLDER"
        )
    entry = find(source)
    if entry.folder is None or is_address(source):
        raise ValueError(
            f"--update-card: the card of {source} is not a file of yours; make a copy: dream-agents zoo export "
            f"{shlex.quote(source)} FOLDER"
        )
    if env is not None and resolve(env)[1] != entry.card.environment:
        raise ValueError(f"--update-card: the card of {source} is about {entry.card.environment}, not {env}")
    if not os.access(entry.folder, os.W_OK):
        raise PermissionError(
            f"--update-card: nothing can be written to {entry.folder}, where the card of {source} is; make a copy of "
            f"that folder and name it instead of {source}"
        )
    return entry.folder


def update_cards(results: Sequence[EvaluationResult]) -> None:
    """Write results into their models' cards, in place of older results of the same planners.

    :param results: what the models reached
    """
    from dream_agents import zoo

    for source in dict.fromkeys(result.model for result in results):
        folder, measured = card_folder(source), []
        for result in results:
            if result.model != source:
                continue
            one = zoo.Result.from_evaluation(result)
            measured.append(one)
            if result.success_rate is not None:
                rate = result.success_rate
                spread = (rate * (1 - rate)) ** 0.5
                measured.append(dataclasses.replace(one, mean=rate, std=spread, measure="success"))
        zoo.record_results(folder, measured)
        say(f"results are in the model card in {folder}")
