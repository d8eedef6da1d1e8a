"""``dream_agents.fast`` can be switched off, or deleted: everything works, slower."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dream_agents import annex
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.planners.decision import Decider
from dream_agents.planners.dream import DreamPlanner


@pytest.fixture
def model():
    return TDMPCWorldModel((3,), 1, TDMPCSize(8, 16, 16, 2, 2)).eval()


@pytest.fixture(params=["switched off", "deleted"])
def without(request, monkeypatch):
    """The annex is not there."""
    if request.param == "switched off":
        monkeypatch.setenv("DREAM_AGENTS_FAST", "0")
    else:
        monkeypatch.setattr(annex, "find_spec", lambda name: None)


def test_the_plain_code_takes_its_place(without, model):
    planner = DreamPlanner()
    assert not annex.enabled()
    assert type(annex.make_decider(model)) is Decider
    assert annex.accelerated(model, planner) == (model, planner)
    assert not annex.can_compile()
    annex.keep_freed_memory()


def test_compiling_says_what_is_missing(without, model):
    decider = annex.make_decider(model)
    with pytest.raises(RuntimeError, match=r"dream_agents\.fast.*DREAM_AGENTS_FAST=0"):
        decider.compile(None, {}, DreamPlanner(), True)


PROGRAM = """
    import sys
    import numpy as np
    if sys.argv[1] == "deleted":
        sys.modules["dream_agents.fast"] = None  # as if it weren't there
    from dream_agents import DreamMPC
    from dream_agents.evaluation import evaluate
    from dream_agents.models.tdmpc import TDMPCSize
    options = {"model_size": TDMPCSize(16, 16, 16, 2, 2), "learning_starts": 20, "batch_size": 16}
    agent = DreamMPC("Pendulum-v1", device="cpu", seed=0, training_planner="dream", **options).learn(24)
    agent.save("agent")
    agent = DreamMPC.load("agent", device="cpu")
    actions = [agent.predict(np.full((2, 3), step / 3, np.float32), deterministic=True)[0] for step in range(3)]
    print([name for name in sys.modules if name.startswith("dream_agents.fast.")] != [])
    print(*np.concatenate(actions).flatten().tolist())
"""


def run(folder, how, **environment):
    """Whether the annex was imported, and the actions of an agent that learned a little."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), how]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported, actions = done.stdout.splitlines()
    return imported == "True", np.array(actions.split(), float)


def test_agents_learn_and_act_without(tmp_path):
    imported, deleted = run(tmp_path, "deleted")
    assert not imported
    imported, switched_off = run(tmp_path, "there", DREAM_AGENTS_FAST="0")
    assert not imported
    np.testing.assert_array_equal(deleted, switched_off)
