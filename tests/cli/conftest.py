from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import pytest
from typer.testing import CliRunner, Result

from dream_agents.cli import app
from dream_agents.models.tdmpc import TDMPC_SIZES, TDMPCSize

SHORT_PENDULUM = "tests/CliPendulum-v0"
QUICK = [
    "--model-size",
    "tiny",
    "--planner",
    "policy",
    "--set",
    "backbone=tdmpc2",
    "--set",
    "learning_starts=24",
    "--set",
    "batch_size=4",
]

Command = Callable[..., Result]


def run(*arguments: object) -> Result:
    """Run the command as a user would; what it raises by mistake is raised here."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="package", autouse=True)
def quick_training() -> Iterator[None]:
    """Episodes of 12 decisions, and networks of a few hundred weights."""
    gym.register(SHORT_PENDULUM, "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=12)
    TDMPC_SIZES["tiny"] = TDMPCSize(16, 16, 16, 2, 2)
    yield
    del gym.registry[SHORT_PENDULUM], TDMPC_SIZES["tiny"]


@pytest.fixture(scope="session")
def dream_agents_command() -> Command:
    return run


@pytest.fixture(scope="session")
def pendulum() -> str:
    return SHORT_PENDULUM


@pytest.fixture(scope="session")
def train() -> Command:
    """Train quickly; further arguments are the user's."""

    def train(folder: Path, *arguments: object, decisions: int = 60) -> Result:
        return run("train", SHORT_PENDULUM, *QUICK, "--decisions", decisions, "--out", folder, *arguments)

    return train


@pytest.fixture
def forbid_measuring(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let `eval` fail from here on once it measures anything."""

    def forbid() -> None:
        compare = "dream_agents.evaluation.model_comparison.compare"
        monkeypatch.setattr(compare, lambda *_, **__: pytest.fail("it was measured"))

    return forbid


@pytest.fixture(scope="package")
def trained(quick_training: None, train: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, which no test may change."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    result = train(folder, "--eval-every", 24, "--eval-episodes", 2, "--checkpoint-every", 24)
    assert result.exit_code == 0, result.output
    return folder
