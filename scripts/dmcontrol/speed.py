"""Measure what our DMControl environments cost compared with dm_control alone.

    python scripts/dmcontrol/speed.py

`state`: decisions a second through our stack, against dm_control's environment stepped twice. `pixels`: decisions a
second with images as observations, against `physics.render` of the same images alone. Blocks of both are timed in
turns, so that a busy moment of the machine meets both.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dream_agents import make_env

BLOCK = 50  # decisions of a block


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--domain", default="walker")
    parser.add_argument("--task", default="walk")
    parser.add_argument("--rounds", type=int, default=40, help="blocks of each")
    arguments = parser.parse_args()
    domain, task = arguments.domain, arguments.task
    print(f"{domain}-{task}: a second, median of {arguments.rounds} blocks of {BLOCK} each in turns")
    print(f"{'':10s}{'ours':>10s}{'bare':>10s}{'ratio':>8s}")
    id = f"dmc_{domain}-{task}-v0"
    watched = make_env(id, obs_type="pixels", seed=0)
    physics = watched.unwrapped.physics
    from dm_control import suite  # after our environment, which has chosen an OpenGL backend

    for name, ours, bare in (
        ("state", step_ours(make_env(id, seed=0)), step_bare(suite.load(domain, task))),
        ("pixels", step_ours(watched), lambda: physics.render(64, 64, camera_id=0)),
    ):
        seconds = np.array([(_seconds(ours), _seconds(bare)) for _ in range(arguments.rounds)])
        rates = BLOCK / np.median(seconds, axis=0)
        ratio = np.median(seconds[:, 1] / seconds[:, 0])
        print(f"{name:10s}{rates[0]:10.1f}{rates[1]:10.1f}{ratio:8.3f}", flush=True)
    watched.close()


def step_ours(env: Any) -> Callable[[], None]:
    """Return a function that takes one random decision in our environment."""
    actions = _random_actions(env.action_space.shape)
    env.reset()

    def step() -> None:
        truncated = env.step(next(actions))[3]
        if truncated:
            env.reset()

    return step


def step_bare(env: Any) -> Callable[[], None]:
    """Return a function that takes two frames with one random action in dm_control's environment."""
    actions = _random_actions(env.action_spec().shape)
    env.reset()

    def step() -> None:
        action = next(actions)
        env.step(action)
        if env.step(action).last():
            env.reset()

    return step


def _random_actions(shape: tuple[int, ...]) -> Iterator[Any]:
    """Return the same actions over and over."""
    return itertools.cycle(np.random.default_rng(0).uniform(-1, 1, (1000, *shape)).astype(np.float32))


def _seconds(run: Callable[[], Any]) -> float:
    """Time a block."""
    start = time.perf_counter()
    for _ in range(BLOCK):
        run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
