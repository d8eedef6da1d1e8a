"""Runs an experiment's jobs with workers on this machine; interrupted at any moment, it goes on from where it was."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from dream_agents.experiments.about import invocation, refuse_less, write_about
from dream_agents.experiments.jobs import Job, check_jobs, jobs_of
from dream_agents.experiments.results import write_results
from dream_agents.experiments.spec import Experiment
from dream_agents.files import only_writer, write_json

#: what failed, and what runs said, in the experiment's folder
FAILURES, LOGS = "failures.json", "logs"

#: runs a command of ``dream-agents``, and ends with the process that started it, however that ended
_CHILD = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in a script's background ignore it
parent = int(sys.argv.pop(1))
def end_with_parent():
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
from dream_agents.cli import main
main()
"""


@dataclasses.dataclass(frozen=True)
class Failure:
    """A job that ended with an error.

    :param job: its name
    :param command: what was run
    :param error: the last that it said
    :param log: all that it said
    """

    job: str
    command: str
    error: str
    log: str


class Engine:
    """Trains and evaluates what an experiment asks for.

    What is finished is read off the folders of runs and evaluations, so that nothing is done twice, and a run that was
    interrupted goes on from its last checkpoint.

    :param experiment: what to do
    :param folder: where everything goes
    :param workers: processes side by side
    :param threads: of each
    :raises ValueError: for less than one worker or thread, unknown tasks, agents and planners, planners' options, and
        a report that makes no sense
    """

    def __init__(self, experiment: Experiment, folder: str | Path, workers: int = 2, threads: int = 1):
        from dream_agents.experiments.report.content import check_report  # it is about engines' folders

        if workers < 1 or threads < 1:
            raise ValueError(f"workers={workers}, threads={threads}: at least 1 of each is needed")
        self.experiment, self.folder = experiment, Path(folder)
        self.workers, self.threads = workers, threads
        self.jobs = jobs_of(experiment, self.folder)
        check_jobs(experiment)
        check_report(experiment)
        self.failures: list[Failure] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()

    def run(self, tick: Callable[[], None] | None = None, every: float = 1.0) -> list[Failure]:
        """Do all that is left; return what failed.

        :param tick: called every so often while jobs run, to show how far they are
        :param every: seconds between two calls
        :raises BlockingIOError: if another process runs the experiment in this folder
        :raises ValueError: if the folder holds another experiment
        """
        with only_writer(self.folder):
            left = self.begin()
            with ThreadPoolExecutor(self.workers) as pool, self._stopped_at_the_end():
                running: set[Future[Failure | None]] = {pool.submit(self.work, job) for job in left}
                while running:
                    finished, running = wait(running, every, FIRST_COMPLETED)
                    if tick is not None:
                        tick()
                    if finished:
                        self.keep(future.result() for future in finished)
            write_results(self.jobs, self.folder)
        return self.failures

    def begin(self) -> list[Job]:
        """Write down what is run, with what, where; return the jobs that are left.

        :raises ValueError: if the folder holds another experiment, or runs with more frames
        """
        left = [job for job in self.jobs if not job.is_done()]
        refuse_less(self.jobs, self.folder)
        write_about(self.experiment, self.folder, invocation(self.workers, self.threads) if left else None)
        self.failures = []
        self.keep([])  # errors of an earlier attempt say nothing of this one
        return left

    def keep(self, ended: Iterable[Failure | None]) -> None:
        """Write down what failed and the results so far.

        :param ended: what :meth:`work` returned for jobs that have ended
        """
        self.failures += [failure for failure in ended if failure is not None]
        try:
            write_json(self.folder / FAILURES, [dataclasses.asdict(failure) for failure in self.failures])
            write_results(self.jobs, self.folder)
        except OSError as error:
            warnings.warn(
                f"results in {self.folder} can't be written ({error}); they are when the next job ends",
                stacklevel=2,
            )

    @contextmanager
    def _stopped_at_the_end(self) -> Iterator[None]:
        """Interrupt what runs where the block is left early: runs write a checkpoint then."""
        try:
            yield
        except BaseException:
            self._stopping.set()
            for process in list(self._processes.values()):
                process.send_signal(signal.SIGINT)
            raise

    def work(self, job: Job) -> Failure | None:
        """Do one job; return its failure, None if it is done. Whatever goes wrong is this job's failure alone."""
        try:
            return self._work(job)
        except Exception as error:  # a full disk, a damaged file, no memory for another process
            return Failure(job.name, "", f"{type(error).__name__}: {error}", str(self._log(job)))

    def _work(self, job: Job) -> Failure | None:
        job.drop_outdated_evaluations()
        training = job.training()
        commands = [] if training is None else [training]
        for words in self._in_order(job, commands):
            if self._stopping.is_set():
                return None
            failure = self._run(job, words)
            if failure is not None:
                return None if self._stopping.is_set() else failure
        return None

    @staticmethod
    def _in_order(job: Job, commands: Sequence[list[str]]) -> Iterator[list[str]]:
        yield from commands
        yield from job.evaluations()  # what there is to evaluate is known once the run is finished

    def _log(self, job: Job) -> Path:
        return self.folder / LOGS / f"{job.name}.log"

    def _run(self, job: Job, words: list[str]) -> Failure | None:
        """Run a command of ``dream-agents`` in a process of its own."""
        log = self._log(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = shlex.join(["dream-agents", *words])
        with log.open("ab") as file:
            file.write(f"$ {command}\n".encode())
            file.flush()
            process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **thread_variables(self.threads)},
                start_new_session=True,  # Ctrl-C in the terminal reaches the engine, which passes it on
            )
            self._processes[job.name] = process
            if self._stopping.is_set():  # since the last look at it: nobody has interrupted this one
                process.send_signal(signal.SIGINT)
            code = process.wait()
            del self._processes[job.name]
        if code == 0:
            return None
        return Failure(job.name, command, _last_words(log, code), str(log))


def thread_variables(threads: int) -> dict[str, str]:
    """Variables of a worker's environment: so many threads, which do not spin while they wait."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {"OMP_WAIT_POLICY": "passive"} | {name: str(threads) for name in names}


def _last_words(log: Path, code: int) -> str:
    """The last line that the newest command in a log said, and how it ended."""
    newest = re.split(r"^\$ .*$", log.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)[-1]
    said = [line.strip() for line in newest.splitlines() if line.strip()]
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{said[-1]} ({ended})" if said else ended
