"""Make use of a GPU machine that is lent for a few minutes: bare but for PyTorch, without network.

    python scripts/gpu/borrowed.py OUT [--minutes 12] [--parallel 4] [--entries FILE] [--state FOLDER]

What is worth most comes first, and each part leaves its result in OUT as soon as there is one, so that the machine may
be taken back at any time:

1. ``tests.txt``: ``pytest -m gpu``
2. ``bench.json``, ``bench.txt``: ``dream-agents bench --device cuda``
3. ``runs-N.tar.gz``: trainings at 5M, several side by side, in the order of :data:`ENTRIES`; environments run in
   processes, plans are CUDA graphs where the planner can be captured, and so are updates

A part that is done is not done again with the same OUT; trainings go on from their checkpoints. At the end of the
minutes trainings are asked to stop, which writes a checkpoint. README.md says how to prepare such a machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: (environment, agent, seed, decisions) in order of worth
ENTRIES = [
    ("dmc_walker-walk-v0", "bmpc", 1, 100_000),
    ("dmc_walker-walk-v0", "tdmpc2", 1, 100_000),
    ("dmc_cup-catch-v0", "bmpc", 1, 50_000),
    ("dmc_cheetah-run-v0", "bmpc", 1, 250_000),
    ("dmc_walker-walk-v0", "bmpc", 2, 100_000),
    ("dmc_walker-walk-v0", "bmpc", 3, 100_000),
]
COMMAND = (sys.executable, "-c", "from dream_agents.cli import main; main()")
#: what comes back from such a machine
MOST_FILES, LARGEST_FILE = 8, 16 * 2**20
#: the trained agent in a run's folder
FINAL = "final.zip"
#: networks of a checkpoint; the rest of it, above all a replay buffer, is too large to come back
WEIGHTS = "weights.safetensors"
#: files of the first two parts
_OWN_FILES = 4
#: seconds kept for stopping and packing at the end
_CLOSING, _STOPPING = 60.0, 40.0
#: seconds between looks at the trainings, and between packings of what they have so far
_LOOK, _PACK = 1.0, 120.0

Entry = tuple[str, str, int, int]


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the parts in order."""
    options = parse(arguments)
    deadline = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    for part in (run_tests, run_bench):
        part(options.out, deadline - _CLOSING)
    entries = (
        ENTRIES if options.entries is None else [tuple(e) for e in json.loads(options.entries.read_text())]
    )
    train_all(entries, options.out, options.state, options.parallel, deadline - _CLOSING)


def parse(arguments: Sequence[str] | None) -> Any:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of what comes back")
    parser.add_argument("--minutes", type=float, default=12.0, help="minutes until all has to be written")
    parser.add_argument("--parallel", type=int, default=4, help="trainings side by side")
    parser.add_argument("--entries", type=Path, help="JSON list of [environment, agent, seed, decisions]")
    parser.add_argument("--state", type=Path, default=Path("runs"), help="folder of the trainings")
    return parser.parse_args(arguments)


def run_tests(out: Path, deadline: float) -> None:
    """Part 1: tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    once(out / "tests.txt", command, deadline)


def run_bench(out: Path, deadline: float) -> None:
    """Part 2: speed."""
    command = [*COMMAND, "bench", "--device", "cuda", "--json", str(out / "bench.json")]
    once(out / "bench.txt", command, deadline)


def once(result: Path, command: Sequence[str], deadline: float) -> None:
    """Run ``command`` into ``result`` unless it has run to its end before; what it printed stays in any case."""
    left = deadline - time.monotonic()
    if result.exists() or left <= 0:
        return
    partial = result.with_suffix(".part.txt")
    with partial.open("w") as file:
        try:
            status = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, timeout=left, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            print(f"{result.name}: cut off after {left:.0f} s", flush=True)
            return
        file.write(f"\nexit status {status}\n")
    partial.replace(result)


# ------------------------------------------------------------------ trainings


def training(entry: Entry, folder: Path) -> list[str]:
    """The command of one training, which begins or goes on."""
    env, agent, seed, decisions = entry
    resume = ["--resume"] if (folder / "args.json").exists() else []
    return [
        *(*COMMAND, "train", env, "--agent", agent, "--model-size", "5M", "--seed", str(seed)),
        *("--decisions", str(decisions), "--n-envs", "4", "--device", "cuda", "--checkpoint-every", "5000"),
        *("--set", "vec_env_cls=subproc", "--set", "learner_kwargs.autocast=bfloat16"),
        *("--out", str(folder), *resume),
    ]


def train_all(
    entries: Sequence[Entry],
    out: Path,
    state: Path,
    parallel: int,
    deadline: float,
    command: Callable[[Entry, Path], list[str]] = training,
) -> None:
    """Part 3: train side by side, best first, and pack what there is now and then and at the end.

    :param command: makes the command of an entry's training in a folder
    """
    state.mkdir(parents=True, exist_ok=True)
    waiting = [(entry, state / f"{entry[1]}-{entry[0]}-{entry[2]}") for entry in entries]
    waiting = [(entry, folder) for entry, folder in waiting if not (folder / "done").exists()]
    running: list[tuple[subprocess.Popen[bytes], Path]] = []
    packed = time.monotonic()
    try:
        while (waiting or running) and time.monotonic() < deadline:
            while waiting and len(running) < parallel:
                entry, folder = waiting.pop(0)
                running.append((start(command(entry, folder), folder), folder))
            running = [(process, folder) for process, folder in running if not ended(process, folder)]
            if time.monotonic() - packed > _PACK:
                pack(state, out)
                packed = time.monotonic()
            time.sleep(_LOOK)
    finally:
        stop([process for process, _ in running])
        for process, folder in running:
            ended(process, folder)
        pack(state, out)


def start(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a training that logs next to its folder, on one thread: the GPU does the work."""
    environment = {"MUJOCO_GL": "disabled", **os.environ, "OMP_NUM_THREADS": "1"}
    with folder.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def ended(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Whether the training is over; one that reached its end is marked, and is not started again."""
    status = process.poll()
    if status == 0 and (folder / FINAL).exists():
        (folder / "done").touch()
    return status is not None


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask trainings to stop, which writes a checkpoint, and end those that don't in time."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    until = time.monotonic() + _STOPPING
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --------------------------------------------------------------------- packing


def worth_keeping(state: Path) -> list[Path]:
    """Files of all trainings: logs and tables first, then final weights and the weights of last checkpoints."""
    files = [path for path in state.rglob("*") if path.is_file()]
    last = {path.parent.parent: path.parent for path in sorted(files) if path.name == WEIGHTS}
    kept = [
        path
        for path in files
        if "checkpoints" not in path.parts or (path.name == WEIGHTS and path.parent in last.values())
    ]
    return sorted(kept, key=lambda path: (size_of(path) > 2**20, path.relative_to(state).parts))


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if a training has just removed it."""
    return path.stat().st_size if path.exists() else 0


def pack(state: Path, out: Path) -> None:
    """Write what fits into archives that come back, each in place of the last one at once."""
    groups, left_out = share_out(worth_keeping(state))
    for number, paths in enumerate(groups):
        aside = out / "packing"
        with tarfile.open(aside, "w:gz") as archive:
            for path in paths:
                if path.exists():  # a training may have removed it just now
                    archive.add(path, path.relative_to(state))
        aside.replace(out / f"runs-{number}.tar.gz")
    if left_out:
        names = ", ".join(str(path.relative_to(state)) for path in left_out)
        print(f"left out of the archives: {names}", flush=True)


def share_out(paths: Sequence[Path]) -> tuple[list[list[Path]], list[Path]]:
    """Groups of files, each small enough to come back uncompressed, and files for which there is no room."""
    most, room = MOST_FILES - _OWN_FILES, LARGEST_FILE - 2**16
    groups: list[list[Path]] = []
    left_out, size = [], room
    for path in paths:
        needed = size_of(path) + 2**11  # with its header
        if needed > room or (size + needed > room and len(groups) == most):
            left_out.append(path)
            continue
        if size + needed > room:
            groups.append([])
            size = 0
        groups[-1].append(path)
        size += needed
    return groups, left_out


if __name__ == "__main__":
    main()
