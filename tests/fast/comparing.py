"""Learners compared by what they have learned."""

import torch


def weights_of(learner):
    return [parameter.detach().clone() for parameter in learner.world_model.parameters()]


def assert_alike(ours, theirs, **tolerance):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **tolerance)
