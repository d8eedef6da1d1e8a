"""Ids of HumanoidBench, and the benchmark's public files where a machine has them."""

import os
from pathlib import Path

import pytest

from dream_agents.registry import suites

SUITE = suites.get("humanoid_bench")
ALL = SUITE.ids()
# Between them: props that move, a goal, stages, an end by contact, terrain of a mesh, hands.
SAMPLE = (
    "humanoid_h1-run-v0",
    "humanoid_h1-maze-v0",
    "humanoid_h1-sit_hard-v0",
    "humanoid_h1-balance_hard-v0",
    "humanoid_h1-reach-v0",
    "humanoid_h1hand-slide-v0",
)
VARIABLE = "DREAM_AGENTS_HUMANOID_BENCH"


def sample_of(ids=ALL, sample=SAMPLE):
    """Return the ids as parameters of a test; those outside the sample are marked slow."""
    return [id if id in sample else pytest.param(id, marks=pytest.mark.slow) for id in ids]


def parts(id):
    """Return an id's robot and task."""
    robot, task = id.removeprefix("humanoid_").removesuffix("-v0").split("-")
    return robot, task


@pytest.fixture(scope="module")
def official_files(checkout):
    """The folder of the benchmark's public files, which the variable names from here on."""
    shared = Path(os.environ.get("DREAM_AGENTS_SHARED") or checkout.parent / "shared")
    folder = Path(os.environ.get(VARIABLE) or shared / "humanoid_bench_assets")
    if not (folder / "envs").is_dir():
        pytest.skip(f"the benchmark's public files are not in {folder} ({VARIABLE} names their folder)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder))
        yield folder
