"""From agents, tasks and seeds to a table: experiments that are run, interrupted and gone on with by one command.

A file says what is trained and evaluated (:class:`Experiment`); :class:`Engine` runs it with workers on this machine,
:func:`~dream_agents.experiments.on_ray.run_on_ray` on a Ray cluster. ``dream-agents experiment`` is the command.
"""

from dream_agents.experiments.catalog import find_experiment, packaged_experiments
from dream_agents.experiments.engine import Engine
from dream_agents.experiments.jobs import Job, jobs_of
from dream_agents.experiments.narrowing import narrowed
from dream_agents.experiments.results import Row, collect, write_results
from dream_agents.experiments.spec import Experiment, read_experiment
from dream_agents.experiments.status import RunStatus, status_of

__all__ = [
    "Engine",
    "Experiment",
    "Job",
    "Row",
    "RunStatus",
    "collect",
    "find_experiment",
    "jobs_of",
    "narrowed",
    "packaged_experiments",
    "read_experiment",
    "status_of",
    "write_results",
]
