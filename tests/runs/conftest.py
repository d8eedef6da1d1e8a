import shutil

import pytest

from dream_agents import TDMPC2
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.runs import CHECKPOINTS, FINAL, RunSettings, write_settings

TINY = TDMPCSize(16, 16, 16, 2, 2)


@pytest.fixture(scope="package")
def finished(tmp_path_factory):
    """The folder of a run of 12 decisions, which no test may change."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    write_settings(folder, RunSettings("Pendulum-v1", agent="tdmpc2", decisions=12))
    model = TDMPC2("Pendulum-v1", model_size=TINY, planner="policy", device="cpu", seed=0)
    model.learn(12).save(folder / FINAL)
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
