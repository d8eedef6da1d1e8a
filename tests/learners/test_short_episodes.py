"""Learning from batches in which not every step happened."""

import pytest
import torch

from dream_agents.learners.base import PLAN_MEAN, PLAN_STD, get_backbone, mean_of_happened
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.replay import SequenceBatch

H, B, O, A = 3, 6, 5, 2


def make_learner(name, **kwargs):
    torch.manual_seed(0)
    backbone = get_backbone(name)
    model = backbone.build_world_model((O,), A, TDMPCSize(16, 16, 16, 2, 2), 0.9, True, value_dropout=0.0)
    for head in (model.reward_head, model.value_heads, model.termination_head):
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    generator = torch.Generator().manual_seed(1)
    return backbone.build_learner(model, backbone.config_class(**kwargs), 1e-3, 0.01, generator)


def make_batch(mask=None, garbage=0.0):
    """The same steps whatever is masked, with ``garbage`` in what did not happen."""
    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    observations, actions, rewards = draw(H + 1, B, O), draw(H, B, A).clamp(-1, 1), draw(H, B)
    terminated = (draw(H, B) > 0).float()
    extra = {PLAN_MEAN: draw(H, B, A).clamp(-1, 1), PLAN_STD: torch.full((H, B, A), 0.5)}
    if mask is not None:
        gone = mask == 0
        observations[1:][gone] += garbage
        actions[gone] = actions[gone] * 0 + garbage / (1 + abs(garbage))
        rewards[gone] += garbage
        terminated[gone] = float(garbage > 0)
        extra[PLAN_MEAN][gone] = 0.1 * garbage / (1 + abs(garbage))
    return SequenceBatch(observations, actions, rewards, terminated, extra, mask=mask)


def short_mask():
    lengths = torch.tensor([1, 2, 3, 3, 1, 2])
    return (torch.arange(H)[:, None] < lengths).float()


@pytest.fixture(params=["tdmpc2", "tdmpc2 near replayed actions", "bmpc"])
def make(request):
    kwargs = {"imitation_coef": 1.0} if "near" in request.param else {}
    return lambda: make_learner(request.param.split()[0], **kwargs)


def weights_after(learner, batch, updates=3):
    metrics = [learner.update(batch) for _ in range(updates)]
    weights = {name: value.clone() for name, value in learner.world_model.state_dict().items()}
    return weights, metrics[0]


def test_a_mask_of_ones_is_like_none(make):
    (with_mask, metrics), (without, others) = (
        weights_after(make(), make_batch(mask), 1) for mask in (torch.ones(H, B), None)
    )
    for name, value in others.items():
        torch.testing.assert_close(metrics[name], value, msg=name)
    for name, value in without.items():
        torch.testing.assert_close(with_mask[name], value, rtol=1e-3, atol=1e-5)


def test_nothing_depends_on_what_did_not_happen(make):
    first, second = (weights_after(make(), make_batch(short_mask(), garbage)) for garbage in (0.0, 5.0))
    for name, value in first[0].items():
        assert torch.equal(second[0][name], value), name
    for name, value in first[1].items():
        assert torch.equal(second[1][name], value), name


def test_the_mean_itself():
    values = torch.arange(6.0).view(3, 2)
    mask = torch.tensor([[1.0, 1], [1, 0], [0, 0]])
    assert mean_of_happened(values, mask, each_step=True).tolist() == [0.5, 2.0, 0.0]
    assert mean_of_happened(values, mask).item() == 1.0
    wide = values[..., None].expand(3, 2, 4)
    assert mean_of_happened(wide, mask, each_step=True).tolist() == [0.5, 2.0, 0.0]
    assert mean_of_happened(wide, None, each_step=True).tolist() == [0.5, 2.5, 4.5]


def test_the_loss_by_hand(make):
    """The masked losses of rewards and consistency, a step at a time."""
    learner, mask = make(), short_mask()
    model, batch = learner.world_model, make_batch(mask)
    with torch.no_grad():
        latents, targets = learner.targets(batch, [0, 1])
        _, rolled, metrics = learner.model_loss(batch._replace(extra=None), latents, targets)
        reward = consistency = 0.0
        for t in range(H):
            here = mask[t] == 1
            errors = model.two_hot.cross_entropy(
                model.reward_logits(rolled[t], batch.actions[t]), batch.rewards[t]
            )
            reward += 0.5**t / H * errors[here].mean()
            consistency += 0.5**t / H * (rolled[t + 1] - latents[t])[here].square().mean()
    torch.testing.assert_close(metrics["train/reward_loss"], reward)
    torch.testing.assert_close(metrics["train/consistency_loss"], consistency)
