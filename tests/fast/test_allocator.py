"""Keeping freed memory: where glibc is the allocator and nobody else has set it."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from dream_agents.fast.allocator import keep_freed_memory
made = keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [torch.ones(2**19) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(made, faults())
"""


def run(**environment):
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=kept | environment, capture_output=True, text=True, check=True
    )
    made, faults = done.stdout.split()
    return made == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_blocks_are_not_cleared_again():
    made, faults = run()
    assert made
    assert faults < 10_000  # 20 rounds of 16 MB in pages of 4 kB are 80,000; the heap may grow once more


def test_the_users_setting_wins():
    assert run(MALLOC_TRIM_THRESHOLD_="131072")[0] is False
