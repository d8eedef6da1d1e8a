"""The 11 tasks that TD-MPC2 added to the DeepMind Control Suite: dm_control's robots, other things to do.

They are defined here after Hansen et al., "TD-MPC2: Scalable, Robust World Models for Continuous Control"
(2024, appendix) and the rewards published with it, so that its checkpoints and learning curves have their
environments. dm_control's own registry is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def load(
    domain: str,
    task: str,
    task_kwargs: Mapping[str, Any] | None = None,
    environment_kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Make a `dm_control.rl.control.Environment`, as `dm_control.suite.load` does for its own tasks.

    :param domain: dm_control's domain: ``"walker"``
    :param task: ``"walk_backwards"``
    :param task_kwargs: ``random``, a seed or a `numpy.random.RandomState`, and ``time_limit``, in seconds
    :param environment_kwargs: of the environment
    :raises ValueError: if there is no such task
    """
    from dream_agents.wrappers.dmcontrol_custom.tasks import TASKS

    if (domain, task) not in TASKS:
        known = ", ".join("-".join(names) for names in TASKS)
        raise ValueError(f'"{domain}-{task}" is none of the tasks that TD-MPC2 added; there are {known}')
    return TASKS[domain, task].make(environment_kwargs or {}, **(task_kwargs or {}))
