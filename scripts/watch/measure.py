"""Measure ``dream-agents watch``: pictures a second, memory, two visitors, and what it leaves behind.

    python scripts/watch/measure.py [--minutes 10] [--model dream_mpc-walker-walk ...] [--json FILE]

Each model runs in a process of its own, one after the other, with two visitors on its page who read all that it sends.
Every 20 seconds somebody pushes the robot, and in the first half the planner is switched. A name such as
``humanoid_h1-walk-v0`` stands for an agent that has not learned anything. Needs the extra ``watch``; Meta-World's
models need ``metaworld``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

MODELS = ("dream_mpc-walker-walk", "humanoid_h1-walk-v0", "dream_mpc-drawer-close")
PLANNERS = ("adaptive", "mppi", "policy", "dream")
_VISITORS, _PUSH_EVERY, _SAMPLE_EVERY = 2, 20.0, 5.0


def main() -> None:
    """Measure each model in turn and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=MODELS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        from dream_agents.cli.threads import set_threads

        print(set_threads(["watch"], os.environ), file=sys.stderr)  # as the command does
        print(json.dumps(measure(options.child, 60 * options.minutes)))
        return
    # A shell's background jobs ignore Ctrl-C, and so would the page that is started last.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows = []
    for name in options.model:
        command = [sys.executable, __file__, "--child", name, "--minutes", str(options.minutes)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(rows[-1]), flush=True)
    left = left_running()
    print(_table(rows))
    print(f"after Ctrl-C: {left}")
    if options.json:
        options.json.write_text(json.dumps({"minutes": options.minutes, "models": rows}, indent=1) + "\n")
    if left != "nothing left":
        sys.exit(1)


def measure(name: str, seconds: float) -> dict[str, Any]:
    """Run the page for so long, and return its figures."""
    from dream_agents.watch.page import Page

    page = Page(_session(name), port=0)
    shown: list[float] = []
    show = page._scene.show
    page._scene.show = lambda *a, **k: (shown.append(time.perf_counter()), show(*a, **k))[1]  # type: ignore[method-assign]
    ends = time.perf_counter() + seconds
    received: list[int] = [0] * _VISITORS
    memory: list[tuple[float, float]] = []
    switched: dict[str, list[float]] = {}
    workers = [
        threading.Thread(target=_visit, args=(page.port, ends, received, visitor), daemon=True)
        for visitor in range(_VISITORS)
    ]
    workers.append(threading.Thread(target=_sample, args=(ends, memory), daemon=True))
    workers.append(threading.Thread(target=_steer, args=(page, seconds, ends, switched), daemon=True))
    began, processor = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    page.run(seconds)
    processor = time.process_time() - processor
    page.close()
    for worker in workers:
        worker.join(5)
    gaps = [1e3 * (b - a) for a, b in itertools.pairwise(shown)]
    tail = memory[len(memory) * 6 // 10 :]  # before, planners are used for the first time
    return {
        "model": name,
        "seconds": round(seconds),
        "pictures_a_second": round(len(shown) / (time.perf_counter() - began), 1),
        "pictures_by_planner": {
            planner: round(_rate(shown, *span), 1) for planner, span in switched.items() if len(span) == 2
        },
        "gap_median_ms": round(statistics.median(gaps), 1),
        "gap_99_ms": round(sorted(gaps)[int(0.99 * len(gaps))], 1),
        "cores": round(processor / seconds, 2),
        "memory_mb": [round(memory[0][1]), round(tail[0][1]), round(memory[-1][1])],
        "memory_mb_a_minute": round(_slope(tail), 2),
        "pushes": int(seconds // _PUSH_EVERY),
        "visitor_mb": [round(count / 1e6, 1) for count in received],
    }


def _session(name: str) -> Any:
    from dream_agents import DreamMPC, make_env, zoo
    from dream_agents.evaluation.environments import task_of
    from dream_agents.watch import Session

    if name in zoo.names():
        model: Any = zoo.load(name)
    else:
        model = DreamMPC(name, model_size="1M", seed=0)
    place, options = task_of(model, None, None)
    return Session(model, lambda: make_env(place, **options))


def _steer(page: Any, seconds: float, ends: float, switched: dict[str, list[float]]) -> None:
    """Push now and then, go through the planners in the first half, and stay with the agent's own in the second."""
    own = page.session.planner_name
    plan = [own, *(planner for planner in PLANNERS if planner != own)]
    began = time.perf_counter()
    for number, planner in enumerate((*plan, own)):
        if number:
            page._planner.value = planner  # as a visitor's choice arrives
        first = number < len(plan)
        if first:
            switched[planner] = [time.perf_counter() + 1]
        until = began + seconds * (0.5 * (number + 1) / len(plan) if first else 1)
        while time.perf_counter() < min(until, ends):
            time.sleep(min(_PUSH_EVERY, max(0.0, until - time.perf_counter())))
            page._wish(lambda: page._push("+x"))
        if first:
            switched[planner].append(until)


def _rate(shown: list[float], start: float, end: float) -> float:
    return sum(start <= moment < end for moment in shown) / (end - start)


def _sample(ends: float, memory: list[tuple[float, float]]) -> None:
    while time.perf_counter() < ends - 1:
        memory.append((time.perf_counter(), resident_mb()))
        time.sleep(_SAMPLE_EVERY)


def resident_mb() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _slope(samples: list[tuple[float, float]]) -> float:
    """MB a minute, least squares."""
    times, values = zip(*samples, strict=True)
    return 60 * statistics.linear_regression(times, values).slope if len(samples) > 1 else 0.0


def _visit(port: int, ends: float, received: list[int], visitor: int) -> None:
    """Be a browser that reads what the page sends."""
    import viser
    from websockets.asyncio.client import connect

    async def read() -> None:
        protocol: Any = f"viser-v{viser.__version__}"
        async with connect(f"ws://127.0.0.1:{port}", subprotocols=[protocol], max_size=None) as page:
            while time.perf_counter() < ends:
                message = await asyncio.wait_for(page.recv(), 10)
                received[visitor] += len(message)

    try:
        asyncio.run(read())
    except Exception as error:  # the page is closed at the end of the measurement
        if time.perf_counter() < ends - 1:
            print(f"visitor {visitor}: {error!r}", file=sys.stderr)


def left_running() -> str:
    """Start the command, open its page, interrupt it, and say what is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "from dream_agents.cli import main; main()",
        "watch",
        MODELS[0],
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not _answers(port):
        time.sleep(0.5)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    code = process.wait(30)
    left = [p for p in Path("/proc").glob("[0-9]*/stat") if _session_of(p) == process.pid]
    if code or left or _answers(port):
        return f"exit code {code}, {len(left)} processes left, port {'open' if _answers(port) else 'closed'}"
    return "nothing left"


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _session_of(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return -1


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| model | pictures/s | longest gap (99%) | cores | memory | MB a minute |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        start, settled, end = row["memory_mb"]
        lines.append(
            f"| {row['model']} | {row['pictures_a_second']} | {row['gap_99_ms']} ms | {row['cores']} | "
            f"{start}, {settled}, {end} MB | {row['memory_mb_a_minute']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
