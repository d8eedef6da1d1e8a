"""The 14 locomotion tasks of HumanoidBench."""

from dream_agents.wrappers.humanoid_bench.tasks.balance import BalanceHard, BalanceSimple
from dream_agents.wrappers.humanoid_bench.tasks.base import Marker, Task, Terms
from dream_agents.wrappers.humanoid_bench.tasks.climbing import Slide, Stair
from dream_agents.wrappers.humanoid_bench.tasks.locomotion import Crawl, Hurdle, Run, Stand, Walk
from dream_agents.wrappers.humanoid_bench.tasks.maze import Maze
from dream_agents.wrappers.humanoid_bench.tasks.pole import Pole
from dream_agents.wrappers.humanoid_bench.tasks.reach import Reach
from dream_agents.wrappers.humanoid_bench.tasks.sitting import SitHard, SitSimple

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Stand(),
        Walk(),
        Run(),
        Hurdle(),
        Crawl(),
        Maze(),
        SitSimple(),
        SitHard(),
        BalanceSimple(),
        BalanceHard(),
        Stair(),
        Slide(),
        Pole(),
        Reach(),
    )
}
"""Every task by its name."""

__all__ = ["TASKS", "Marker", "Task", "Terms"]
