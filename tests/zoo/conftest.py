import tarfile
from pathlib import Path

import pytest
import torch

from dream_agents import TDMPC2, zoo
from dream_agents.agents.base import WorldModelAgent
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.zoo import catalog

SIZE = TDMPCSize(16, 16, 16, 2, 2)
PLANNER_KWARGS = {"samples": 16, "policy_samples": 4, "elites": 4, "iterations": 2}
RESULT = {
    "planner": "mppi",
    "mean": -150.5,
    "std": 20.0,
    "episodes": 10,
    "seed": 1,
    "ms_per_decision": 4.2,
    "device": "a processor",
}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache in place of the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DREAM_AGENTS_CACHE", str(folder))
    return folder


@pytest.fixture
def model() -> WorldModelAgent:
    """A tiny agent whose every weight is random, target networks included."""
    agent = TDMPC2(
        "Pendulum-v1", model_size=SIZE, planner_kwargs=PLANNER_KWARGS, seed=3, device="cpu", buffer_size=1000
    )
    with torch.no_grad():
        for parameter in agent.world_model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return agent


@pytest.fixture
def entry(model: WorldModelAgent, tmp_path: Path) -> Path:
    """The tiny agent as an entry in a folder of the user's."""
    folder = tmp_path / "tdmpc2-pendulum"
    zoo.save(model, folder, results=[RESULT], command="a command", license="MIT", authors=["Somebody"])
    return folder


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder in place of the package's entries."""
    folder = tmp_path / "entries"
    folder.mkdir()
    monkeypatch.setattr(catalog, "ENTRIES", folder)
    return folder


@pytest.fixture(scope="session")
def checkpoints(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny checkpoints: TD-MPC2's in both layouts, and BMPC's."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for archive_name in ("tdmpc2-tiny", "bmpc-tiny"):
        with tarfile.open(checkout / "tests" / "data" / f"{archive_name}.tar.xz") as archive:
            for member in archive.getmembers():
                content = archive.extractfile(member)
                assert content is not None
                (folder / Path(member.name).name).write_bytes(content.read())
    return folder
