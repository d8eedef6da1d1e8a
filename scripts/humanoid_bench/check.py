"""Measure how close our HumanoidBench is to the original, and how fast: the figures of docs/humanoid_bench.md.

    python scripts/humanoid_bench/check.py golden FOLDER   # steps recorded from the original (NPZ files)
    python scripts/humanoid_bench/check.py random          # returns of a uniform random policy
    python scripts/humanoid_bench/check.py speed           # decisions a second, random actions

Both geometries are measured in one run; the official one needs the benchmark's files (see the page).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np

from dream_agents import make_env
from dream_agents.wrappers import describe
from dream_agents.wrappers.humanoid_bench.building import GEOMETRIES
from dream_agents.wrappers.humanoid_bench.environment import HumanoidBenchEnv
from dream_agents.wrappers.humanoid_bench.suite import SUITE

BLOCK = 200  # decisions between changes of geometry, so that a busy moment of the machine meets both


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=("golden", "random", "speed"))
    parser.add_argument("folder", type=Path, nargs="?", help="golden: where the NPZ files are")
    parser.add_argument("--episodes", type=int, default=100, help="random: episodes of each environment")
    parser.add_argument("--hold", type=int, default=1, help="random: decisions that each action is held for")
    parser.add_argument("--decisions", type=int, default=2000, help="speed: decisions of each environment")
    parser.add_argument("--only", default="", help="part of the ids to measure")
    arguments = parser.parse_args()
    ids = [id for id in SUITE.ids() if arguments.only in id]
    if arguments.table == "golden":
        if arguments.folder is None:
            parser.error("golden needs the folder of the NPZ files")
        print_golden(ids, arguments.folder)
    elif arguments.table == "random":
        print_random(ids, arguments.episodes, arguments.hold)
    else:
        print_speed(ids, arguments.decisions)


def print_golden(ids: list[str], folder: Path) -> None:
    """Compare single decisions with recorded ones: set the state, step, compare."""
    print(f"{'':31s}{'reward error':>24s}{'qpos error':>20s}{'terminated':>12s}")
    print(f"{'id':31s}{'median':>8s}{'90%':>8s}{'max':>8s}{'all':>10s}{'free':>10s}{'equal':>12s}")
    for id in ids:
        golden = np.load(folder / f"{id.removeprefix('humanoid_')}.npz")
        free = _free_of_contact(id, golden)
        for geometry in GEOMETRIES:
            env: HumanoidBenchEnv = make_env(id, geometry=geometry).unwrapped
            rows = np.array([_golden_errors(env, golden, row) for row in range(len(golden["reward"]))])
            reward, qpos, terminated = rows.T
            alone = f"{np.median(qpos[free]):10.1e}" if free.any() else f"{'-':>10s}"
            figures = f"{np.median(reward):8.1e}{np.quantile(reward, 0.9):8.1e}{reward.max():8.1e}"
            figures += f"{np.median(qpos):10.1e}{alone}{terminated.mean():12.3f}"
            print(f"{id[9:]:22s} {geometry:8s}{figures}", flush=True)


def _golden_errors(
    env: HumanoidBenchEnv, golden: np.lib.npyio.NpzFile, row: int
) -> tuple[float, float, bool]:
    """Return the errors of reward and next qpos, and whether the end of the episode is told alike."""
    _put(env, golden, row)
    _, reward, terminated, _, _ = env.step(golden["action"][row])
    qpos_error = np.abs(env.data.qpos - golden["next_qpos"][row]).max()
    return abs(reward - golden["reward"][row]), qpos_error, terminated == golden["terminated"][row]


def _put(env: HumanoidBenchEnv, golden: np.lib.npyio.NpzFile, row: int) -> None:
    """Set the recorded state before a decision."""
    goal, stage = golden["goal"][row].astype(np.float64), int(golden["maze_stage"][row])
    env.set_state(golden["qpos"][row], golden["qvel"][row], goal=goal, stage=stage)


def _free_of_contact(id: str, golden: np.lib.npyio.NpzFile) -> np.ndarray:
    """Tell in which rows nothing touches anything during the decision, in the official geometry."""
    env: HumanoidBenchEnv = make_env(id, geometry="official").unwrapped
    low, high = env.model.actuator_ctrlrange.T
    free = np.ones(len(golden["reward"]), dtype=bool)
    for row in range(len(free)):
        _put(env, golden, row)
        env.data.ctrl[:] = low + (golden["action"][row] + 1) / 2 * (high - low)
        for _ in range(10):
            free[row] &= env.data.ncon == 0
            mujoco.mj_step(env.model, env.data)
        free[row] &= env.data.ncon == 0
    return free


def print_random(ids: list[str], episodes: int, hold: int) -> None:
    """Compare the returns of a uniform random policy in both geometries, and with the published ones."""
    print(f"mean return ± standard error of {episodes} episodes, seed 0, actions held for {hold} decisions")
    print(f"{'id':22s}{'builtin':>18s}{'official':>18s}{'published':>11s}")
    for id in ids:
        returns = {geometry: _random_returns(id, geometry, episodes, hold) for geometry in GEOMETRIES}
        figures = [f"{r.mean():9.2f} ± {r.std(ddof=1) / episodes**0.5:6.2f}" for r in returns.values()]
        print(f"{id[9:]:22s}{''.join(figures)}{describe(id).random_return:11.2f}", flush=True)


def _random_returns(id: str, geometry: str, episodes: int, hold: int) -> np.ndarray:
    """Return the returns of episodes with uniform random actions, each held for ``hold`` decisions."""
    env = make_env(id, geometry=geometry, seed=0)
    returns = np.zeros(episodes)
    for episode in range(episodes):
        env.reset()
        over, decision = False, 0
        while not over:
            if decision % hold == 0:
                action = env.action_space.sample()
            _, reward, terminated, truncated, _ = env.step(action)
            returns[episode] += reward
            over, decision = terminated or truncated, decision + 1
    return returns


def print_speed(ids: list[str], decisions: int) -> None:
    """Compare the decisions a second of both geometries, one thread, random actions, resets included."""
    print(f"decisions a second over {decisions} decisions of each, in turns of {BLOCK}")
    print(f"{'id':22s}{'builtin':>10s}{'official':>10s}{'ratio':>8s}")
    ratios: dict[str, list[float]] = {}
    for id in ids:
        runs = {geometry: _timed_blocks(id, geometry) for geometry in GEOMETRIES}
        seconds = dict.fromkeys(GEOMETRIES, 0.0)
        for _ in range(decisions // BLOCK):
            for geometry, run in runs.items():
                seconds[geometry] += next(run)
        builtin, official = (decisions / seconds[geometry] for geometry in GEOMETRIES)
        ratios.setdefault(id[9:].partition("-")[0], []).append(builtin / official)
        print(f"{id[9:]:22s}{builtin:10.0f}{official:10.0f}{builtin / official:8.2f}", flush=True)
    for robot, values in ratios.items():
        mean = float(np.exp(np.mean(np.log(values))))
        print(f"{robot}: {mean:.2f} (geometric mean; {min(values):.2f} to {max(values):.2f})")


def _timed_blocks(id: str, geometry: str) -> Iterator[float]:
    """Play on and on; yield the seconds that each block of decisions took."""
    env = make_env(id, geometry=geometry, seed=0)
    env.reset()
    while True:
        start = time.perf_counter()
        for _ in range(BLOCK):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        yield time.perf_counter() - start


if __name__ == "__main__":
    main()
