"""Environment suites, and the functions that make environments in the one form that the agents use.

Importing this module imports Gymnasium, but no simulator and no Stable-Baselines3.
"""

import gymnasium  # noqa: F401  # first: once it is there the environments are registered, which imports the suites

from dream_agents.wrappers.actions import ActionScale, NativeAction, UnitAction
from dream_agents.wrappers.base import Suite, TableSuite, Task
from dream_agents.wrappers.gl import RenderingUnavailableError
from dream_agents.wrappers.humanoid_bench.official import AssetsUnavailableError
from dream_agents.wrappers.info import EnvInfo, TaskInfo, task_info
from dream_agents.wrappers.make import OBS_TYPES, describe, make_env, make_vec_env, resolve
from dream_agents.wrappers.pixels import observe_pixels, observe_pixels_and_state
from dream_agents.wrappers.repeat import ActionRepeat
from dream_agents.wrappers.spaces import native_spaces, normalize

__all__ = [
    "OBS_TYPES",
    "ActionRepeat",
    "ActionScale",
    "AssetsUnavailableError",
    "EnvInfo",
    "NativeAction",
    "RenderingUnavailableError",
    "Suite",
    "TableSuite",
    "Task",
    "TaskInfo",
    "UnitAction",
    "describe",
    "make_env",
    "make_vec_env",
    "native_spaces",
    "normalize",
    "observe_pixels",
    "observe_pixels_and_state",
    "resolve",
    "task_info",
]
