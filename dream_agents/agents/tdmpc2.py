"""TD-MPC2 (Hansen et al. 2024)."""

from __future__ import annotations

from dream_agents.agents.base import WorldModelAgent


class TDMPC2(WorldModelAgent):
    """TD-MPC2: an implicit world model, and MPPI while learning and acting.

    Every keyword is documented at :class:`WorldModelAgent`, whose defaults are TD-MPC2's.

        >>> model = TDMPC2("dmc_walker-walk-v0", model_size="1M").learn(50_000, progress_bar=True)
    """
