"""The DeepMind Control Suite: ``dmc_<domain>-<task>-v0``."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import gymnasium as gym

from dream_agents.wrappers import dmcontrol_custom, gl
from dream_agents.wrappers.actions import UnitAction
from dream_agents.wrappers.base import TableSuite, Task
from dream_agents.wrappers.divergence import EndAtDivergence
from dream_agents.wrappers.dmcontrol_tasks import CUSTOM_TASKS, TASKS
from dream_agents.wrappers.repeat import ActionRepeat
from dream_agents.wrappers.spaces import normalize_action, normalize_observation

_FRAMES = 1000
_ACTION_REPEAT = 2
_RENDER_MODES = ("rgb_array", "depth_array")
_HOW_TO_INSTALL = "`dream-agents setup` installs what is missing"
_SHORT_DOMAINS = {"ball_in_cup": "cup", "point_mass": "pointmass"}


def make_dmcontrol(
    domain: str,
    task: str,
    *,
    render_mode: str | None = None,
    action_repeat: int = _ACTION_REPEAT,
    height: int = 240,
    width: int = 320,
    camera_id: int | str | None = None,
    task_kwargs: Mapping[str, Any] | None = None,
) -> gym.Env[Any, Any]:
    """Make a task of the DeepMind Control Suite, or one that TD-MPC2 added, without a time limit in decisions.

    `gymnasium.make` and `make_env` add the limit. `env.unwrapped` is Shimmy's environment, and
    `env.unwrapped.physics` dm_control's simulator. Where that diverges the episode ends, see `EndAtDivergence`.

    The LQR tasks differ: their actuators have no bounds, so actions in [-1, 1] are applied as they are; and
    their springs, drawn at random when dm_control makes them, are always seed 0's, so that every
    environment of one id is the same task (``task_kwargs={"random": 1}`` gives another).

    :param domain: dm_control's domain: ``"walker"``
    :param task: dm_control's task: ``"walk"``
    :param render_mode: None, ``"rgb_array"`` or ``"depth_array"``
    :param action_repeat: frames a decision
    :param height: of rendered images, in pixels
    :param width: of rendered images, in pixels
    :param camera_id: number or name of the camera; by default 0, and 2 (which follows) for quadruped
    :param task_kwargs: dm_control's own keyword arguments of the task
    :raises ValueError: if the render mode or the action repeat is none of the above
    :raises RenderingUnavailableError: if rendering is asked for where no OpenGL backend works
    """
    if render_mode is not None and render_mode not in _RENDER_MODES:
        raise ValueError(f"render_mode={render_mode!r} is not supported; choose from {_RENDER_MODES}")
    suite, compatibility = _import_without_gl()
    if render_mode is not None:
        _load_renderer()
    if camera_id is None:
        camera_id = 2 if domain == "quadruped" else 0
    defaults = {"random": 0} if domain == "lqr" else {}
    custom = any(row[:2] == (domain, task) for row in CUSTOM_TASKS)
    simulation = (dmcontrol_custom if custom else suite).load(
        domain,
        task,
        task_kwargs={**defaults, **(task_kwargs or {})},
        environment_kwargs={"flat_observation": True},  # in dm_control's order; a gymnasium.spaces.Dict sorts
    )
    if (domain, task) == ("quadruped", "escape"):
        _reset_without_gl(simulation.physics)
    render_kwargs = {"height": height, "width": width, "camera_id": camera_id}
    env: gym.Env[Any, Any] = compatibility(simulation, render_mode, render_kwargs)
    env = ActionRepeat(EndAtDivergence(env, _physics_error), action_repeat)
    env.metadata |= {
        "render_modes": list(_RENDER_MODES),
        "render_fps": 1 / (simulation.control_timestep() * action_repeat),
        "episodic": _is_episodic(domain),
    }
    env = normalize_observation(env)
    return UnitAction(env) if domain == "lqr" else normalize_action(env)


# gymnasium.make reads the modes here: asked for "human", it opens a window that shows "rgb_array".
make_dmcontrol.metadata = {"render_modes": list(_RENDER_MODES)}  # type: ignore[attr-defined]


def _is_episodic(domain: str) -> bool:
    """Tell whether episodes may end early: only LQR's do, once the system is at rest."""
    return domain == "lqr"


def _aliases(domain: str, task: str) -> tuple[str, ...]:
    """Return the other spellings: TD-MPC2's first, then the same with underscores, and Shimmy's."""
    spellings: list[str] = []
    domains = (_SHORT_DOMAINS.get(domain, domain), domain)
    for name in domains:
        spellings += [f"{name}-{task.replace('_', '-')}", f"{name}-{task}", f"{name}_{task}"]
    spellings += [f"dmc_{name}-{task}-v0" for name in domains]
    spellings += [f"dm_control/{domain}-{task}-v0"]
    return tuple(spelling for spelling in dict.fromkeys(spellings) if spelling != f"dmc_{domain}-{task}-v0")


SUITE = TableSuite(
    "dmc",
    (
        Task(
            id=f"dmc_{domain}-{task}-v0",
            entry_point="dream_agents.wrappers.dmcontrol:make_dmcontrol",
            kwargs={"domain": domain, "task": task},
            aliases=_aliases(domain, task),
            max_episode_steps=_FRAMES // _ACTION_REPEAT,
            action_repeat=_ACTION_REPEAT,
            episodic=_is_episodic(domain),
            observation_size=observation_size,
            action_size=action_size,
            sized_images=True,
        )
        for domain, task, observation_size, action_size in TASKS + CUSTOM_TASKS
    ),
)
"""Every task of `dm_control.suite.ALL_TASKS`, then those that TD-MPC2 added: 500 decisions of 2 frames."""


@functools.cache
def _import_without_gl() -> tuple[Any, Callable[..., gym.Env[Any, Any]]]:
    """Import dm_control.suite and Shimmy's wrapper; return both.

    dm_control chooses and opens an OpenGL backend when it is imported, which warns or fails where there is
    none. State observations need none: hence it is imported with rendering off, and a backend is loaded when
    the first image is asked for. Where the program has imported dm_control itself, it stays as it is.
    """
    first = "dm_control._render" not in sys.modules
    try:
        gl.import_mujoco()  # it chooses its own OpenGL context on import; leave it that
        with gl.switched_off() if first else nullcontext():
            from dm_control import _render, suite
            from shimmy.dm_control_compatibility import DmControlCompatibilityV0
    except ImportError as error:
        raise ImportError(
            f"the dmc_* environments need dm_control and Shimmy ({error}); {_HOW_TO_INSTALL}"
        ) from error
    if first:
        _render.Renderer = _render_on_demand
    return suite, DmControlCompatibilityV0


def _physics_error() -> type[Exception]:
    """What dm_control raises where the simulation diverges."""
    from dm_control.rl.control import PhysicsError

    error: type[Exception] = PhysicsError
    return error


def _render_on_demand(*args: Any, **kwargs: Any) -> Any:
    """Stand in for dm_control's OpenGL context until the first one is made."""
    _load_renderer()
    from dm_control import _render

    return _render.Renderer(*args, **kwargs)


def _load_renderer() -> None:
    """Have dm_control render with the backend that `gl.select_backend` chooses, and free it before it is too late.

    :raises RenderingUnavailableError: if none works
    """
    from dm_control import _render
    from dm_control._render import base

    if gl.select_backend() != _render.BACKEND:
        importlib.reload(_render)
    base.atexit = SimpleNamespace(register=gl.at_exit)


def _reset_without_gl(physics: Any) -> None:
    """Let a task with terrain start an episode without OpenGL.

    On every reset it sends the new terrain to the renderer through `physics.contexts`, which makes one if
    there is none. During resets, an existing renderer is returned and none made: one that is made later
    reads the terrain that is there by then.
    """
    base: Any = type(physics)

    class TerrainPhysics(base):
        _resetting = False

        @contextmanager
        def reset_context(self) -> Iterator[Any]:
            self._resetting = True
            try:
                with super().reset_context():
                    yield self
            finally:
                self._resetting = False

        @property
        def contexts(self) -> Any:
            return self._contexts if self._resetting else super().contexts

    physics.__class__ = TerrainPhysics
