"""A suite of one environment, which is imported when it is made."""

from __future__ import annotations

from dream_agents.wrappers import TableSuite, Task

SUITE = TableSuite(
    "points",
    [
        Task(
            "points_home-v0",
            entry_point="example_plugin.points:Home",
            aliases=("points-home",),
            max_episode_steps=10,
            episodic=False,
        )
    ],
)
