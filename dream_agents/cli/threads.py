"""How many threads a command computes on, decided before PyTorch is loaded.

Threads of one computation wait for each other by spinning. That is quickest where each has a processor. Where other
programs keep the processors busy, the threads spin while the one they wait for is not running: an update of 38 ms took
seconds. There it takes fewer threads, and threads that wait asleep.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping, Sequence
from pathlib import Path

#: commands that compute
_COMPUTING = ("train", "eval", "demo", "watch", "bench")
#: variables by which users choose the threads themselves
_CHOICES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_SAMPLE_SECONDS = 0.1
#: share of a processor that may be busy while it counts as free
_IDLE_ENOUGH = 0.25


def set_threads(arguments: Sequence[str], environment: MutableMapping[str, str]) -> str | None:
    """Set what has to be set before PyTorch is loaded, and return the line that says so.

    What the user has set stays. On a quiet machine nothing is set.

    :param arguments: of the command line, the sub-command first
    :param environment: ``os.environ``
    :return: None for a command that does not compute, and where nobody can tell how busy the machine is
    """
    if not arguments or arguments[0] not in _COMPUTING or {"--help", "--threads"} & set(arguments):
        return None
    chosen = next((name for name in _CHOICES if name in environment), None)
    if chosen is not None:
        return f"threads: {environment[chosen]}, by {chosen}"
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = free_processors(processors)
    if free is None:
        return None
    threads = max(1, int(free + _IDLE_ENOUGH))
    if threads >= processors:
        return f"threads: PyTorch's choice, since all {processors} processors are free"
    environment["OMP_NUM_THREADS"] = str(threads)
    asleep = "" if "OMP_WAIT_POLICY" in environment else ", which wait asleep"
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    return (
        f"threads: {threads}{asleep}, since {free:.1f} of {processors} processors are free "
        "(OMP_NUM_THREADS sets another number)"
    )


def free_processors(processors: int, stat: Path = Path("/proc/stat")) -> float | None:
    """How many of this process's processors nobody uses now; None where the system does not tell.

    :param processors: how many this process may use
    :param stat: where Linux counts the time of its processors
    """
    try:
        first = _idle_and_all(stat)
        time.sleep(_SAMPLE_SECONDS)
        last = _idle_and_all(stat)
    except (OSError, ValueError):
        return None
    idle, total = last[0] - first[0], last[1] - first[1]
    return processors * idle / total if total > 0 else None


def _idle_and_all(stat: Path) -> tuple[int, int]:
    name, *counts = stat.read_text().splitlines()[0].split()
    times = [int(count) for count in counts[:8]]  # user, nice, system, idle, iowait, irq, softirq, steal
    if name != "cpu" or len(times) < 5:
        raise ValueError(f"{stat} does not begin with the times of all processors")
    return times[3] + times[4], sum(times)
