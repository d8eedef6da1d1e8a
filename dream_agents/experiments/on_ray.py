"""An experiment on a Ray cluster: Ray's own tasks, retries and resources."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from dream_agents.experiments.engine import LOGS, Engine, Failure
from dream_agents.experiments.jobs import Job
from dream_agents.experiments.results import write_results
from dream_agents.files import only_writer

_RETRIES = 5


def run_on_ray(
    engine: Engine, address: str | None = None, tick: Callable[[], None] | None = None, every: float = 1.0
) -> list[Failure]:
    """Do all that is left of an experiment on a cluster; return what failed.

    A job whose node is lost is tried again elsewhere, and goes on from its last checkpoint: the experiment's folder has
    to be one that all nodes share.

    :param engine: of the experiment; its ``threads`` are what a job asks Ray for, its ``workers`` don't count
    :param address: of the cluster, ``"auto"`` for the one that this machine belongs to; None starts one here
    :param tick: as for :meth:`Engine.run`
    :param every: seconds between two calls of it
    :raises ImportError: if the extra ``ray`` is not installed
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(f"--ray needs Ray ({error}); pip install 'dream-agents[ray]'") from error
    ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
    with only_writer(engine.folder):
        remote = ray.remote(num_cpus=engine.threads, max_retries=_RETRIES)(_work)
        folder = engine.folder.absolute()  # a worker's own directory is another one
        left = [dataclasses.replace(job, folder=folder) for job in engine.begin()]
        running: dict[Any, Job] = {remote.remote(engine.threads, job): job for job in left}
        while running:
            finished, _ = ray.wait(list(running), timeout=every)
            if tick is not None:
                tick()
            if finished:
                engine.keep([_failure(reference, running.pop(reference)) for reference in finished])
        write_results(engine.jobs, engine.folder)
    return engine.failures


def _failure(reference: Any, job: Job) -> Failure | None:
    """What a job that has ended failed with, or how Ray lost it; None if it is done."""
    import ray

    try:
        failure: Failure | None = ray.get(reference)
    except ray.exceptions.RayError as error:  # no try is left
        return Failure(job.name, "", f"{type(error).__name__}: {error}", str(job.folder / LOGS))
    return failure


def _work(threads: int, job: Job) -> Failure | None:
    """Do a job on the node that Ray chose."""
    return Engine(job.experiment, job.folder, 1, threads).work(job)
