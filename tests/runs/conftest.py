import shutil

import pytest

from dream_agents import TDMPC2
from dream_agents.models.tdmpc import TDMPC_SIZES, TDMPCSize
from dream_agents.runs import CHECKPOINTS, FINAL, RunSettings, write_settings
from dream_agents.runs.final import save_final

KEYWORDS = {"model_size": "tiny-run", "planner": "policy"}


@pytest.fixture(scope="package", autouse=True)
def tiny():
    """Networks of a few hundred weights."""
    TDMPC_SIZES["tiny-run"] = TDMPCSize(16, 16, 16, 2, 2)
    yield
    del TDMPC_SIZES["tiny-run"]


@pytest.fixture(scope="package")
def finished(tiny, tmp_path_factory):
    """The folder of a run of 12 decisions, which no test may change."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    write_settings(folder, RunSettings("Pendulum-v1", agent="tdmpc2", decisions=12), KEYWORDS)
    model = TDMPC2("Pendulum-v1", device="cpu", seed=0, **KEYWORDS)
    save_final(model.learn(12), folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def killed(run):
    """A run that was made longer and killed, so that its final model is an earlier one."""
    model = TDMPC2.load(run / FINAL, "Pendulum-v1", device="cpu")
    model.learn(8, reset_num_timesteps=False).save_checkpoint(run / CHECKPOINTS)
    return run
