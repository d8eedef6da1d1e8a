from collections.abc import Iterator

import pytest

from dream_agents import make_env, zoo
from dream_agents.watch import Session


@pytest.fixture(scope="session")
def walker():
    """A trained model of walker-walk."""
    return zoo.load("dream_mpc-walker-walk")


@pytest.fixture
def session(walker) -> Iterator[Session]:
    made = Session(walker, lambda: make_env("dmc_walker-walk-v0"), seed=3)
    yield made
    made.close()


@pytest.fixture
def dream_agents_watch():
    """Run `dream-agents watch` as a user would."""
    from typer.testing import CliRunner

    from dream_agents.cli import app

    return lambda *arguments: CliRunner().invoke(app, ["watch", *arguments])
