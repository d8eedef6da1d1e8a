"""Variance and signal-to-noise ratio of planners' gradients."""

import numpy as np
import pytest
import torch

from dream_agents.analysis import (
    PendulumWorldModel,
    gradient_rows,
    gradients_of_agents,
    gradients_of_true_dynamics,
    paper_planners,
    plot_esnr,
    plot_gradients,
    true_dynamics,
    write_rows,
)
from dream_agents.models.base import WorldModel
from dream_agents.models.heads import ClampedGaussian
from dream_agents.planners.grad import GradPlanner


class Parabola(WorldModel):
    """Rewards 3 a - a^2 whatever the state is: gradients 3 - 2 a, whose statistics are known."""

    latent_dim = action_dim = num_values = 1
    takes_action_in_value = episodic = False
    discount = 0.9
    device = torch.device("cpu")

    def observe(self, obs, memory=None, episode_start=None, generator=None):
        return obs, {}

    def next(self, z, action):
        return z + 0 * action

    def reward(self, z, action, next_z=None):
        return (3 * action - action.square()).sum(-1)

    def values(self, z, action, members=None):
        return z.new_zeros(1, *z.shape[:-1])

    def policy(self, z):
        return ClampedGaussian(torch.zeros_like(z), torch.zeros_like(z))


def test_ratio_is_squared_mean_over_variance():
    """Eq. 17 by hand: actions N(0, 0.1^2) give components of mean 3 and variance 0.2^2."""
    planners = {"grad": GradPlanner(proposal_std=0.1)}
    rows = gradient_rows(Parabola(), torch.zeros(4, 1), planners, horizons=(1, 5), samples=4000)
    for row in rows:
        assert row.variance == pytest.approx(row.horizon * 0.04, rel=0.03)
        assert row.norm == pytest.approx(3 * row.horizon**0.5, rel=0.01)
        assert row.esnr == pytest.approx(9 / 0.04, rel=0.03)
        assert (row.states, row.samples) == (4, 4000)


def test_no_signal_has_the_ratio_of_chance():
    """Without a mean the ratio is that of N samples, 1 / N, as the page says."""

    class Noise(Parabola):
        def reward(self, z, action, next_z=None):
            return action.square().sum(-1)

    planners = {"grad": GradPlanner(proposal_std=0.1)}
    (row,) = gradient_rows(Noise(), torch.zeros(400, 1), planners, horizons=[3], samples=50)
    assert row.esnr == pytest.approx(1 / 50, rel=0.1)


def test_flat_return_has_no_signal():
    class Flat(Parabola):
        def reward(self, z, action, next_z=None):
            return 0 * action.sum(-1)

    (row,) = gradient_rows(Flat(), torch.zeros(2, 1), {"grad": GradPlanner()}, horizons=[2], samples=5)
    assert (row.norm, row.variance, row.esnr) == (0, 0, 0)


def test_gradients_are_the_planners_own():
    """The norm in the row is that of the gradient which the planner ascends, at the same proposals."""
    model, obs = PendulumWorldModel(), torch.tensor([[-1.0, 0.0, 1.0]])
    (row,) = gradient_rows(model, obs, {"Grad-MPC": GradPlanner()}, horizons=[4], samples=20, seed=7)
    planner = GradPlanner(horizon=4, candidates=20)
    z, _ = model.observe(obs)
    actions = planner.propose(model, z, {}, torch.ones(1, dtype=bool), torch.Generator().manual_seed(7))
    _, gradient = planner.objective_and_gradient(model, z, actions, None)
    assert row.norm == pytest.approx(gradient.square().sum((0, 1, 3)).sqrt().mean().item(), rel=1e-5)


def test_proposals_of_the_policy_vary_less_than_gaussians():
    """So does Dream-MPC's gradient, in the paper as here."""
    grad, dream = gradients_of_true_dynamics(horizons=[10], states=8, samples=50)
    assert (grad.planner, dream.planner) == tuple(paper_planners())
    assert dream.variance < 0.5 * grad.variance and dream.esnr > grad.esnr


def test_true_and_learned_dynamics_of_an_agent_side_by_side(swinger, tmp_path):
    rows = gradients_of_agents({"seed 3": swinger}, horizons=(1, 3), states=4, samples=10)
    found = [(row.dynamics, row.planner, row.horizon) for row in rows]
    planners = tuple(paper_planners())
    assert set(found) == {(d, p, h) for d in ("true", "learned") for p in planners for h in (1, 3)}
    assert {(row.model, row.seed, row.states) for row in rows} == {("seed 3", 3, 4)}
    assert all(np.isfinite((row.norm, row.variance, row.esnr)).all() for row in rows)
    for draw in (plot_gradients, plot_esnr):
        draw(rows, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 10_000
    write_rows(tmp_path / "rows.csv", rows)
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 9


def test_true_dynamics_act_by_the_agents_policy_and_value(swinger):
    true, model = true_dynamics(swinger), swinger.world_model
    z = torch.tensor([[[2.0, 0.3]], [[0.1, -0.2]]])
    latents, _ = model.observe(true.observation(z))
    torch.testing.assert_close(true.policy(z).mean, model.policy(latents).mean)
    expected = model.values(latents, model.policy(latents).mean).mean(0)
    torch.testing.assert_close(true.values(z, None)[0], expected)
    assert true.discount == model.discount


def test_other_tasks_have_no_true_dynamics(short_swinger):
    with pytest.raises(ValueError, match="true dynamics are there for Pendulum-v1"):
        true_dynamics(short_swinger)
    rows = gradients_of_agents({"it": short_swinger}, horizons=[2], states=3, samples=5)
    assert {row.dynamics for row in rows} == {"learned"}


class Broken(Parabola):
    def reward(self, z, action, next_z=None):
        return (action * torch.nan).sum(-1)


def test_mistakes_are_named():
    model = PendulumWorldModel()
    with pytest.raises(ValueError, match="samples=1"):
        gradient_rows(model, torch.zeros(1, 3), samples=1)
    with pytest.raises(ValueError, match="no observations"):
        gradient_rows(model, torch.zeros(0, 3))
    with pytest.raises(ValueError, match="not finite"):
        gradient_rows(Broken(), torch.zeros(1, 1), horizons=[3], model="it")
    with pytest.raises(ValueError, match="no gradients to draw"):
        plot_esnr([], "picture.png")
