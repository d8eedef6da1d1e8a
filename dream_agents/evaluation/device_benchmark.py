"""Speed of plans, updates and bulk evaluation on one device, and what of it is spent launching kernels."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from gymnasium import spaces

from dream_agents.agents.policy import WorldModelPolicy
from dream_agents.annex import keep_freed_memory, make_updates
from dream_agents.evaluation.benchmark import ACTION_DIM, BATCH_SIZE, OBS_DIM, Measurement
from dream_agents.learners.tdmpc2 import TDMPC2Backbone, TDMPC2Config
from dream_agents.planners import make_planner
from dream_agents.replay import SequenceBatch

#: environments of bulk evaluation
N_ENVS = 256
#: calls before anything is timed; CUDA graphs are captured in these
_WARM_UP_CALLS = 5


def run_device_benchmark(
    device: torch.device | str,
    repeats: int = 15,
    size: str = "5M",
    progress: Callable[[str], None] = lambda step: None,
) -> list[Measurement]:
    """Measure with random weights on ``device``; where it is a GPU, also the share of time that it waits for kernels.

    :param device: where networks are
    :param repeats: calls that medians are taken over
    :param size: size of the networks
    :param progress: told what is measured next
    """
    keep_freed_memory()
    device = torch.device(device)
    rows: list[Measurement] = []
    for planner in ("dream", "adaptive", "mppi"):
        for n_envs in (1, N_ENVS):
            name = f"{planner} plan, {size}, {n_envs} environment{'s' if n_envs > 1 else ''}"
            progress(name)
            rows += _measure(name, _plan(device, size, planner, n_envs), device, repeats, n_envs)
    for autocast in (None, "bfloat16"):
        name = f"TD-MPC2 update, {size}, batch {BATCH_SIZE}, {autocast or 'float32'}"
        progress(name)
        rows += _measure(name, _update(device, size, autocast), device, repeats)
    return rows


def _plan(device: torch.device, size: str, planner: str, n_envs: int) -> Callable[[], object]:
    """Encode and plan once for ``n_envs`` environments."""
    torch.manual_seed(0)
    policy = WorldModelPolicy(
        spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32),
        spaces.Box(-1, 1, (ACTION_DIM,), np.float32),
        lambda _: 3e-4,
        backbone=TDMPC2Backbone,
        model_kwargs={"model_size": size, "discount": 0.99, "episodic": False},
        planner=make_planner(planner),
    ).to(device)
    memory = policy.initial_memory(policy.planner, n_envs)
    obs, starts = (
        torch.randn(n_envs, OBS_DIM, device=device),
        torch.zeros(n_envs, dtype=torch.bool).to(device),
    )
    generator = torch.Generator(device).manual_seed(0)
    return lambda: policy.decider.plan(obs, memory, starts, policy.planner, True, generator)


def _update(device: torch.device, size: str, autocast: str | None) -> Callable[[], object]:
    """An update on a batch that is on the device already."""
    torch.manual_seed(0)
    model = TDMPC2Backbone.build_world_model((OBS_DIM,), ACTION_DIM, size, 0.99, False).to(device)
    config = TDMPC2Config(autocast=autocast)
    learner = TDMPC2Backbone.build_learner(model, config, 3e-4, 0.01, torch.Generator(device).manual_seed(0))
    steps = (config.horizon, BATCH_SIZE)
    batch = SequenceBatch(
        torch.randn(steps[0] + 1, BATCH_SIZE, OBS_DIM, device=device),
        torch.rand(*steps, ACTION_DIM, device=device) * 2 - 1,
        torch.rand(steps, device=device),
        torch.zeros(steps, device=device),
    )
    updates = make_updates(learner)
    return lambda: updates.update(batch)


def _measure(
    name: str, function: Callable[[], object], device: torch.device, repeats: int, n_envs: int = 1
) -> list[Measurement]:
    """Milliseconds a call, plans a second where there are many, and on a GPU the share of launching."""
    for _ in range(_WARM_UP_CALLS):
        function()
    _wait_for(device)
    samples = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        _wait_for(device)
        samples.append(time.perf_counter() - began)
    seconds = statistics.median(samples)
    rows = [Measurement(name, 1e3 * seconds, "ms")]
    if n_envs > 1:
        rows.append(Measurement(f"    in one call, {n_envs} environments", n_envs / seconds, "plans/s"))
    if device.type == "cuda":
        share = launching_share(seconds, busy_seconds(function, device))
        rows.append(Measurement("    of which the GPU waits for kernels to be launched", share, "%"))
    return rows


def launching_share(seconds: float, busy: float) -> float:
    """Percentage of a call's ``seconds`` in which the device was not ``busy``; 0 where kernels overlap."""
    return 100 * max(0.0, 1 - busy / seconds)


def busy_seconds(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call in which the GPU computes, summed over its kernels."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        function()
        _wait_for(device)
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
