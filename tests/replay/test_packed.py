"""Images and numbers of one observation in replay: each frame once, whatever the numbers are."""

import pickle

import numpy as np
import pytest
import torch
from gymnasium import spaces

from dream_agents.models.packing import Packing
from dream_agents.replay import SequenceReplayBuffer

ACTIONS = spaces.Box(-1, 1, (1,), np.float32)


def make(packing, frame_stack, size=60, n_envs=2, **options):
    return SequenceReplayBuffer(
        size,
        spaces.Box(0, 255, (packing.size,), np.uint8),
        ACTIONS,
        device="cpu",
        n_envs=n_envs,
        sequence_length=3,
        seed=0,
        frame_stack=frame_stack,
        packed_images=tuple(packing.images.values()),
        **options,
    )


def play(buffers, packing, k, steps, seed=0, n_envs=2, padded=True):
    """Store the same random steps in each buffer, whose images are stacks of ``k`` frames."""
    rng = np.random.default_rng(seed)

    def frames():
        return [
            rng.integers(0, 256, (n_envs, shape[0] // k, *shape[1:]), np.uint8)
            for shape in packing.images.values()
        ]

    def pack(stacks):
        numbers = rng.standard_normal((n_envs, packing.num_numbers)).astype(np.float32)
        return packing.pack(numbers, [np.concatenate(stack, 1) for stack in stacks])

    def first():
        new = [frames() for _ in range(k)]
        return [
            [frame[i] for frame in new] if not padded else [new[0][i]] * k for i in range(len(packing.images))
        ]

    stacks = first()
    obs = pack(stacks)
    for step in range(steps):
        moved = [[*stack[1:], new] for stack, new in zip(stacks, frames(), strict=True)]
        done = np.full(n_envs, step % 7 == 6)
        following = pack(moved)
        action = rng.uniform(-1, 1, (n_envs, 1)).astype(np.float32)
        for buffer in buffers:
            buffer.add(obs, following, action, np.full(n_envs, step), done, [{}] * n_envs)
        stacks = first() if done[0] else moved
        obs = pack(stacks) if done[0] else following


SHAPES = {
    "one camera": {"camera": (9, 4, 4), "joints": (3,)},
    "two": {"a": (3, 4, 4), "b": (6, 3, 5), "n": (1,)},
    "no numbers": {"camera": (3, 5, 5)},
}


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("shapes", SHAPES)
def test_stacks_come_back_as_they_were(shapes, padded):
    packing = Packing(SHAPES[shapes])
    stacked, plain = make(packing, 3, size=400), make(packing, 1, size=400)
    play([stacked, plain], packing, 3, 40, padded=padded)
    # Unpadded episodes take more slots, so that the same draws mean others: compare what follows each reward.
    known = {}
    for buffer in (plain, stacked):
        for _ in range(20):
            batch = buffer.sample(16)
            for i, reward in np.ndenumerate(batch.rewards.numpy()):
                key = reward, batch.actions[i].item()
                obs = batch.observations[i].numpy().tobytes()
                assert known.setdefault(key, obs) == obs
    assert stacked.observations.nbytes + stacked.unstacked.nbytes < 0.45 * plain.observations.nbytes + 4000


def test_without_stacks_they_are_stored_as_they_are():
    packing = Packing(SHAPES["two"])
    buffer = make(packing, 1)
    play([buffer], packing, 3, 10)
    assert buffer.observations.shape[2:] == (packing.size,) and not hasattr(buffer, "unstacked")


def test_checkpoints_and_pickles_hold_numbers_too():
    packing = Packing(SHAPES["one camera"])
    buffer, loaded = make(packing, 3), make(packing, 3)
    play([buffer], packing, 3, 20)
    loaded.load_state_arrays(buffer.state_arrays())
    pickled = pickle.loads(pickle.dumps(buffer))
    expected = buffer.sample(8).observations
    for other in (loaded, pickled):
        assert torch.equal(other.sample(8).observations, expected)


def test_frames_reach_a_device_once(monkeypatch):
    """As they do for images alone; the CPU stands in for a GPU."""
    packing = Packing(SHAPES["two"])
    buffer = make(packing, 3, size=400)
    play([buffer], packing, 3, 40)
    slots, envs = np.array([[3, 10], [4, 11], [5, 12]]), np.array([0, 1])
    expected = buffer._read_observations(slots, envs, None)
    stacks = buffer._stacks.read_on(torch.device("cpu"), slots, envs)
    rest = torch.as_tensor(buffer.unstacked[slots, envs])
    assert torch.equal(buffer._packed.join(rest, stacks), expected)


def test_images_that_are_no_stacks_are_refused():
    packing = Packing({"camera": (3, 4, 4), "joints": (2,)})
    with pytest.raises(
        ValueError, match=r"frame_stack=2 does not divide the channels of images of shape \(3, 4, 4\)"
    ):
        make(packing, 2)
