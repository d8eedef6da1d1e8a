"""What the tests of ``dream_agents.fast`` share. They are skipped where it is switched off or deleted."""

import pytest
import torch

from dream_agents import DreamMPC
from dream_agents.annex import enabled
from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel

MODELS = {"tdmpc": TDMPCWorldModel, "bmpc": BMPCWorldModel}


class SwitchedOff(pytest.Module):
    """A module whose imports may fail."""

    def collect(self):
        pytest.skip("dream_agents.fast is switched off or deleted", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return None if enabled() else SwitchedOff.from_parent(parent, path=module_path)


def make(kind, size=None, episodic=False, obs_dim=7, action_dim=3):
    """A model all of whose parameters matter, small unless a size is given."""
    size = TDMPCSize(8, 16, 16, 2, 3) if size is None else size
    model = MODELS[kind]((obs_dim,), action_dim, size, discount=0.9, episodic=episodic)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_((0.3 if parameter.shape[-1] < 64 else 0.05) * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
def make_model():
    return make


@pytest.fixture(params=MODELS)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A small DreamMPC that has learned a little, on TD-MPC2's backbone."""
    path = tmp_path_factory.mktemp("fast") / "agent.zip"
    options = {"model_size": TDMPCSize(16, 16, 16, 2, 2), "backbone": "tdmpc2", "device": "cpu", "seed": 0}
    agent = DreamMPC("Pendulum-v1", learning_starts=20, batch_size=16, buffer_size=2000, **options)
    agent.learn(40).save(path)
    return path
