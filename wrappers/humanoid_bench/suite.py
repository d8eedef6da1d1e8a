"""The suite: ``humanoid_<robot>-<task>-v0``."""

from __future__ import annotations

from dream_agents.wrappers.base import TableSuite
from dream_agents.wrappers.base import Task as Entry
from dream_agents.wrappers.humanoid_bench.robots import ROBOTS, Robot
from dream_agents.wrappers.humanoid_bench.tasks import TASKS, Task

_DECISIONS = 1000

RANDOM_RETURNS: dict[str, dict[str, float]] = {
    "h1": {
        "stand": 10.545,
        "walk": 2.377,
        "run": 2.02,
        "hurdle": 2.214,
        "crawl": 272.658,
        "maze": 106.441,
        "sit_simple": 9.393,
        "sit_hard": 2.448,
        "balance_simple": 9.391,
        "balance_hard": 9.044,
        "stair": 3.112,
        "slide": 3.191,
        "pole": 20.09,
        "reach": 260.302,
    },
    "h1hand": {
        "stand": 11.973,
        "walk": 2.505,
        "run": 1.927,
        "hurdle": 2.371,
        "crawl": 278.868,
        "maze": 106.233,
        "sit_simple": 10.768,
        "sit_hard": 2.477,
        "balance_simple": 10.17,
        "balance_hard": 10.032,
        "stair": 3.161,
        "slide": 3.142,
        "pole": 19.721,
        "reach": -50.024,
    },
}
"""Mean return of a uniform random policy, by robot and task: as published by Lee et al. 2025 ("SimbaV2"), 10 seeds of
10 episodes each."""


def _entry(robot: Robot, task: Task) -> Entry:
    """Describe one environment."""
    name = f"{robot.name}-{task.name}"
    props = len(task.props) // 7
    goal = 6 if task.observes_goal else 0
    return Entry(
        id=f"humanoid_{name}-v0",
        entry_point="dream_agents.wrappers.humanoid_bench.environment:HumanoidBenchEnv",
        kwargs={"robot": robot.name, "task": task.name},
        aliases=(f"humanoid_{name}", f"{name}-v0", name),
        max_episode_steps=_DECISIONS,
        episodic=task.episodic,
        observation_size=2 * robot.qpos_size - 1 + 13 * props + goal,
        action_size=robot.action_size,
        sized_images=True,
        target_return=task.target,
        random_return=RANDOM_RETURNS.get(robot.name, {}).get(task.name),
    )


SUITE = TableSuite(
    "humanoid_bench", (_entry(robot, task) for robot in ROBOTS.values() for task in TASKS.values())
)
"""HumanoidBench's 14 locomotion tasks for each robot: 1000 decisions of 20 ms."""
