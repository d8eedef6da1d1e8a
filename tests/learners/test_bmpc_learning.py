"""BMPC's learner learns what there is to learn in problems whose answer is known."""

import pytest
import torch

from dream_agents.learners.bmpc import BMPCConfig, BMPCLearner
from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.planners import make_planner
from dream_agents.replay import SequenceBatch

SIZE = TDMPCSize(enc_dim=32, mlp_dim=32, latent_dim=16, num_enc_layers=2, num_values=2)
H, B = 3, 32


def make_learner(discount=0.5, tau=0.2):
    model = BMPCWorldModel((2,), 1, SIZE, discount)
    return BMPCLearner(model, BMPCConfig(), 3e-3, tau, torch.Generator().manual_seed(0))


def random_walk(reward, expert, std):
    """Sub-sequences of x' = clip(x + a / 2), seen as (x, 1), with the expert's action in x."""
    x, actions = [torch.rand(B) * 2 - 1], torch.rand(H, B, 1) * 2 - 1
    for action in actions:
        x.append((x[-1] + action[:, 0] / 2).clamp(-1, 1))
    x = torch.stack(x)
    plans = {"plan_mean": expert(x[:-1]).unsqueeze(-1), "plan_std": torch.full((H, B, 1), std)}
    observations = torch.stack((x, torch.ones_like(x)), -1)
    return SequenceBatch(observations, actions, reward(x[:-1], actions[..., 0]), torch.zeros(H, B), plans)


def observe(learner, *x):
    x = torch.tensor(x)
    return learner.world_model.encode(torch.stack((x, torch.ones(len(x))), -1)).detach()


def test_policy_becomes_the_expert():
    learner = make_learner()
    for _ in range(200):
        learner.update(random_walk(lambda x, a: a, lambda x: -0.6 * x, 0.3))
    policy = learner.world_model.policy(observe(learner, -0.8, 0.0, 0.8))
    torch.testing.assert_close(policy.mean[:, 0], torch.tensor([0.48, 0.0, -0.48]), rtol=0, atol=0.1)
    torch.testing.assert_close(policy.log_std.exp(), torch.full((3, 1), 0.3), rtol=0.15, atol=0)


@pytest.mark.parametrize(("action", "value"), [(0.5, 2.0), (-0.5, -2.0)])
def test_values_are_those_of_the_policy_not_of_replayed_actions(action, value):
    """Replayed actions are random, and bring 0 on average; the policy's bring 2 * action each, for two steps' worth."""
    learner = make_learner(discount=0.5, tau=0.5)
    for _ in range(250):
        learner.update(random_walk(lambda x, a: 2 * a, lambda x: torch.full_like(x, action), 0.1))
    values = learner.world_model.values(observe(learner, -0.5, 0.5), None)
    torch.testing.assert_close(values, torch.full((2, 2), value), rtol=0, atol=0.35)


@pytest.mark.parametrize("name", ["mppi", "dream"])
def test_planner_and_policy_lift_each_other(name):
    """The policy imitates a planner that improves on it; the best action is 0.5 x, and nobody is told."""
    mppi = {"samples": 32, "policy_samples": 8, "elites": 6, "iterations": 2}
    planner = make_planner(name, **(mppi if name == "mppi" else {"expert_std": 0.2}))
    learner = make_learner(discount=0.0)
    for _ in range(250):
        batch = random_walk(lambda x, a: -10 * (a - 0.5 * x).square(), torch.zeros_like, 1.0)
        plan = learner.replan(batch.observations[:-1].flatten(0, 1), planner)
        plans = {"plan_mean": plan.mean.view(H, B, 1), "plan_std": plan.std.view(H, B, 1)}
        learner.update(batch._replace(extra=plans))
    means = learner.world_model.policy(observe(learner, -0.8, 0.0, 0.8)).mean[:, 0]
    torch.testing.assert_close(means, torch.tensor([-0.4, 0.0, 0.4]), rtol=0, atol=0.2)
