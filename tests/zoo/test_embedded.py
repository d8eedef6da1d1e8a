"""The entries that come with the package are whole, small and tell where they come from."""

import pytest

from dream_agents import zoo
from dream_agents.wrappers import describe
from dream_agents.zoo.catalog import embedded_names


def test_entries_come_with_the_package() -> None:
    assert len(embedded_names()) >= 13
    walkers = [name for name in embedded_names() if "walker" in name]
    assert zoo.__doc__ is not None and repr(walkers) in zoo.__doc__


@pytest.mark.parametrize("name", embedded_names())
def test_embedded_entry_is_whole(name: str) -> None:
    card = zoo.verify(name)
    assert card.source == "embedded"
    assert card.size < 4_000_000
    environment = describe(card.environment)
    assert card.environment == environment.id
    assert card.network.obs_shape == (environment.observation_size,)
    assert card.network.action_dim == environment.action_size
    assert card.frames == card.decisions * environment.action_repeat


@pytest.mark.parametrize("name", embedded_names())
def test_embedded_entry_tells_where_it_comes_from(name: str) -> None:
    card = zoo.card(name)
    assert card.license == "MIT"
    assert card.authors
    assert card.command
    assert card.seed is not None
    assert card.decisions > 0
    assert {"dream-agents", "torch", "mujoco"} <= card.versions.keys()
    assert card.planner in {result.planner for result in card.results}
