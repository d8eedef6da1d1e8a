"""How long it takes to import the package and to load an embedded entry, in new processes.

    python scripts/zoo/load_time.py --processes 5

Prints the medians of the seconds from the start of ``import dream_agents`` to its end, and from ``from dream_agents
import zoo`` to the loaded agent, PyTorch having been imported before.
"""

import argparse
import statistics
import subprocess
import sys

IMPORT = """
import time
began = time.perf_counter()
import dream_agents
print(time.perf_counter() - began)
"""
LOAD = """
import time
import torch
began = time.perf_counter()
from dream_agents import zoo
zoo.load({name!r}, device="cpu")
print(time.perf_counter() - began)
"""
TORCH = """
import time
began = time.perf_counter()
import torch
print(time.perf_counter() - began)
"""


def measure(code: str, processes: int) -> list[float]:
    """Seconds that each of some new processes reports, after one that warms the file cache."""
    found = []
    for _ in range(processes + 1):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found.append(float(done.stdout.splitlines()[-1]))
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
        seconds = measure(code, options.processes)
        print(
            f"{title}: median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f} s"
        )


if __name__ == "__main__":
    main()
