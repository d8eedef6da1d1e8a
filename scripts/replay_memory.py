"""Measure the memory that a replay buffer of stacked images takes.

    python scripts/replay_memory.py [--frames 50000] [--stack 3] [--size 64]

fills a buffer through `add`, step by step, and prints how much more memory is resident than before the buffer was
made (Linux only), and what a batch takes to draw.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from gymnasium import spaces

from dream_agents.replay import SequenceReplayBuffer

CHANNELS = 3
EPISODE = 500


def main() -> None:
    """Fill a buffer and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=50_000, help="frames stored")
    parser.add_argument("--stack", type=int, default=3, help="frames in an observation")
    parser.add_argument("--size", type=int, default=64, help="height and width")
    parser.add_argument("--batch", type=int, default=256, help="sub-sequences in a batch")
    arguments = parser.parse_args()
    shape = (arguments.stack * CHANNELS, arguments.size, arguments.size)
    frame = CHANNELS * arguments.size**2
    before = resident()
    buffer = SequenceReplayBuffer(
        arguments.frames,
        spaces.Box(0, 255, shape, np.uint8),
        spaces.Box(-1, 1, (6,), np.float32),
        "cpu",
        seed=0,
        frame_stack=arguments.stack,
    )
    print(f"empty: {(resident() - before) / 1e6:.1f} MB")
    began = time.perf_counter()
    fill(buffer)
    seconds = time.perf_counter() - began
    each = (resident() - before) / buffer.size()
    print(f"{buffer.size()} frames: {each * buffer.size() / 1e6:.1f} MB, {each:.0f} bytes each")
    print(f"a frame alone is {frame} bytes: {100 * (each / frame - 1):.1f}% more")
    print(f"add: {1e6 * seconds / buffer.size():.0f} microseconds with the making of the frames")
    print(f"sample: {1e3 * seconds_a_batch(buffer, arguments.batch):.2f} ms, {arguments.batch} sub-sequences")


def fill(buffer: SequenceReplayBuffer) -> None:
    """Play episodes of random frames until the buffer is full."""
    rng = np.random.default_rng(0)
    stacks, height, width = buffer.obs_shape
    frames = stacks // CHANNELS
    step = 0
    while not buffer.full:
        if step == 0:
            obs = np.tile(rng.integers(256, size=(CHANNELS, height, width), dtype=np.uint8), (frames, 1, 1))
        new = rng.integers(256, size=(CHANNELS, height, width), dtype=np.uint8)
        next_obs = np.concatenate([obs[CHANNELS:], new])
        done = step == EPISODE - 1
        action = rng.uniform(-1, 1, (1, buffer.action_dim))
        buffer.add(obs[None], next_obs[None], action, np.ones(1), np.array([done]), [{}])
        obs, step = next_obs, 0 if done else step + 1


def seconds_a_batch(buffer: SequenceReplayBuffer, batch_size: int, repeats: int = 30) -> float:
    """Return the median time of drawing a batch."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        buffer.sample(batch_size)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
