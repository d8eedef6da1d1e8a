"""Meta-World: ``metaworld_<task>-v3``."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

from dream_agents.wrappers import gl
from dream_agents.wrappers.base import TableSuite, Task
from dream_agents.wrappers.divergence import INVALID_STEP, diverged
from dream_agents.wrappers.rendered import Array, RenderedEnv
from dream_agents.wrappers.repeat import ActionRepeat

_FRAMES = 200
_ACTION_REPEAT = 2
_OBSERVATION_SIZE = 39
_ACTION_SIZE = 4
_CAMERA, _CAMERA_POSITION = "corner2", (0.75, 0.075, 0.7)
_LARGEST_SHADOWS = 4096
_HOW_TO_INSTALL = (
    "pip install 'dream-agents[metaworld]'"
    if sys.version_info < (3, 14)
    else "Meta-World has no release for Python 3.14: use 3.10 to 3.13"
)

TASKS: tuple[str, ...] = (
    *("assembly", "basketball", "bin-picking", "box-close", "button-press-topdown"),
    *("button-press-topdown-wall", "button-press", "button-press-wall", "coffee-button", "coffee-pull"),
    *("coffee-push", "dial-turn", "disassemble", "door-close", "door-lock", "door-open", "door-unlock"),
    *("hand-insert", "drawer-close", "drawer-open", "faucet-open", "faucet-close", "hammer"),
    *("handle-press-side", "handle-press", "handle-pull-side", "handle-pull", "lever-pull"),
    *("pick-place-wall", "pick-out-of-hole", "pick-place", "plate-slide", "plate-slide-side"),
    *("plate-slide-back", "plate-slide-back-side", "peg-insert-side", "peg-unplug-side", "soccer"),
    *("stick-push", "stick-pull", "push", "push-wall", "push-back", "reach", "reach-wall", "shelf-place"),
    *("sweep-into", "sweep", "window-open", "window-close"),
)
"""Meta-World's tasks, in its order, so that listing them does not import it."""


class MetaWorldEnv(RenderedEnv, gym.utils.EzPickle):
    """A task of Meta-World (Yu et al. 2019) that shows its goal, one frame a step, without a time limit.

    As in the published learning curves, every episode draws a new goal or start of the object, and begins with a
    frame without action. A frame is 12.5 ms.

    Observations are [39]: position of the hand, opening of the gripper, positions and orientations of the objects
    (18 numbers, zeros where there are fewer), the same a frame earlier, and the goal's position. Actions are [4]: the
    hand's displacement and the gripper's force. Rewards are Meta-World's, 0 to 10 a frame; an episode never ends by
    itself; ``info["success"]`` tells, as 0.0 or 1.0, whether the task is solved at this frame. Where the physics
    diverges, the episode is truncated with the observation before, and ``info["invalid_step"]`` says so.

    `simulation` is Meta-World's own environment.

    :param task: one of `TASKS`
    :param render_mode: None, ``"rgb_array"`` or ``"depth_array"``
    :param height: of rendered images, in pixels
    :param width: of rendered images, in pixels
    :param camera: name or number of the camera
    :raises ImportError: if Meta-World is not installed
    :raises ValueError: if there is no such task, render mode or camera, or the size of images is not positive
    """

    metadata = {**RenderedEnv.metadata, "render_fps": 80, "episodic": False}  # noqa: RUF012

    def __init__(
        self,
        task: str,
        *,
        render_mode: str | None = None,
        height: int = 256,
        width: int = 256,
        camera: str | int = _CAMERA,
    ) -> None:
        gym.utils.EzPickle.__init__(
            self, task, render_mode=render_mode, height=height, width=width, camera=camera
        )
        self.simulation = _simulate(task)
        super().__init__(
            self.simulation.model,
            self.simulation.data,
            render_mode=render_mode,
            height=height,
            width=width,
            camera=camera,
        )
        _set_cameras_upright(self.model)
        # Shadows finer than the image are not seen, but take most of the time to draw without a GPU.
        self.model.vis.quality.shadowsize = min(8 * max(height, width), _LARGEST_SHADOWS)
        self.observation_space = Box(-np.inf, np.inf, (_OBSERVATION_SIZE,), np.float32)
        self.action_space = Box(-1.0, 1.0, (_ACTION_SIZE,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start an episode with a new goal; the observation is that after the frame without action."""
        super().reset(seed=seed)
        self.simulation.np_random = self.np_random  # its own reset() takes no seed
        self.simulation.reset()
        observation, *_ = self.simulation.step(np.zeros(_ACTION_SIZE, np.float32))
        self._observation = observation.astype(np.float32)
        return self._observation, {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Take one frame.

        :param action: [4], in [-1, 1]
        :raises ValueError: if it has another shape, or numbers that are not finite
        """
        action = np.asarray(action)
        if action.shape != (_ACTION_SIZE,) or not np.isfinite(action).all():
            raise ValueError(
                f"expected an action of {_ACTION_SIZE} finite numbers in [-1, 1], not {action!r}"
            )
        observation, reward, _, _, info = self.simulation.step(action)
        reason = diverged(self.data)
        if reason is not None:
            return self._observation, 0.0, False, True, {"success": 0.0, INVALID_STEP: reason}
        self._observation = observation.astype(np.float32)
        return self._observation, float(reward), False, False, info


def make_metaworld(
    task: str, *, action_repeat: int = _ACTION_REPEAT, render_mode: str | None = None, **options: Any
) -> gym.Env[Any, Any]:
    """Make a task of Meta-World, without a time limit in decisions.

    `gymnasium.make` and `make_env` add the limit.

    :param task: one of `TASKS`
    :param action_repeat: frames a decision
    :param render_mode: None, ``"rgb_array"`` or ``"depth_array"``
    :param options: further keyword arguments of `MetaWorldEnv`: `height`, `width` and `camera`
    """
    return ActionRepeat(MetaWorldEnv(task, render_mode=render_mode, **options), action_repeat)


# gymnasium.make reads the modes here: asked for "human", it opens a window that shows "rgb_array".
make_metaworld.metadata = {"render_modes": MetaWorldEnv.metadata["render_modes"]}  # type: ignore[attr-defined]


SUITE = TableSuite(
    "metaworld",
    (
        Task(
            id=f"metaworld_{task}-v3",
            entry_point="dream_agents.wrappers.metaworld:make_metaworld",
            kwargs={"task": task},
            aliases=(f"mw-{task}", f"metaworld_{task}"),  # TD-MPC2's first
            max_episode_steps=_FRAMES // _ACTION_REPEAT,
            action_repeat=_ACTION_REPEAT,
            episodic=False,
            observation_size=_OBSERVATION_SIZE,
            action_size=_ACTION_SIZE,
            sized_images=True,
        )
        for task in TASKS
    ),
)
"""Meta-World's 50 tasks: 100 decisions of 2 frames."""


def _simulate(task: str) -> Any:
    """Make Meta-World's own environment, which draws a goal from `np_random` on every reset and shows it.

    Its variants whose goals are observable do the same, but draw from NumPy's global state when they are made.

    :raises ValueError: if there is no such task
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r} is not one of Meta-World's: {', '.join(TASKS)}")
    simulation = _environments()[f"{task}-v3"]()
    simulation._set_task_called = True  # by drawing goals instead of setting tasks
    simulation._freeze_rand_vec = False
    simulation.seeded_rand_vec = True
    simulation._partially_observable = False
    del simulation.sawyer_observation_space  # cached with the goal hidden; observations are clipped to it
    simulation.max_path_length = sys.maxsize  # at which it would refuse to go on
    return simulation


@functools.cache
def _environments() -> Mapping[str, Any]:
    """Import Meta-World; return the classes of its environments by name."""
    try:
        gl.import_mujoco()  # before Meta-World does, which needs a backend that works
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    except ImportError as error:
        raise ImportError(
            f"the metaworld_* environments need Meta-World ({error}); {_HOW_TO_INSTALL}"
        ) from error
    environments: Mapping[str, Any] = ALL_V3_ENVIRONMENTS
    return environments


def _set_cameras_upright(model: Any) -> None:
    """Put the default camera where it belongs, and turn those round that stand on their head."""
    model.camera(_CAMERA).pos = _CAMERA_POSITION
    for index in range(model.ncam):
        upwards = model.cam_mat0[index].reshape(3, 3)[2, 1]  # vertical part of the image's upward direction
        if model.cam_bodyid[index] == 0 and upwards < 0:
            w, x, y, z = model.cam_quat[index]
            model.cam_quat[index] = (-z, y, -x, w)  # half a turn about the line of sight
