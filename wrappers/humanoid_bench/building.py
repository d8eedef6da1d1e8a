"""Builds the model of a robot at a task, in either geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from dream_agents.wrappers import gl
from dream_agents.wrappers.humanoid_bench.state import ORIGIN

if TYPE_CHECKING:
    import mujoco

    from dream_agents.wrappers.humanoid_bench.robots import Robot
    from dream_agents.wrappers.humanoid_bench.state import Vector
    from dream_agents.wrappers.humanoid_bench.tasks import Task

Geometry = Literal["builtin", "official"]
GEOMETRIES: tuple[Geometry, ...] = get_args(Geometry)
"""``"builtin"``: primitives, nothing to download; ``"official"``: the benchmark's own files and meshes."""

_GENERATE = "`python -m dream_agents.wrappers.humanoid_bench.generate FOLDER`"


def build_model(robot: Robot, task: Task, geometry: Geometry = "builtin") -> mujoco.MjModel:
    """Build the simulator's model of a robot at a task.

    :param robot: one of `ROBOTS`, or of one's own
    :param task: one of `TASKS`, or of one's own
    :param geometry: one of `GEOMETRIES`
    :raises ValueError: if there is no such geometry, or no model of this robot (and task) in it
    :raises AssetsUnavailableError: if the official files are neither there nor to be had
    """
    mujoco = gl.import_mujoco()
    if geometry == "builtin":
        path = robot.folder / f"{robot.name}.xml"
        if not path.is_file():
            raise ValueError(
                f'the robot "{robot.name}" has no model {path}: make it from its table with {_GENERATE}'
            )
        spec = mujoco.MjSpec.from_file(str(path))
        task.furnish(spec)
    elif geometry == "official":
        from dream_agents.wrappers.humanoid_bench.official import official_folder

        path = official_folder() / "envs" / f"{robot.name}_pos_{task.name}.xml"
        if not path.is_file():
            raise ValueError(
                f'the benchmark has no files of the robot "{robot.name}" at the task "{task.name}" ({path}): '
                'choose geometry="builtin"'
            )
        spec = mujoco.MjSpec.from_file(str(path))
        spec.visual.quality.shadowsize = 4096  # theirs takes a second an image without a GPU
    else:
        raise ValueError(f"geometry={geometry!r} is not one of {GEOMETRIES}")
    for index, _ in enumerate(task.markers(ORIGIN, 0)):
        spec.worldbody.add_site(name=marker_name(index), group=0)
    return spec.compile()


def marker_name(index: int) -> str:
    """Return the name of the site that shows a task's marker of this number."""
    return f"marker_{index}"


def initial_qpos(robot: Robot, task: Task, model: mujoco.MjModel) -> Vector:
    """Return where everything is at reset, before the noise, [nq]."""
    qpos = model.qpos0.copy()
    qpos[:3] = task.base_position
    for joint, angle in robot.home.items():
        qpos[model.joint(joint).qposadr] = angle
    qpos[robot.qpos_size :] = task.props
    return qpos
