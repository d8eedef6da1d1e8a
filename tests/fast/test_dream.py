"""TD-MPC2's and BMPC's written-out gradient of the planning objective, against autograd in float64."""

from copy import deepcopy

import pytest
import torch

from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.objective import planning_objective
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.planners.base import plan_length
from dream_agents.planners.dream import DreamPlanner

TINY = TDMPCSize(8, 16, 16, 2, 3)


BOTH = pytest.mark.parametrize("model_class", [TDMPCWorldModel, BMPCWorldModel])


def make_model(size=TINY, episodic=False, model_class=TDMPCWorldModel):
    model = model_class((3,), 2, size, discount=0.9, episodic=episodic)
    for parameter in model.parameters():
        parameter.data += (0.3 if parameter.shape[-1] < 64 else 0.05) * torch.randn_like(parameter)
    return model.eval()


def autograd(model, z, actions, coefficient):
    """Objective, penalty and gradient in float64."""
    model, actions = deepcopy(model).double(), actions.double().requires_grad_()
    objective = planning_objective(model, z.double(), actions, coefficient)
    return objective, torch.autograd.grad(objective.value.sum(), actions)[0]


def problem(model, batch, candidates, horizon):
    with torch.no_grad():
        z = model.encode(torch.randn(batch, 3).to(next(model.parameters())))
    return z, (torch.rand(plan_length(model, horizon), batch, candidates, 2) * 2 - 1).to(z)


@pytest.mark.parametrize("coefficient", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("episodic", [False, True])
@pytest.mark.parametrize("members", [1, 2, 5])
@BOTH
def test_every_kind_of_model(model_class, members, episodic, coefficient):
    model = make_model(TDMPCSize(8, 16, 16, 2, members), episodic, model_class).double()
    for batch, candidates, horizon in [(1, 1, 1), (2, 5, 3)]:
        z, actions = problem(model, batch, candidates, horizon)
        objective, gradient = model.prepared().objective_and_gradient(z, actions, coefficient)
        expected, expected_gradient = autograd(model, z, actions, coefficient)
        torch.testing.assert_close(objective.value, expected.value)
        torch.testing.assert_close(objective.penalty, expected.penalty)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-9)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("candidates", [5, 60], ids=["few", "many"])
@BOTH
def test_real_sizes_in_single_precision(model_class, candidates):
    """Few and many rows take different kernels."""
    model = make_model("1M", episodic=True, model_class=model_class)
    z, actions = problem(model, 4, candidates, 3)
    objective, gradient = model.prepared().objective_and_gradient(z, actions, 0.01)
    expected, expected_gradient = autograd(model, z, actions, 0.01)
    scale = expected.value.abs().max().item()
    torch.testing.assert_close(objective.value.double(), expected.value, rtol=1e-3, atol=1e-4 * scale)
    largest = expected_gradient.abs().max().item()
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-2, atol=1e-3 * largest)


def test_equal_members_have_a_finite_gradient():
    """The standard deviation of values that agree has none."""
    model = TDMPCWorldModel((3,), 2, TINY).eval()  # new: all values are 0
    z, actions = problem(model, 2, 3, 3)
    objective, gradient = model.prepared().objective_and_gradient(z, actions, 1.0)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(objective.penalty, torch.zeros(2, 3), atol=1e-6, rtol=0)


def test_nothing_is_recorded():
    model = make_model()
    z, actions = problem(model, 2, 3, 3)
    objective, gradient = model.prepared().objective_and_gradient(z, actions, 0.01)
    assert not any(tensor.requires_grad for tensor in (*objective, gradient, actions))
    assert all(p.grad is None for p in model.parameters())


def test_inputs_are_left_alone():
    model = make_model()
    z, actions = problem(model, 2, 3, 3)
    before = z.clone(), actions.clone(), {name: value.clone() for name, value in model.state_dict().items()}
    model.prepared().objective_and_gradient(z, actions, 0.01)
    DreamPlanner(iterations=3).improve(model, z, actions)
    assert torch.equal(z, before[0])
    assert torch.equal(actions, before[1])
    assert all(torch.equal(value, before[2][name]) for name, value in model.state_dict().items())


@pytest.mark.gpu
@pytest.mark.parametrize("candidates", [5, 60])
def test_cuda_agrees(candidates):
    model = make_model("1M", episodic=True)
    z, actions = problem(model, 4, candidates, 3)
    expected, expected_gradient = autograd(model, z, actions, 0.01)
    objective, gradient = model.cuda().prepared().objective_and_gradient(z.cuda(), actions.cuda(), 0.01)
    torch.testing.assert_close(objective.value.cpu().double(), expected.value, rtol=1e-3, atol=1e-3)
    largest = expected_gradient.abs().max().item()
    torch.testing.assert_close(gradient.cpu().double(), expected_gradient, rtol=1e-2, atol=1e-3 * largest)
