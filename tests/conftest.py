import importlib.util
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

CHECKOUT = Path(__file__).resolve().parents[1]
#: tasks of Meta-World that the zoo has models of
ZOO_TASKS = {
    task
    for card in CHECKOUT.glob("zoo/entries/*/card.toml")
    for task in re.findall(
        r'^environment = "metaworld_(.*)-v3"', card.read_text(encoding="utf-8"), re.MULTILINE
    )
}

# Readline, which pytest loads, tells pytest-xdist's workers of a terminal with 80 columns, where there is none.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)


# A shell's background jobs ignore Ctrl-C, and so would whatever the tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    torch.set_num_threads(1)  # sums in a fixed order, and small networks are fastest so


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cuda, metaworld = torch.cuda.is_available(), importlib.util.find_spec("metaworld") is not None
    for item in items:
        if "gpu" in item.keywords and not cuda:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if not metaworld and needs_metaworld(item):
            item.add_marker(pytest.mark.skip(reason="needs Meta-World, an extra of its own"))


def needs_metaworld(item: pytest.Item) -> bool:
    """Tell whether a test is marked so, or one of its parameters names a task of Meta-World or a model of one."""
    parameters = getattr(item, "callspec", None)
    named = str(list(parameters.params.values())) if parameters else ""
    return "metaworld" in item.keywords or "metaworld_" in named or any(task in named for task in ZOO_TASKS)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the source tree under test."""
    return CHECKOUT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden values and published curves, which is not part of the repository."""
    folder = Path(os.environ.get("DREAM_AGENTS_SHARED") or CHECKOUT.parent / "shared")
    if not (folder / "golden").is_dir():
        pytest.skip(f"no golden values in {folder} (DREAM_AGENTS_SHARED names their folder)")
    return folder


@pytest.fixture(autouse=True)
def reproducible() -> None:
    """Start every test from the same global random state, whichever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def observations():
    """Observations [n, 3] of Pendulum-v1."""

    def make(n, seed=0):
        angle, speed = np.random.default_rng(seed).uniform(-3, 3, (2, n))
        return np.stack((np.cos(angle), np.sin(angle), speed), -1).astype(np.float32)

    return make
