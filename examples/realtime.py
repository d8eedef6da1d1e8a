"""Control an environment at a fixed rate by an exported planner; show how long decisions take and how late they are.

    python examples/realtime.py dream_mpc-walker-walk                      # an entry of the zoo, exported first
    python examples/realtime.py walker/controller.onnx --env dmc_walker-walk-v0 --rate 200 --seconds 5

Every period it observes, decides and acts. The latency of a decision is the time from the observation to the action;
its jitter is how much later than planned it began. A decision that takes longer than a period makes the next one late.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dream_agents.deploy import Controller


def control(controller: Controller, env: Any, period: float, seconds: float) -> dict[str, Any]:
    """Act for so many seconds.

    :param controller: what decides
    :param env: a Gymnasium environment
    :param period: seconds between decisions
    :return: milliseconds of "latency" and "jitter" of each decision, and "returns" of episodes, the last one's so far
    """
    latency: list[float] = []
    jitter: list[float] = []
    returns: list[float] = [0.0]
    obs, _ = env.reset(seed=0)
    controller.reset()
    controller.act(obs)  # the first decision allocates memory
    controller.reset()
    began = time.perf_counter()
    for decision in range(round(seconds / period)):
        due = began + decision * period
        wait_until(due)
        now = time.perf_counter()
        action = controller.act(obs)
        latency.append(1e3 * (time.perf_counter() - now))
        jitter.append(1e3 * (now - due))
        obs, reward, terminated, truncated, _ = env.step(action)
        returns[-1] += float(reward)
        if terminated or truncated:
            obs, _ = env.reset()
            controller.reset()
            returns.append(0.0)
    return {"latency": latency, "jitter": jitter, "returns": returns}


def wait_until(due: float) -> None:
    """Sleep, and look at the clock for the last half a millisecond: sleeping ends late."""
    left = due - time.perf_counter()
    if left > 5e-4:
        time.sleep(left - 5e-4)
    while time.perf_counter() < due:
        pass


def histogram(name: str, milliseconds: list[float], width: int = 50) -> str:
    """A line for each range of times, each half as long again as the one before."""
    times = np.asarray(milliseconds)
    p50, p99 = np.percentile(times, [50, 99])
    lines = [f"{name}: 50% {p50:.2f} ms, 99% {p99:.2f} ms, largest {times.max():.2f} ms"]
    edges = [0.0, 0.05]
    while edges[-1] <= times.max():
        edges.append(1.5 * edges[-1])
    counts, _ = np.histogram(times, edges)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            bar = "#" * int(np.ceil(width * count / len(times)))
            lines.append(f"{low:8.2f} to {high:8.2f} ms {count:6d} {bar}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Load or export, act, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("controller", help="an exported file, or an entry of the zoo")
    parser.add_argument("--env", help="environment's id; by default the one in controller.json's card")
    parser.add_argument("--rate", type=float, help="decisions a second; by default the environment's own")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.controller)
        if not path.is_file():
            from dream_agents import zoo

            path = zoo.load(options.controller, device="cpu").export(Path(folder) / "controller").path
        controller = Controller(path, threads=options.threads)
        id = options.env or controller.description["card"]["environment"]
        period = 1 / options.rate if options.rate else controller.control_period
        if id is None or period is None:
            parser.error("controller.json does not say them: give --env and --rate")
        from dream_agents import make_env

        env = make_env(id)
        found = control(controller, env, period, options.seconds)
        env.close()
    print(f"{len(found['latency'])} decisions, one each {1e3 * period:g} ms")
    print("returns: " + ", ".join(f"{total:.1f}" for total in found["returns"]))
    print(histogram("latency", found["latency"]))
    print(histogram("jitter", found["jitter"]))


if __name__ == "__main__":
    main()
