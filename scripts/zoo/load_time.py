"""How long it takes to import the package and to load an embedded entry, in new processes.

    python scripts/zoo/load_time.py --processes 5

Prints the medians of the seconds from the start of ``import dream_agents`` to its end, and from ``from dream_agents
import zoo`` to the loaded agent, PyTorch having been imported before; and the seconds of processor time in them, which
depend less on what else the machine does.
"""

import argparse
import statistics
import subprocess
import sys

IMPORT = """
import time
began, began_cpu = time.perf_counter(), time.process_time()
import dream_agents
print(time.perf_counter() - began, time.process_time() - began_cpu)
"""
LOAD = """
import time
import torch
began, began_cpu = time.perf_counter(), time.process_time()
from dream_agents import zoo
zoo.load({name!r}, device="cpu")
print(time.perf_counter() - began, time.process_time() - began_cpu)
"""
TORCH = """
import time
began, began_cpu = time.perf_counter(), time.process_time()
import torch
print(time.perf_counter() - began, time.process_time() - began_cpu)
"""


def measure(code: str, processes: int) -> list[tuple[float, float]]:
    """Seconds, and of processor time, that some new processes report, after one that warms the file cache."""
    found = []
    for _ in range(processes + 1):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        wall, cpu = map(float, done.stdout.splitlines()[-1].split())
        found.append((wall, cpu))
    return found[1:]


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=5, help="new processes for each figure")
    parser.add_argument("--name", default="dream_mpc-walker-walk", help="an embedded entry")
    options = parser.parse_args()
    rows = {
        "import dream_agents": IMPORT,
        f"zoo.load({options.name!r}) after import torch": LOAD.format(name=options.name),
        "import torch": TORCH,
    }
    for title, code in rows.items():
        wall, cpu = zip(*measure(code, options.processes), strict=True)
        spread = f"{min(wall):.2f} to {max(wall):.2f} s"
        processor = f"processor {statistics.median(cpu):.2f} s"
        print(f"{title}: median {statistics.median(wall):.2f} s ({spread}), {processor}")


if __name__ == "__main__":
    main()
