"""Decisions a second, and how long the slowest take: in this package, compiled, and as exported files.

Weights are random, with heads that tell plans apart; sizes, not what networks learned, decide the
times. Only the adaptive planner in this package stops early where a step gains nothing; files take all steps.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from dream_agents.agents.tdmpc2 import TDMPC2
from dream_agents.annex import can_compile
from dream_agents.deploy import Controller
from dream_agents.evaluation.benchmark import ACTION_DIM, OBS_DIM, Measurement

PLANNERS = ("policy", "dream", "adaptive")
#: sizes, and the threads of a decision
CASES = (("1M", 1), ("5M", 1), ("5M", 2))
#: decisions of one way before the next way has its turn
_TURN = 50
#: of decisions that count, before which as many don't
_WARM_UP = 10
#: what is asked of ONNX Runtime, in decisions a second, and in milliseconds of the 99th percentile
_ASKED = {("dream", "1M", 1): (1000, 3.0), ("adaptive", "1M", 1): (500, 3.0), ("dream", "5M", 2): (300, None)}


@dataclass(frozen=True)
class Latency(Measurement):
    """Decisions a second by one way of deciding, and milliseconds that decisions take.

    :param p50: that half of them take at most
    :param p99: that all but a hundredth take at most
    :param largest: of all
    :param p99_target: what is asked of ``p99``, None where nothing is
    """

    p50: float = 0.0
    p99: float = 0.0
    largest: float = 0.0
    p99_target: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether both targets are met; None without one."""
        enough = super().reached
        return enough if self.p99_target is None else bool(enough) and self.p99 <= self.p99_target


def run_deploy_benchmark(
    repeats: int = 15,
    progress: Callable[[str], None] = lambda step: None,
    cases: Sequence[tuple[str, int]] = CASES,
    planners: Sequence[str] = PLANNERS,
) -> list[Measurement]:
    """Measure every planner in every way that this machine has.

    :param repeats: turns of 50 decisions of each way, which take turns so that a disturbance meets all
    :param progress: told what is done next
    :param cases: sizes, and the threads of a decision
    :param planners: their names
    :raises ImportError: if a package is missing that exporting needs
    """
    rows: list[Measurement] = []
    before = torch.get_num_threads()
    try:
        for size, threads in cases:
            torch.set_num_threads(threads)
            for planner in planners:
                rows += _measure(size, threads, planner, repeats, progress)
    finally:
        torch.set_num_threads(before)
    return rows


def _measure(
    size: str, threads: int, planner: str, repeats: int, progress: Callable[[str], None]
) -> Iterator[Latency]:
    name = f"{planner}, {size}, {threads} thread{'s' * (threads > 1)}"
    with _ways(size, threads, planner, lambda way: progress(f"{name}: {way}")) as ways:
        progress(name)
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, act in ways.items():
                times[way] += _turn(act)
    for way, seconds in times.items():
        asked, p99_target = _ASKED.get((planner, size, threads), (None, None))
        if way != "ONNX Runtime":
            asked = p99_target = None
        p50, p99, largest = (1e3 * float(np.percentile(seconds, share)) for share in (50, 99, 100))
        rate = len(seconds) / sum(seconds)
        yield Latency(f"{name}, {way}", rate, "decisions/s", asked, True, p50, p99, largest, p99_target)


def _turn(act: Callable[[np.ndarray], object]) -> list[float]:
    """Seconds of each decision of a turn, caches warm."""
    observations = np.random.default_rng(0).standard_normal((_WARM_UP + _TURN, OBS_DIM), np.float32)
    seconds = []
    for observation in observations:
        began = time.perf_counter()
        act(observation)
        seconds.append(time.perf_counter() - began)
    return seconds[_WARM_UP:]


@contextmanager
def _ways(
    size: str, threads: int, planner: str, progress: Callable[[str], None]
) -> Iterator[dict[str, Callable[[np.ndarray], object]]]:
    """What decides, by names: eager, compiled, ONNX Runtime and pt2, but for what can't be had here."""
    ways: dict[str, Callable[[np.ndarray], object]] = {"eager": _predict(_agent(size, planner))}
    with tempfile.TemporaryDirectory() as folder:
        formats = {"ONNX Runtime": "onnx"} if find_spec("onnxruntime") is not None else {}
        if can_compile():
            progress("compiling")
            compiled = _agent(size, planner)
            compiled.compile_planner()
            ways["compiled"] = _predict(compiled)
            formats["pt2"] = "pt2"
        for way, format in formats.items():
            progress(f"exporting, {format}")
            path = Path(folder) / format / "controller"
            exported = _agent(size, planner).export(path, format, observations=2, tolerance=2.0)
            ways[way] = Controller(exported.path, threads=threads).act
        yield ways


def _predict(agent: TDMPC2) -> Callable[[np.ndarray], object]:
    state: list[Any] = [None]

    def act(observation: np.ndarray) -> np.ndarray:
        action, state[0] = agent.predict(observation, state[0], deterministic=True)
        return action

    return act


def _agent(size: str, planner: str) -> TDMPC2:
    agent = TDMPC2(_Noise(), model_size=size, planner=planner, buffer_size=100, device="cpu", seed=0)
    torch.manual_seed(0)
    with torch.no_grad():  # heads begin with zeros, where all plans are equally good
        for name, parameter in agent.world_model.named_parameters():
            if name.startswith(("reward_head.", "value_heads.")) and not parameter.any():
                parameter.normal_(std=0.1)
    return agent


class _Noise(gym.Env[np.ndarray, np.ndarray]):
    """Observations that are normal numbers, as many as the walker's, and as many actions."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (ACTION_DIM,), np.float32)

    def _observe(self) -> np.ndarray:
        return self.np_random.standard_normal(OBS_DIM).astype(np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self._observe(), 0.0, False, False, {}
