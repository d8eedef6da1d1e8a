"""Speed of planners, updates and replay, as ratios measured in one run.

Times on different machines compare badly, so each is also divided by the time of a 512 x 512 x 512 float32 matrix
product on the same threads, measured in turns with it.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from dream_agents.agents.policy import WorldModelPolicy
from dream_agents.annex import can_compile, keep_freed_memory
from dream_agents.evaluation.evaluate import hardware_name
from dream_agents.learners.base import PLAN_MEAN, PLAN_STD, Backbone
from dream_agents.learners.bmpc import BMPCBackbone, BMPCConfig
from dream_agents.learners.tdmpc2 import TDMPC2Backbone, TDMPC2Config
from dream_agents.planners import Memory, Planner, make_planner
from dream_agents.replay import SequenceBatch, SequenceReplayBuffer
from dream_agents.versions import package_versions

OBS_DIM, ACTION_DIM, BATCH_SIZE, BUFFER_STEPS = 24, 6, 256, 1_000_000


@dataclass(frozen=True)
class Measurement:
    """One figure of the benchmark.

    :param name: what was measured
    :param value: the figure
    :param unit: what it counts
    :param target: what the project asks of it, None where it asks nothing
    :param at_least: whether ``target`` is a lower bound; an upper bound otherwise
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = True

    @property
    def reached(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


def describe_machine() -> dict[str, Any]:
    """Processor, threads and versions that the figures depend on."""
    return {
        "processor": hardware_name(torch.device("cpu")),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": package_versions(),
    }


def run_benchmark(
    repeats: int = 15, progress: Callable[[str], None] = lambda step: None
) -> list[Measurement]:
    """Measure everything with random weights: sizes, not what they learned, decide the times.

    :param repeats: rounds a median is taken over
    :param progress: told what is measured next
    """
    compiles = can_compile()
    rows = _planning(repeats, compiles, progress)
    rows += _control(repeats, compiles, progress)
    # So far the allocator was left as applications have it; from here on as in `learn` and `evaluate`.
    keep_freed_memory()
    progress("many environments")
    rows += [_many_environments("1M", repeats, target=4), _many_environments("5M", repeats)]
    progress("updates")
    rows += _updates(repeats)
    progress("the default agent")
    rows += _default_agent(repeats)
    return rows


def _planning(repeats: int, compiles: bool, progress: Callable[[str], None]) -> list[Measurement]:
    """Plans at 5M. What is asked of Dream-MPC is asked of it at its fastest, compiled where that can be done."""
    policy = _policy("5M")
    functions = {"matmul": _matmul(), "MPPI": _plan(policy, "mppi"), "Dream-MPC": _plan(policy, "dream")}
    functions["adaptive"] = _plan(policy, "adaptive")
    fastest, adaptive = "Dream-MPC", "adaptive"
    if compiles:
        fastest, adaptive = "compiled Dream-MPC", "compiled adaptive"
        progress("compiling, 5M")
        functions[fastest] = _compiled_plan(policy)
        functions[adaptive] = _compiled_plan(_policy("5M", "adaptive"))
    progress("planning, 5M")
    times = _in_turns(functions, repeats, dict.fromkeys(functions.keys() - {"MPPI"}, 10))
    rows = [Measurement("512x512x512 float32 matrix product", 1e3 * times["matmul"], "ms")]
    for name in list(functions)[2:]:
        target = {fastest: 35, adaptive: 10}.get(name)
        label = f"MPPI time / {name} time, 5M, 1 environment"
        rows.append(Measurement(label, times["MPPI"] / times[name], "x", target))
    label = f"{adaptive} time / {fastest} time, 5M, 1 environment"
    rows.append(Measurement(label, times[adaptive] / times[fastest], "x", 2, at_least=False))
    targets = {"MPPI": 190, fastest: 5}
    for name in list(functions)[1:]:
        rows.append(Measurement(f"{name} plan, 5M", 1e3 * times[name], "ms"))
        units = times[name] / times["matmul"]
        rows.append(Measurement(f"{name} plan, 5M", units, "matrix products", targets.get(name), False))
    return rows


def as_dict(rows: list[Measurement]) -> dict[str, Any]:
    """Machine and figures, ready for JSON."""
    return {
        "machine": describe_machine(),
        "measurements": [asdict(row) | {"reached": row.reached} for row in rows],
    }


def _policy(size: str, planner: str = "dream", backbone: type[Backbone] = TDMPC2Backbone) -> WorldModelPolicy:
    """A policy with random weights, made repeatable."""
    torch.manual_seed(0)
    kwargs = {"model_size": size, "discount": 0.99, "episodic": False}
    return WorldModelPolicy(
        spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32),
        spaces.Box(-1, 1, (ACTION_DIM,), np.float32),
        lambda _: 3e-4,
        backbone=backbone,
        model_kwargs=kwargs,
        planner=make_planner(planner),
    )


def _matmul() -> Callable[[], object]:
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    return lambda: a @ b


def _plan(policy: WorldModelPolicy, planner: str | Planner, n_envs: int = 1) -> Callable[[], object]:
    """Encode and plan once for ``n_envs`` environments, with the previous plan in memory."""
    planner = make_planner(planner)
    obs, memory, starts, generator = _inputs(policy, planner, n_envs)
    return lambda: policy.decider.plan(obs, memory, starts, planner, True, generator)


def _compiled_plan(policy: WorldModelPolicy) -> Callable[[], object]:
    """The same for one environment and the policy's own planner, compiled."""
    obs, memory, starts, generator = _inputs(policy, policy.planner, 1)
    policy.compile_planner()
    return lambda: policy.decider.act(obs, memory, starts, policy.planner, True, generator)


def _inputs(
    policy: WorldModelPolicy, planner: Planner, n_envs: int
) -> tuple[torch.Tensor, Memory, torch.Tensor, torch.Generator]:
    """Observations, memory, where episodes start, and random numbers."""
    starts = torch.zeros(n_envs, dtype=torch.bool)
    memory = policy.initial_memory(planner, n_envs)
    return torch.randn(n_envs, OBS_DIM), memory, starts, torch.Generator().manual_seed(0)


def _many_environments(size: str, repeats: int, target: float | None = None, n_envs: int = 16) -> Measurement:
    policy = _policy(size)
    one, many = _plan(policy, "dream"), _plan(policy, "dream", n_envs)
    times = _in_turns({"one": one, "many": many}, repeats, {"one": n_envs})
    name = f"{n_envs} Dream-MPC plans one by one / in one call, {size}"
    return Measurement(name, n_envs * times["one"] / times["many"], "x", target)


def _updates(repeats: int) -> list[Measurement]:
    """Updates at 5M in both precisions, and drawing their batch from a full buffer."""
    buffer = _full_buffer()
    batch = buffer.sample(BATCH_SIZE)
    times = _in_turns(
        {
            "matmul": _matmul(),
            "float32": _update(batch, None),
            "bfloat16": _update(batch, "bfloat16"),
            "sample": lambda: buffer.sample(BATCH_SIZE),
        },
        repeats,
        {"matmul": 10, "sample": 10},
    )
    rows = []
    for precision, target in (("float32", 170), ("bfloat16", 115)):
        name = f"TD-MPC2 update, 5M, batch {BATCH_SIZE}, {precision}"
        rows.append(Measurement(name, 1e3 * times[precision], "ms"))
        rows.append(Measurement(name, times[precision] / times["matmul"], "matrix products", target, False))
    share = 100 * times["sample"] / times["bfloat16"]
    name = f"drawing {BATCH_SIZE} sub-sequences of {BUFFER_STEPS:,} steps, share of a bfloat16 update"
    return [*rows, Measurement(name, share, "%", 1, at_least=False)]


def _update(batch: SequenceBatch, autocast: str | None) -> Callable[[], object]:
    learner = _learner(TDMPC2Backbone, TDMPC2Config(autocast=autocast))
    return lambda: learner.update(batch)


def _learner(backbone: type[Backbone], config: Any) -> Any:
    torch.manual_seed(0)
    model = backbone.build_world_model((OBS_DIM,), ACTION_DIM, "5M", 0.99, False)
    return backbone.build_learner(model, config, 3e-4, 0.01, torch.Generator().manual_seed(0))


def _default_agent(repeats: int) -> list[Measurement]:
    """What a decision of ``DreamMPC(id)`` takes while it learns: a plan, an update, and its share of planning again."""
    learner = _learner(BMPCBackbone, BMPCConfig())
    planner = make_planner("adaptive", **BMPCBackbone.planner_options("adaptive", "state"))
    policy = _policy("5M", backbone=BMPCBackbone)
    batch = _full_buffer().sample(BATCH_SIZE)
    plans = {PLAN_MEAN: torch.zeros_like(batch.actions), PLAN_STD: torch.ones_like(batch.actions)}
    batch = batch._replace(extra=plans)
    states = batch.observations[:-1, : learner.config.reanalyze_batch].flatten(0, 1)
    times = _in_turns(
        {
            "matmul": _matmul(),
            "plan": _plan(policy, planner),
            "update": lambda: learner.update(batch),
            "replan": lambda: learner.replan(states, planner),
        },
        repeats,
        {"matmul": 10, "plan": 10},
    )
    total = times["plan"] + times["update"] + times["replan"] / learner.config.reanalyze_interval
    name = "a decision of the default agent while learning, 5M"
    return [
        Measurement(name, 1e3 * total, "ms"),
        Measurement(name, total / times["matmul"], "matrix products", 200, at_least=False),
    ]


def _full_buffer() -> SequenceReplayBuffer:
    """A buffer of :data:`BUFFER_STEPS` random steps in episodes of 500."""
    observation_space = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
    action_space = spaces.Box(-1, 1, (ACTION_DIM,), np.float32)
    buffer = SequenceReplayBuffer(BUFFER_STEPS, observation_space, action_space, device="cpu", seed=0)
    rng = np.random.default_rng(0)
    arrays = buffer.state_arrays() | {
        "observations": rng.standard_normal((BUFFER_STEPS, 1, OBS_DIM), dtype=np.float32),
        "actions": rng.uniform(-1, 1, (BUFFER_STEPS, 1, ACTION_DIM)).astype(np.float32),
        "rewards": rng.random((BUFFER_STEPS, 1), dtype=np.float32),
        "terminated": np.zeros((BUFFER_STEPS, 1), np.float32),
        "episode_ids": np.arange(BUFFER_STEPS)[:, None] // 500,
        "filled": np.array([BUFFER_STEPS]),
    }
    buffer.load_state_arrays(arrays)
    return buffer


def _control(repeats: int, compiles: bool, progress: Callable[[str], None]) -> list[Measurement]:
    """Whole decisions, observation to action, as a control loop asks for them."""
    policies = {"Dream-MPC": _policy("1M")}
    if compiles:
        progress("compiling, 1M")
        policies["compiled Dream-MPC"] = _policy("1M")
        policies["compiled Dream-MPC"].compile_planner()
    progress("control")
    observation = np.random.default_rng(0).standard_normal(OBS_DIM).astype(np.float32)
    functions = {name: _decision(policy, observation) for name, policy in policies.items()}
    times = _in_turns(functions, repeats, dict.fromkeys(functions, 50))
    *others, fastest = times
    rows = [Measurement(f"{name}, 1M, 1 environment", 1 / times[name], "decisions/s") for name in others]
    name = f"{fastest}, 1M, 1 environment"
    return [*rows, Measurement(name, 1 / times[fastest], "decisions/s", 300)]


def _decision(policy: WorldModelPolicy, observation: np.ndarray) -> Callable[[], object]:
    _, state = policy.predict(observation, deterministic=True)
    return lambda: policy.predict(observation, state, deterministic=True)


def _in_turns(
    functions: dict[str, Callable[[], object]], repeats: int, calls: dict[str, int] | None = None
) -> dict[str, float]:
    """Median seconds a call, the functions taking turns so that a disturbance meets all of them.

    :param calls: calls in a turn, for short functions; each is timed by itself
    """
    calls = calls or {}
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(2):
        for function in functions.values():
            function()
    for _ in range(repeats):
        for name, function in functions.items():
            for _ in range(calls.get(name, 1)):
                began = time.perf_counter()
                function()
                samples[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in samples.items()}
