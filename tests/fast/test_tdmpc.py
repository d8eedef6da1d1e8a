"""A model of TD-MPC2 or BMPC made ready for planning: the same results, whatever happened to its weights."""

import pickle
from copy import deepcopy

import pytest
import torch

from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.objective import planning_objective
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.planners.dream import DreamPlanner

OBS, ACTIONS = 7, 3


@pytest.fixture(params=[TDMPCWorldModel, BMPCWorldModel])
def model_class(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["endless", "episodic"])
def model(model_class, request):
    torch.manual_seed(0)
    model = model_class((OBS,), ACTIONS, TDMPCSize(64, 256, 128, 2, 3), episodic=request.param)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def outputs(model, rows=6):
    """What planners ask of a model."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(rows, OBS, generator=generator)
    actions = torch.rand(4, rows, 5, ACTIONS, generator=generator) * 2 - 1
    with torch.no_grad():
        z, _ = model.observe(obs)
        policy = model.policy(z)
        first = z.unsqueeze(1)
        return {
            "z": z,
            "mean": policy.mean,
            "log_std": policy.log_std,
            "next": model.next(first, actions[0]),
            "step": model.step(first, actions[0])[0],
            "reward": model.reward(first, actions[0]),
            "values": model.values(first, actions[0]),
            "member": model.values(first, actions[0], [1]),
            "continuation": model.continuation(z),
            "objective": model.objective_and_gradient(z, actions, 0.01)[0].value,
            "gradient": model.objective_and_gradient(z, actions, 0.01)[1],
        }


def assert_same(actual, expected):
    for name, value in expected.items():
        scale = max(1.0, value.abs().max().item())
        torch.testing.assert_close(actual[name], value, rtol=1e-3, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("rows", [1, 40])
def test_same_results(model, rows, pack):
    assert_same(outputs(model.prepared(pack), rows), outputs(model, rows))


def test_weights_are_packed_once(model):
    assert model.prepared() is model.prepared()


def fused_update(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05, fused=True)
    z = model.encode(torch.ones(2, OBS))
    (
        model.reward(z, torch.ones(2, ACTIONS)).sum()
        + model.policy(z).mean.sum()
        + model.values(z, torch.ones(2, ACTIONS)).sum()
    ).backward()
    optimizer.step()


def in_place(model):
    with torch.no_grad():
        model.dynamics[1].bias[5] += 1


def behind_the_counter(model):
    for parameter in model.parameters():
        parameter.data.mul_(1.1)


def swapped(model):
    for parameter in model.parameters():
        parameter.data = 1.1 * parameter.data


def loaded(model):
    model.load_state_dict({name: 1.1 * value for name, value in model.state_dict().items()})


def assigned(model):
    state = {name: 1.1 * value for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


@pytest.mark.parametrize("change", [fused_update, in_place, behind_the_counter, swapped, loaded, assigned])
def test_changes_of_the_weights_are_noticed(model, change):
    before = outputs(model.prepared())
    change(model)
    after = outputs(model.prepared())
    assert_same(after, outputs(model))
    assert not torch.allclose(after["next"], before["next"], atol=1e-3)


def test_what_is_packed_is_not_saved(model):
    names = list(model.state_dict())
    model.prepared()
    assert list(model.state_dict()) == names
    for copy in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        in_place(copy)
        assert_same(outputs(copy.prepared()), outputs(copy))
    assert_same(outputs(model.prepared()), outputs(model))


def test_other_precisions_are_not_packed(model):
    model = model.double()
    prepared = model.prepared()
    z = model.encode(torch.randn(2, OBS, dtype=torch.float64)).detach()
    assert torch.equal(prepared.next(z, torch.ones(2, ACTIONS)), model.next(z, torch.ones(2, ACTIONS)))


def test_autograd_goes_through(model):
    """A planner of one's own may differentiate."""
    z = model.encode(torch.randn(2, OBS)).detach()
    actions = torch.zeros(4, 2, 5, ACTIONS, requires_grad=True)
    gradients = [
        torch.autograd.grad(planning_objective(m, z, actions, 0.01).value.sum(), actions)[0]
        for m in (model, model.prepared())
    ]
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("reuse", [0.0, 0.4])
def test_steps_kept_while_proposing_give_the_same_plan(model, reuse):
    """Proposals and mixed sequences share the dynamics' calls; the plain model dreams twice."""
    planner = DreamPlanner(reuse=reuse)
    z = model.encode(torch.randn(3, OBS)).detach()
    memory = {k: torch.rand_like(v) * 2 - 1 for k, v in planner.initial_memory(model, 3).items()}
    start = torch.tensor([False, True, False])
    plans = [
        planner.plan(m, z, memory, start, True, torch.Generator().manual_seed(1))
        for m in (model, model.prepared())
    ]
    for name in ("action", "mean", "value"):
        torch.testing.assert_close(getattr(plans[1], name), getattr(plans[0], name), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(plans[1].memory["plan"], plans[0].memory["plan"], rtol=1e-3, atol=1e-3)
    assert set(plans[1].info) == set(plans[0].info)


def test_autograd_works_after_inference_mode(model):
    """Nothing that was made in inference mode is kept."""
    with torch.inference_mode():
        planning_objective(model, model.encode(torch.ones(2, OBS)), torch.zeros(4, 2, 5, ACTIONS), 0.01)
    outputs(model)
