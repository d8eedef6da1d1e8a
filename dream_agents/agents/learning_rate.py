"""Learning rates that change while an agent learns."""

from __future__ import annotations

import math

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import LinearSchedule

_LINEAR = "lin_"


def make_schedule(learning_rate: float | str | Schedule) -> float | Schedule:
    """Turn RL Baselines3 Zoo's ``"lin_1e-3"``, from 1e-3 down to 0 at the end of ``learn``, into a schedule.

    Numbers and schedules are returned as they are.

    :raises ValueError: for any other text
    """
    if not isinstance(learning_rate, str):
        return learning_rate
    try:
        start = float(learning_rate.removeprefix(_LINEAR))
    except ValueError:
        start = 0.0
    if not (learning_rate.startswith(_LINEAR) and 0 < start < math.inf):
        raise ValueError(
            f'learning_rate="{learning_rate}" is not a schedule; pass a number, a function of the remaining progress '
            '(1 to 0), or "lin_" and a number above 0, e.g. "lin_1e-3", which falls linearly to 0'
        )
    return LinearSchedule(start, 0.0, 1.0)
