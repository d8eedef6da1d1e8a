"""Kills ``dream-agents train`` with SIGKILL at random moments, resumes it, and checks that nothing is lost.

    python scripts/kills.py --kills 54 --out /tmp/kills

Each agent learns in two environments in processes of their own, and is evaluated and writes checkpoints on the way.
Kills come in turns at any time from the start of the process on, at any time of learning, and while a checkpoint is
written. After each kill:

- no process of the run is left;
- the newest checkpoint is whole, has no fewer decisions than the one before, and lacks no more than the decisions
  since it was due;
- the resumed run says that it goes on from that checkpoint.

A run that is left alone after its kills has to come to its end in time, with every episode in its table once. An agent
with a world model then has to have the same table and the same weights as a run that was never killed. (SAC's
environments get a new seed when it is resumed.)

It needs Linux. The table on standard output has a row an agent; the exit code is 1 if anything was not as it should be.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

EPISODE, CHECKPOINT_EVERY, N_ENVS = 20, 40, 2
#: seconds that a run may take to its end, and that its processes may take to end after it was killed
LIMIT, GRACE = 600.0, 15.0

COMMON = {"vec_env_cls": "subproc", "learning_starts": 80, "batch_size": 8, "buffer_size": 2000}
MPPI = {"samples": 32, "policy_samples": 4, "elites": 8, "iterations": 2}
PROGRAM = (sys.executable, "-c", "from dream_agents.cli import main; main()")


@dataclass(frozen=True)
class Case:
    """How one agent is run.

    :param options: what is given by ``--set``
    :param arguments: further arguments
    :param env: the environment
    :param decisions: in all
    :param exact: whether a resumed run is bit for bit the one that was never stopped
    """

    options: dict[str, object] = field(default_factory=dict)
    arguments: tuple[str, ...] = ("--model-size", "1M")
    env: str = "Pendulum-v1"
    decisions: int = 240
    exact: bool = True


CASES = {
    "tdmpc2": Case(MPPI),
    "bmpc": Case(MPPI),
    "dream_mpc": Case(),
    "dreamer": Case({"sequence_length": 8, "horizon": 3, "train_freq": 4}),
    "sac": Case(arguments=(), decisions=1200, exact=False),
    "sac_ae": Case(arguments=(), env="dmc_cartpole-balance-v0", decisions=160, exact=False),
}


@dataclass
class Tally:
    """What happened to an agent's runs."""

    kills: int = 0
    while_writing: int = 0
    resumes: int = 0
    starts_over: int = 0
    lost: int = 0
    ends: int = 0
    same: int = 0
    problems: list[str] = field(default_factory=list)


class Campaign:
    """The runs of one agent.

    :param agent: its name
    :param folder: where runs go
    :param seed: of the moments at which they are killed
    """

    def __init__(self, agent: str, folder: Path, seed: int):
        self.agent, self.case, self.folder = agent, CASES[agent], folder / agent
        self.random, self.tally = random.Random(f"{agent} {seed}"), Tally()
        #: of a run from its start to its end, and of its learning alone
        self.seconds = self.learning = 0.0
        self.number = 0

    def run(self, kills: int) -> Tally:
        """Kill runs until there were so many kills, and let the last one end."""
        reference = self.folder / "reference"
        began = time.time()
        if not self._to_its_end(self._command(reference), reference):
            return self.tally
        self.seconds = time.time() - began
        self.learning = time.time() - (reference / "args.json").stat().st_mtime
        run = self._new_run()
        while self.tally.kills < kills and len(self.tally.problems) < 10:
            if self._start_and_kill(run):
                continue
            self._check_end(run, reference)
            run = self._new_run()
        if self._to_its_end(self._resume_command(run), run):
            self._check_end(run, reference)
        return self.tally

    # ------------------------------------------------------------- commands

    def _new_run(self) -> Path:
        self.number += 1
        return self.folder / f"run-{self.number}"

    def _command(self, run: Path) -> list[str]:
        case = self.case
        command = [*PROGRAM, "train", case.env, "--agent", self.agent]
        command += ["--decisions", str(case.decisions), "--n-envs", str(N_ENVS), *case.arguments]
        command += ["--checkpoint-every", str(CHECKPOINT_EVERY), "--eval-every", "80", "--eval-episodes", "2"]
        options = COMMON | case.options
        if case.env == "Pendulum-v1":
            options["env_kwargs.max_episode_steps"] = EPISODE
        for name, value in options.items():
            command += ["--set", f"{name}={value}"]
        return [*command, "--out", str(run)]

    def _resume_command(self, run: Path) -> list[str]:
        if not (run / "args.json").is_file():
            return self._command(run)
        return [*PROGRAM, "train", "--resume", "--out", str(run)]

    def _start(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)

    # ---------------------------------------------------------------- kills

    def _start_and_kill(self, run: Path) -> bool:
        """Start a run or go on with it, and kill it; return whether it was killed before its end."""
        before = newest_checkpoint(run)
        log = self.folder / f"{run.name}.{self.tally.kills}.log"
        process = self._start(self._resume_command(run), log)
        self._wait_for_the_moment(process, run)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            self.tally.while_writing += self.tally.kills % 3 == 2
            self.tally.kills += 1
            killed = True
        else:
            killed = False
            if process.returncode != 0:
                self._problem(f"{run.name} ended with exit code {process.returncode}", log)
        process.wait()
        self._check_processes(process.pid)
        self._check_resume(log, before)
        self._check_checkpoints(run, before)
        return killed

    def _wait_for_the_moment(self, process: subprocess.Popen[bytes], run: Path) -> None:
        """Wait until it is time for a kill, or the run has ended."""
        kind, learns, began = self.tally.kills % 3, run / "args.json", time.time()
        wait, writes = self.random.uniform(0.1, self.seconds), self.random.randint(1, 3)
        if kind == 1:
            wait = self.random.uniform(0, self.learning)
        was_writing = False
        while process.poll() is None and time.time() < began + LIMIT:
            if kind == 0 and time.time() > began + wait:
                return
            started = (
                learns.stat().st_mtime if learns.is_file() else 0.0
            )  # it is written before learning goes on
            if kind == 1 and began < started < time.time() - wait:
                return
            is_writing = kind == 2 and any((run / "checkpoints").glob(".unfinished_*"))
            writes -= is_writing and not was_writing
            was_writing = is_writing
            if kind == 2 and is_writing and writes == 0:
                time.sleep(self.random.uniform(0, 0.02))
                return
            time.sleep(0.001 if kind == 2 else 0.02)

    def _to_its_end(self, command: list[str], run: Path) -> bool:
        before = newest_checkpoint(run)
        log = self.folder / f"{run.name}.log"
        process = self._start(command, log)
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._problem(f"{run.name} did not end in {LIMIT:.0f} s", log)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False
        self._check_processes(process.pid)
        if process.returncode != 0:
            self._problem(f"{run.name} ended with exit code {process.returncode}", log)
            return False
        self._check_resume(log, before)
        return True

    # --------------------------------------------------------------- checks

    def _problem(self, text: str, log: Path | None = None) -> None:
        if log is not None:
            text += ": ..." + log.read_text(errors="replace")[-600:]
        self.tally.problems.append(text)
        print(f"{self.agent}: {text}", file=sys.stderr, flush=True)

    def _check_processes(self, session: int) -> None:
        """No process of the run's session may be left."""
        limit = time.monotonic() + GRACE
        while (left := processes_of(session)) and time.monotonic() < limit:
            time.sleep(0.05)
        if left:
            self._problem(f"processes {left} were left")
            for pid in left:
                os.kill(pid, signal.SIGKILL)

    def _check_resume(self, log: Path, checkpoint: int) -> None:
        """A run that got so far has to say that it went on from the newest checkpoint."""
        found = re.search(r"going on from decision (\d+)", log.read_text(errors="replace"))
        if found is None:
            return
        self.tally.resumes += 1
        if int(found[1]) != checkpoint:
            self._problem(f"it went on from decision {found[1]}, but the newest checkpoint has {checkpoint}")

    def _check_checkpoints(self, run: Path, before: int) -> None:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            now = newest_checkpoint(run)
        if told:
            self._problem(f"damaged: {told[0].message}")
        if now < before:
            self._problem(f"the newest checkpoint had {before} decisions, and now {now}")
        rows = episodes(run)
        lost = max([int(row["decisions"]) for row in rows], default=0) - now
        self.tally.lost = max(self.tally.lost, lost)
        if lost > 2 * CHECKPOINT_EVERY + N_ENVS:
            self._problem(f"{lost} decisions since the newest checkpoint")

    def _check_end(self, run: Path, reference: Path) -> None:
        """The finished run has to have everything, and be the one that was never killed where that can be."""
        if not (run / "final.zip").is_file():
            self._problem(f"{run.name} has no final.zip")
            return
        self.tally.ends += 1
        rows, expected = episodes(run), episodes(reference)
        if self.case.env == "Pendulum-v1":  # all episodes are as long
            where = [row["decisions"] for row in rows]
            if where != [row["decisions"] for row in expected]:
                self._problem(f"{run.name} has episodes that end at {where}")
        if not self.case.exact:
            return
        names = ("decisions", "return", "length")
        same_rows = [[row[name] for name in names] for row in rows] == [
            [row[name] for name in names] for row in expected
        ]
        weights = [load_file(next(folder.glob("final*.safetensors"))) for folder in (run, reference)]
        if same_rows and all(torch.equal(value, weights[1][name]) for name, value in weights[0].items()):
            self.tally.same += 1
        else:
            self._problem(f"{run.name} is not what it would have been (same episodes: {same_rows})")


def newest_checkpoint(run: Path) -> int:
    """Decisions of the newest checkpoint that is whole; 0 for none."""
    from dream_agents.agents.checkpoint import newest_good_checkpoint

    try:
        return int(newest_good_checkpoint(run / "checkpoints").name.rpartition("_")[2])
    except FileNotFoundError:
        return 0


def episodes(run: Path) -> list[dict[str, str]]:
    """Whole rows of the table of episodes."""
    path = run / "episodes.csv"
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return list(csv.DictReader(line for line in lines if line.endswith("\n")))


def processes_of(session: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(entry.name))
    return found


def main() -> int:
    """Run the campaign, print its table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=54, help="in all; every agent gets its share")
    parser.add_argument("--agents", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the runs; an agent's goes at its end"
    )
    parser.add_argument("--keep", action="store_true", help="keep the runs")
    arguments = parser.parse_args()
    share = -(-arguments.kills // len(arguments.agents))
    print("agent      kills  (writing)  resumes  lost at most  ends  same  problems", flush=True)
    problems = 0
    for agent in arguments.agents:
        campaign = Campaign(agent, arguments.out, arguments.seed)
        one = campaign.run(share)
        same = f"{one.same}" if campaign.case.exact else "-"
        print(
            f"{agent:<10} {one.kills:>5}  {one.while_writing:>9}  {one.resumes:>7}  {one.lost:>12}  {one.ends:>4}  "
            f"{same:>4}  {len(one.problems):>8}",
            flush=True,
        )
        problems += len(one.problems)
        if not arguments.keep and not one.problems:
            shutil.rmtree(campaign.folder)
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
