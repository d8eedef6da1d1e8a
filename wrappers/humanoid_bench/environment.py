"""HumanoidBench's environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

from dream_agents.wrappers import gl
from dream_agents.wrappers.divergence import INVALID_STEP, diverged
from dream_agents.wrappers.humanoid_bench.building import Geometry, build_model, initial_qpos, marker_name
from dream_agents.wrappers.humanoid_bench.robots import ROBOTS, Robot, Senses
from dream_agents.wrappers.humanoid_bench.state import ORIGIN, State, Vector
from dream_agents.wrappers.humanoid_bench.tasks import TASKS, Task
from dream_agents.wrappers.rendered import Array, RenderedEnv

_SUBSTEPS = 10
_NOISE = 0.01


class HumanoidBenchEnv(RenderedEnv, gym.utils.EzPickle):
    """A humanoid robot at a task of HumanoidBench (Sferrazza et al. 2024), without a time limit.

    `gymnasium.make` and `make_env` add the limit, 1000 decisions. A decision is 10 simulator steps of 2 ms.
    Actions are position targets, [A] in [-1, 1], scaled to each actuator's range. Observations are qpos and qvel
    of everything that moves (at `reach`: of the robot, then the left hand's position and the goal). The reward's
    terms come back in `info`, with `success`: whether the episode's return has reached the benchmark's target. Where
    the physics diverges, the episode is truncated with the observation before, and `info["invalid_step"]` says so.

    :param robot: ``"h1"`` or ``"h1hand"`` (with two Shadow hands), or a `Robot`
    :param task: the task's name: ``"sit_hard"``, or a `Task`
    :param geometry: ``"builtin"``: bodies collide as primitives, and nothing is downloaded; or ``"official"``:
        as the benchmark's own meshes, from the folder that `DREAM_AGENTS_HUMANOID_BENCH` names or downloaded once
    :param early_termination: whether an episode ends when the robot falls; without, all are as long as the limit
    :param render_mode: None, ``"rgb_array"`` or ``"depth_array"``
    :param height: of rendered images, in pixels
    :param width: of rendered images, in pixels
    :param camera: name or number of the camera; by default the benchmark's for the task
    :raises ValueError: if there is no such robot, task, geometry, render mode or camera, the size of images is
        not positive, or the robot's or the task's sizes are not the model's
    :raises AssetsUnavailableError: if the official files are neither there nor to be had
    """

    metadata = {**RenderedEnv.metadata, "render_fps": 50}  # noqa: RUF012
    _observed: Array

    def __init__(
        self,
        robot: str | Robot,
        task: str | Task,
        *,
        geometry: Geometry = "builtin",
        early_termination: bool = True,
        render_mode: str | None = None,
        height: int = 256,
        width: int = 256,
        camera: str | int | None = None,
    ) -> None:
        gym.utils.EzPickle.__init__(
            self,
            robot,
            task,
            geometry=geometry,
            early_termination=early_termination,
            render_mode=render_mode,
            height=height,
            width=width,
            camera=camera,
        )
        if not isinstance(early_termination, bool):
            raise ValueError(f"early_termination={early_termination!r} must be True or False")
        mujoco = gl.import_mujoco()
        self.robot = _find("robot", robot, ROBOTS, Robot)
        self.task = _find("task", task, TASKS, Task)
        self.early_termination = early_termination
        model = build_model(self.robot, self.task, geometry)
        _check_sizes(self.robot, self.task, model)
        super().__init__(
            model,
            mujoco.MjData(model),
            render_mode=render_mode,
            height=height,
            width=width,
            camera=camera if camera is not None else self.task.camera,
        )
        self.metadata = {**self.metadata, "episodic": self.task.episodic and early_termination}
        self._senses = Senses(self.robot, self.task, self.model, self.data)
        self._initial_qpos = initial_qpos(self.robot, self.task, self.model)
        self._low, high = self.model.actuator_ctrlrange.T
        self._range = high - self._low
        self.goal, self.stage, self._return = ORIGIN, 0, 0.0
        self.action_space = Box(-1.0, 1.0, (self.robot.action_size,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, self._observation().shape, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start an episode: the robot as the benchmark places it, with noise in each number of qpos."""
        super().reset(seed=seed)
        qpos = self._initial_qpos + self.np_random.uniform(-_NOISE, _NOISE, self.model.nq)
        self.task.place(self.np_random, qpos)
        self.set_state(qpos, np.zeros(self.model.nv), goal=self.task.goal(self.np_random))
        return self._observed, {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Take one decision.

        :param action: [A], in [-1, 1]
        :raises ValueError: if it has another shape, or numbers that are not finite
        """
        import mujoco

        targets = np.asarray(action, dtype=np.float64)
        if targets.shape != self.action_space.shape or not np.isfinite(targets).all():
            raise ValueError(
                f"expected an action of {self.robot.action_size} finite numbers in [-1, 1], not {action!r}"
            )
        self.data.ctrl[:] = self._low + (targets + 1) / 2 * self._range
        mujoco.mj_step(self.model, self.data, _SUBSTEPS)
        reason = diverged(self.data)
        if reason is not None:
            return self._observed, 0.0, False, True, {"success": False, INVALID_STEP: reason}
        state = self.state()
        reward, terms = self.task.reward(state)
        terminated = self.early_termination and bool(self.task.terminated(state))
        self.stage = self.task.next_stage(state)
        if "success" in terms:
            raise ValueError(
                f'the task "{self.task.name}" has a term "success", a name that info has already'
            )
        self._return += float(reward)
        info = {**terms, "success": self._return >= self.task.target}
        self._observed = self._observation()
        return self._observed, float(reward), terminated, False, info

    def state(self) -> State:
        """Return what the task's reward is made of, at this moment."""
        return self._senses.read(self.goal, self.stage)

    def set_state(self, qpos: Vector, qvel: Vector, *, goal: Vector = ORIGIN, stage: int = 0) -> None:
        """Put everything in a state, as at the start of an episode.

        :param qpos: [nq]
        :param qvel: [nv]
        :param goal: of the episode, [3], for a task that draws one
        :param stage: checkpoints reached, for a task that has some
        """
        import mujoco

        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self.model, self.data)
        self.goal, self.stage, self._return = np.array(goal, dtype=np.float64), stage, 0.0
        self._observed = self._observation()

    def _observation(self) -> Array:
        """Return what the agent observes, [O]."""
        data, size = self.data, self.robot.qpos_size
        if not self.task.observes_goal:
            return np.concatenate((data.qpos, data.qvel), dtype=np.float32)
        hand = self._senses.left_hand_position()
        parts = (data.qpos[:size], data.qvel[: size - 1], hand, self.goal)
        return np.concatenate(parts, dtype=np.float32)

    def _prepare_image(self) -> None:
        """Show where the task's markers are now."""
        for index, marker in enumerate(self.task.markers(self.goal, self.stage)):
            site = self.model.site(marker_name(index))
            site.pos, site.size, site.rgba = marker.position, [marker.radius] * 3, marker.rgba
            self.data.site_xpos[site.id] = marker.position


def _find(kind: str, value: Any, known: dict[str, Any], expected: type) -> Any:
    """Return the robot or task itself, or the known one of that name."""
    if isinstance(value, expected):
        return value
    if not isinstance(value, str) or value not in known:
        raise ValueError(
            f"{kind}={value!r} is neither one of {', '.join(known)}, nor an instance of {expected.__name__}"
        )
    return known[value]


def _check_sizes(robot: Robot, task: Task, model: Any) -> None:
    """Raise a `ValueError` if what a robot or task says of itself isn't true of the model."""
    props = model.nq - robot.qpos_size
    if model.nu != robot.action_size or props < 0:
        raise ValueError(
            f'the robot "{robot.name}" says qpos_size={robot.qpos_size} and action_size={robot.action_size}, but '
            f"its model has {model.nq - len(task.props)} and {model.nu}"
        )
    if props != len(task.props):
        raise ValueError(
            f'the task "{task.name}" furnishes free bodies with {props} numbers in qpos, but `props` has '
            f"{len(task.props)}: position and quaternion of each, seven numbers"
        )
