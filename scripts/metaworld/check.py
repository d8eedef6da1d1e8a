"""Measure our Meta-World environments against Meta-World's own, stepped twice a decision.

    python scripts/metaworld/check.py policies   # success of the scripted policies that Meta-World ships
    python scripts/metaworld/check.py speed      # decisions a second, random actions

Both are measured in one run, on the same goals.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
from metaworld.policies import ENV_POLICY_MAP

from dream_agents import make_env
from dream_agents.wrappers.metaworld import TASKS

PAPER = ("assembly", "button-press", "disassemble", "lever-pull")
PAPER += ("pick-place-wall", "push-back", "shelf-place", "window-open")
"""The tasks of the Dream-MPC paper, Table 9."""
DECISIONS = 100

Array = np.ndarray[Any, Any]


class Bare:
    """Meta-World's own environment, with a new goal every episode and two frames a decision."""

    def __init__(self, task: str) -> None:
        self.env = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-v3-goal-observable"](seed=0)
        self.env._freeze_rand_vec = False
        self.env.seeded_rand_vec = True

    def reset(self, seed: int) -> Array:
        """Start an episode with a frame without action."""
        self.env.seed(seed)
        self.env.reset()
        return self.env.step(np.zeros(4, np.float32))[0]

    def step(self, action: Array) -> tuple[Array, bool]:
        """Return the observation and the success of the second frame."""
        self.env.step(action)
        observation, _, _, _, info = self.env.step(action)
        return observation, bool(info["success"])


class Ours:
    """The environment of this package."""

    def __init__(self, task: str) -> None:
        self.env = make_env(f"metaworld_{task}-v3")

    def reset(self, seed: int) -> Array:
        """Start an episode."""
        return self.env.reset(seed=seed)[0]

    def step(self, action: Array) -> tuple[Array, bool]:
        """Return the observation and the success of a decision."""
        observation, _, _, _, info = self.env.step(action)
        return observation, bool(info["success"])


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=("policies", "speed"))
    parser.add_argument("tasks", nargs="*", help="policies: the paper's by default; speed: assembly")
    parser.add_argument("--all", action="store_true", help="measure every task")
    parser.add_argument("--episodes", type=int, default=20, help="policies: episodes of each task")
    parser.add_argument("--rounds", type=int, default=40, help="speed: episodes of each environment")
    arguments = parser.parse_args()
    default = PAPER if arguments.table == "policies" else ("assembly",)
    tasks = TASKS if arguments.all else tuple(arguments.tasks) or default
    if arguments.table == "policies":
        print_policies(tasks, arguments.episodes)
    else:
        print_speed(tasks, arguments.rounds)


def print_policies(tasks: tuple[str, ...], episodes: int) -> None:
    """Compare the success of scripted policies over the same goals.

    They were made for longer episodes of single frames, and some pass a success without staying there.
    """
    print(f"success of the scripted policies in {episodes} episodes of {DECISIONS} decisions")
    print(f"{'':28s}{'at the last decision':>24s}{'at any decision':>24s}")
    print(f"{'task':28s}{'ours':>12s}{'bare':>12s}{'ours':>12s}{'bare':>12s}")
    largest = 0.0
    for task in tasks:
        ours, bare = (_success(kind(task), task, episodes) for kind in (Ours, Bare))
        largest = max(largest, np.abs(ours - bare).max())
        print(f"{task:28s}{ours[0]:12.2f}{bare[0]:12.2f}{ours[1]:12.2f}{bare[1]:12.2f}", flush=True)
    print(f"largest difference: {100 * largest:.0f} points")


def _success(env: Ours | Bare, task: str, episodes: int) -> Array:
    """Return the share of episodes in which a scripted policy succeeds at the last and at any decision, [2]."""
    policy = ENV_POLICY_MAP[f"{task}-v3"]()
    ends = np.zeros((episodes, 2))
    for seed in range(episodes):
        observation = env.reset(seed)
        successes = []
        for _ in range(DECISIONS):
            observation, success = env.step(_action(policy, observation))
            successes.append(success)
        ends[seed] = successes[-1], any(successes)
    return ends.mean(axis=0)


def _action(policy: Any, observation: Array) -> Array:
    """Return a scripted action within the bounds, as Meta-World clips it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is beyond them
        return np.clip(policy.get_action(observation.astype(np.float64)), -1, 1).astype(np.float32)


def print_speed(tasks: tuple[str, ...], rounds: int) -> None:
    """Compare decisions a second, one thread, random actions, the resets apart."""
    print(f"decisions a second, median of {rounds} episodes of each in turns; resets in milliseconds")
    print(f"{'task':28s}{'ours':>8s}{'bare':>8s}{'ratio':>8s}{'reset':>10s}{'bare':>8s}")
    for task in tasks:
        ours, bare = Ours(task), Bare(task)
        seconds = np.array([(*_time(ours, seed), *_time(bare, seed)) for seed in range(rounds)])
        reset, play, bare_reset, bare_play = np.median(seconds, axis=0)
        ratio = float(np.median(seconds[:, 3] / seconds[:, 1]))
        figures = f"{DECISIONS / play:8.0f}{DECISIONS / bare_play:8.0f}{ratio:8.3f}"
        print(f"{task:28s}{figures}{1e3 * reset:10.1f}{1e3 * bare_reset:8.1f}", flush=True)


def _time(env: Ours | Bare, seed: int) -> tuple[float, float]:
    """Return the seconds of a reset and of an episode after it."""
    actions = np.random.default_rng(seed).uniform(-1, 1, (DECISIONS, 4)).astype(np.float32)
    reset = _seconds(lambda: env.reset(seed))
    return reset, _seconds(lambda: [env.step(action) for action in actions])


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
