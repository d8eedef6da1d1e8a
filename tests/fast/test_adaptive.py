"""Adaptive Dream-MPC's faster twin: the planner's own decisions."""

import pytest
import torch

from dream_agents.fast.accelerate import fast_model, fast_planner
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.planners.adaptive import AdaptivePlanner

OBS = 7
OPTIONS = [
    {},
    {"iterations": 3},
    {"wide": 4, "improved": 3, "iterations": 2, "temperature": 0.5},
    {"samples": 0, "steps": (0.1,)},
    {"horizon": 1, "exploration_std": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("episodic", [False, True], ids=["endless", "episodic"])
def test_plans_are_the_planners_own(kind, make_model, episodic, members, options):
    model, planner = (
        make_model(kind, TDMPCSize(8, 16, 16, 2, members), episodic).double(),
        AdaptivePlanner(**options),
    )
    with torch.no_grad():
        z, _ = model.observe(torch.randn(3, OBS).double())
    memory = {
        name: torch.rand_like(value) * 2 - 1 for name, value in planner.initial_memory(model, 3).items()
    }
    start = torch.tensor([False, True, False])
    fast = fast_model(model)
    twin = fast_planner(fast, planner)
    assert twin is not planner
    plain, ours = (
        p.plan(m, z, memory, start, False, torch.Generator().manual_seed(1))
        for p, m in ((planner, model), (twin, fast))
    )
    close = {"rtol": 1e-6, "atol": 1e-8}
    for name in ("action", "mean", "std", "value"):
        torch.testing.assert_close(getattr(ours, name), getattr(plain, name), msg=name, **close)
    torch.testing.assert_close(ours.memory["plan"], plain.memory["plan"], **close)
    assert set(ours.info) == set(plain.info)
    for name, value in plain.info.items():
        torch.testing.assert_close(ours.info[name], value, msg=name, **close)
