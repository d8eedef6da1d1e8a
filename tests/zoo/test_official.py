"""The checkpoints that TD-MPC2's authors published are listed with what is known of them."""

import csv
from pathlib import Path

import pytest

from dream_agents import zoo
from dream_agents.agents.task import discount_from_episode_length
from dream_agents.models.tdmpc import TDMPC_SIZES
from dream_agents.registry import UnknownNameError
from dream_agents.wrappers import describe
from dream_agents.zoo import ZooError, official
from dream_agents.zoo.weights import make_size


def test_every_task_with_an_environment_is_listed() -> None:
    names = [name for name in zoo.names() if name.startswith("tdmpc2-official/")]
    assert len(names) == 257 == 3 * (39 + 50) - 10
    assert len({zoo.card(name).environment for name in names}) == 39 + 50
    assert not set(names) & set(zoo.names(offline=True))


def test_tasks_are_those_of_the_published_curves(shared: Path) -> None:
    with (shared / "reference" / "curves" / "tdmpc2.csv").open() as file:
        published = {row["task"] for row in csv.DictReader(file)}
    ours = {entry.task for entry in official.entries().values()}
    assert ours == {task for task in published if not task.startswith(("myo", "ms-"))}


@pytest.mark.parametrize(
    ("name", "environment", "path"),
    [
        ("walker-walk-1", "dmc_walker-walk-v0", "dmcontrol/walker-walk-1.pt"),
        ("cup-catch-3", "dmc_ball_in_cup-catch-v0", "dmcontrol/cup-catch-3.pt"),
        ("walker-walk-backwards-2", "dmc_walker-walk_backwards-v0", "dmcontrol/walker-walk-backwards-2.pt"),
        ("mw-assembly-1", "metaworld_assembly-v3", "metaworld/mw-assembly-1.pt"),
    ],
)
def test_card_tells_environment_and_file(name: str, environment: str, path: str) -> None:
    card = zoo.card(f"tdmpc2-official/{name}")
    assert card.environment == environment
    assert card.source == f"hf://nicklashansen/tdmpc2@main/{path}"
    assert (card.license, card.format, card.planner, card.sha256) == ("MIT", "tdmpc2", "dream", None)
    assert str(card.seed) == name[-1]
    assert (card.decisions, card.frames, card.results) == (None, None, ())


def test_cards_fit_their_environments() -> None:
    for entry in official.entries().values():
        card, environment = zoo.card(entry.name), describe(entry.environment)
        network = card.network
        assert (network.obs_shape, network.action_dim) == (
            (environment.observation_size,),
            environment.action_size,
        )
        assert network.discount == pytest.approx(discount_from_episode_length(environment.max_episode_steps))
        assert network.episodic == environment.episodic
        assert make_size("tdmpc2", network.model_size) == TDMPC_SIZES["5M"]


def test_what_was_never_downloaded_says_so() -> None:
    with pytest.raises(
        ZooError, match=r"walker-walk-1\.pt was never downloaded here; dream_agents\.zoo\.download"
    ):
        zoo.verify("tdmpc2-official/walker-walk-1")


def test_environment_without_an_entry_here_names_the_published_ones(embedded: Path) -> None:
    with pytest.raises(
        UnknownNameError, match="published tdmpc2-official/dog-run-1, tdmpc2-official/dog-run-2"
    ):
        zoo.load("dmc_dog-run-v0")
