"""The learner learns what there is to learn in problems whose answer is known."""

import pytest
import torch

from dream_agents.learners.tdmpc2 import TDMPC2Config, TDMPC2Learner
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.replay import SequenceBatch

SIZE = TDMPCSize(enc_dim=32, mlp_dim=32, latent_dim=16, num_enc_layers=2, num_values=2)
H, B = 3, 32


def make_learner(discount=0.5, episodic=False, **kwargs):
    model = TDMPCWorldModel((2,), 1, SIZE, discount, episodic)
    kwargs = {"learning_rate": 3e-3, "tau": 0.2, **kwargs}
    return TDMPC2Learner(model, TDMPC2Config(), generator=torch.Generator().manual_seed(0), **kwargs)


def random_walk(reward):
    """Sub-sequences of x' = clip(x + a / 2), seen as (x, 1)."""
    x, actions = [torch.rand(B) * 2 - 1], torch.rand(H, B, 1) * 2 - 1
    for action in actions:
        x.append((x[-1] + action[:, 0] / 2).clamp(-1, 1))
    x = torch.stack(x)
    observations = torch.stack((x, torch.ones_like(x)), -1)
    return SequenceBatch(observations, actions, reward(x[:-1], actions[..., 0]), torch.zeros(H, B))


def test_losses_fall_on_a_predictable_problem():
    learner = make_learner()
    losses = [learner.update(random_walk(lambda x, a: 3 * x - a)) for _ in range(200)]
    for name, share in [("reward_loss", 0.5), ("consistency_loss", 0.5), ("loss", 0.5)]:
        curve = torch.stack([one[f"train/{name}"] for one in losses])
        # consistency starts at nothing, since all latents are alike before learning
        assert curve[-20:].mean() < share * curve[:60].max(), name
    batch = random_walk(lambda x, a: 3 * x - a)
    z = learner.world_model.encode(batch.observations[0])
    for t in range(H):  # imagined, not seen
        error = learner.world_model.reward(z, batch.actions[t]) - batch.rewards[t]
        assert error.abs().mean() < 0.5, t  # of rewards between -4 and 4
        z = learner.world_model.next(z, batch.actions[t])


def test_values_become_discounted_returns():
    learner = make_learner(discount=0.5, tau=0.5)
    for _ in range(200):
        learner.update(random_walk(lambda x, a: torch.full_like(x, 3.0)))
    batch = random_walk(lambda x, a: x)
    z = learner.world_model.encode(batch.observations[0])
    values = learner.world_model.values(z, batch.actions[0])
    torch.testing.assert_close(values, torch.full_like(values, 6.0), rtol=0.1, atol=0)  # 3 / (1 - 0.5)


def test_ends_are_foreseen_and_cut_the_return():
    learner = make_learner(discount=0.9, episodic=True)
    for _ in range(300):
        batch = random_walk(lambda x, a: torch.ones_like(x))
        ended = (batch.observations[1:, :, 0] > 0.3).float()  # the world goes on, but counts as ended
        learner.update(batch._replace(terminated=ended))
    model, x = learner.world_model, torch.tensor([-0.9, 0.0, 0.6, 0.9])
    z = model.encode(torch.stack((x, torch.ones(4)), -1))
    assert model.continuation(z).tolist() == [1, 1, 0, 0]
    certain_end = model.values(z[-1:], torch.ones(1, 1))
    torch.testing.assert_close(certain_end, torch.ones_like(certain_end), rtol=0.2, atol=0)
    assert model.values(z[:1], -torch.ones(1, 1)).min() > 3


def test_policy_finds_the_best_action():
    learner = make_learner(discount=0.0)
    for _ in range(220):
        learner.update(random_walk(lambda x, a: -10 * (a - 0.5 * x).square()))
    x = torch.tensor([-0.8, 0.0, 0.8])
    actions = learner.world_model.policy(learner.world_model.encode(torch.stack((x, torch.ones(3)), -1))).mean
    assert (actions[:, 0] - 0.5 * x).abs().max() < 0.2


@pytest.mark.slow
def test_autocast_learns_the_same():
    errors = []
    for autocast in (None, "bfloat16"):
        torch.manual_seed(0)
        model = TDMPCWorldModel((2,), 1, SIZE, 0.5)
        config = TDMPC2Config(autocast=autocast)
        learner = TDMPC2Learner(model, config, 3e-3, 0.2, torch.Generator().manual_seed(0))
        for _ in range(500):
            learner.update(random_walk(lambda x, a: 100 + 0 * x))
        batch = random_walk(lambda x, a: x)
        values = model.values(model.encode(batch.observations[0]), batch.actions[0])
        errors.append((values - 200).abs().mean().item())
    assert max(errors) < 10
