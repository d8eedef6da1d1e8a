"""Makes any environment, by name or ready-made, in the one form that the agents use."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from dream_agents.registry import PluginError, UnknownNameError, suites
from dream_agents.registry.environments import register_suite
from dream_agents.wrappers.base import Suite, Task
from dream_agents.wrappers.divergence import end_at_divergence
from dream_agents.wrappers.info import EnvInfo, task_info
from dream_agents.wrappers.keyed import has_pictures, obs_type_of
from dream_agents.wrappers.pixels import FRAME_STACK, IMAGE_SIZE, observe_pixels, observe_pixels_and_state
from dream_agents.wrappers.spaces import (
    is_image,
    keep_observation,
    normalize,
    normalize_action,
    with_native_spaces,
)

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

OBS_TYPES = ("state", "pixels", "pixels+state")
"""Values of `obs_type`."""

EnvLike = str | gym.Env[Any, Any] | Callable[[], gym.Env[Any, Any]]
"""An id or alias, a ready environment, or a function that makes one."""


def make_env(
    id: EnvLike,
    *,
    render_mode: str | None = None,
    obs_type: str | None = "state",
    seed: int | None = None,
    normalized: bool = True,
    frame_stack: int = FRAME_STACK,
    **options: Any,
) -> gym.Env[Any, Any]:
    """Make an environment: flat float32 observation or images, action in ``Box(-1, 1, (A,), float32)``.

        >>> env = make_env("dmc_walker-walk-v0", seed=1)
        >>> env = make_env("walker-walk")               # TD-MPC2's spelling
        >>> env = make_env("walker-walk", obs_type="pixels")
        >>> env = make_env("Pendulum-v1")               # any Gymnasium id with continuous actions
        >>> env = make_env(lambda: MyEnv(difficulty=3))

    :param id: an environment's id or alias, also with a module that registers it (``"module:id"``); or a
        ready `gymnasium.Env`, or a function without arguments that makes one. An environment that has the
        right spaces already is returned as it is; but where MuJoCo simulates it, episodes end where physics diverges.
    :param render_mode: as for `gymnasium.make`: ``"rgb_array"`` for images
    :param obs_type: what is observed: ``"state"``, a vector of numbers; or ``"pixels"``, the last three frames
        that the environment renders, uint8 ``Box(0, 255, (9, 64, 64))`` (see `observe_pixels`); or
        ``"pixels+state"``, a dictionary of both (see `observe_pixels_and_state`). Images that a ready environment
        observes stay as they are. None is ``"pixels+state"`` for an environment that observes images in a dictionary
        or a tuple, ``"pixels"`` for one that observes an image alone, and ``"state"`` for any other.
    :param seed: makes the environment's whole random stream, and that of `action_space.sample`,
        reproducible; `reset` without a seed continues the stream
    :param normalized: False keeps the environment's own actions, and its observations as far as Stable-Baselines3 can
        store them. An agent's `predict` acts in either.
    :param frame_stack: frames in an observation of pixels
    :param options: keyword arguments of the environment
    :raises UnknownNameError: (a `ValueError`) if no environment has that name
    :raises ValueError: if `obs_type` is unknown, or the environment's spaces cannot be brought into form
    :raises RenderingUnavailableError: if images are asked for where no OpenGL backend works
    :raises TypeError: if `id` is none of the above, or options are given with a ready environment
    """
    if obs_type is not None and obs_type not in OBS_TYPES:
        raise ValueError(f"obs_type={obs_type!r} is not supported; choose from {OBS_TYPES}")
    if isinstance(id, str):
        env = _make_by_id(id, obs_type, render_mode, options)
    else:
        env = _ready_made(id, render_mode, options)
    _check_reset(env)
    env = _in_form(env, obs_type, normalized, frame_stack)
    if seed is not None:
        env.reset(seed=seed)
        env.action_space.seed(seed)
    return env


def make_vec_env(
    id: EnvLike,
    n_envs: int = 1,
    *,
    seed: int | None = None,
    vec_env_cls: str | type[VecEnv] = "dummy",
    start_method: str | None = None,
    monitor: bool = True,
    **options: Any,
) -> VecEnv:
    """Make a Stable-Baselines3 `VecEnv` of `n_envs` environments, each as `make_env` makes it.

    :param id: as for `make_env`; a ready environment can only be the one environment of a ``"dummy"``
    :param n_envs: number of environments
    :param seed: the i-th environment is seeded with ``seed + i``
    :param vec_env_cls: ``"dummy"`` (one after the other, in this process), ``"subproc"`` (one process each),
        or a class of Stable-Baselines3 of either kind
    :param start_method: how ``"subproc"`` starts processes: ``"forkserver"``, ``"spawn"`` or ``"fork"``
    :param monitor: wrap each in a `Monitor`, which reports episodes' returns and lengths
    :param options: further keyword arguments of `make_env`, as ``normalized``, and of the environment
    :raises ValueError: if `n_envs` is not positive, or the arguments do not fit together
    :raises ChildProcessError: if an environment cannot be made in a process of its own
    """
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    from dream_agents.wrappers.processes import ProcessVecEnv

    if n_envs < 1:
        raise ValueError(f"n_envs={n_envs}: at least one environment is needed")
    classes: dict[Any, Any] = {"dummy": DummyVecEnv, "subproc": ProcessVecEnv, SubprocVecEnv: ProcessVecEnv}
    vec_env_class: Any = classes.get(vec_env_cls, vec_env_cls)
    if isinstance(vec_env_class, str):
        raise ValueError(
            f'vec_env_cls={vec_env_cls!r} is not supported; choose "dummy", "subproc" or a class'
        )
    in_processes = issubclass(vec_env_class, SubprocVecEnv)
    if start_method is not None and not in_processes:
        raise ValueError('start_method is only for vec_env_cls="subproc"')
    if isinstance(id, gym.Env) and (n_envs > 1 or in_processes):
        raise ValueError("a ready environment cannot be copied; pass its id or a function that makes one")
    kwargs = {"start_method": start_method} if in_processes else {}
    seeds = [None if seed is None else seed + rank for rank in range(n_envs)]
    makers = [partial(_make_one, id, one, monitor, options) for one in seeds]
    try:
        vec_env: VecEnv = vec_env_class(makers, **kwargs)
    except (EOFError, ConnectionError) as error:
        makers[0]().close()  # what it cannot do here either is raised here, where it can be read
        raise ChildProcessError(
            f"{_shown(id)} can be made in this process, but not in one of its own, which has printed why; what "
            'registers it has to be imported there, too: write "module:id", put what a script does under '
            'if __name__ == "__main__", or use vec_env_cls="dummy"'
        ) from error
    vec_env.seed(seed)
    return vec_env


def _shown(id: EnvLike) -> str:
    """Name in a message what environments are made of."""
    if isinstance(id, partial):
        made = id.args[0] if id.args and isinstance(id.args[0], str) else id.func
        return _shown(made)
    return repr(id) if isinstance(id, str) else getattr(id, "__qualname__", repr(id))


def describe(id: str) -> EnvInfo:
    """Describe one environment; it is made only where its suite does not know its sizes.

    :raises UnknownNameError: (a `ValueError`) if no environment has that name
    :raises ValueError: if it had to be made and its spaces cannot be brought into the agents' form
    """
    suite, canonical = resolve(id)
    task = suite.task(canonical)
    observation_size, action_size = task.observation_size, task.action_size
    action_repeat, limit, episodic = task.action_repeat, task.max_episode_steps, task.episodic
    if observation_size is None or action_size is None:
        env = make_env(canonical)
        observation_size, action_size = env.observation_space.shape[0], env.action_space.shape[0]  # type: ignore
        info = task_info(env)
        action_repeat, limit, episodic = info.action_repeat, info.max_episode_steps, info.episodic
        env.close()
    return EnvInfo(
        id=canonical,
        suite=suite.name,
        observation_size=observation_size,
        action_size=action_size,
        max_episode_steps=limit,
        action_repeat=action_repeat,
        episodic=episodic,
        aliases=task.aliases,
        target_return=task.target_return,
        random_return=task.random_return,
    )


def resolve(name: str) -> tuple[Suite, str]:
    """Return the suite that knows an environment's name, and the environment's id.

    :param name: an id or alias, also with a module to import first: ``"module:id"``
    :raises UnknownNameError: (a `ValueError`) if no suite knows it
    :raises ModuleNotFoundError: if the module cannot be imported
    """
    module, _, name = name.rpartition(":")
    if module:
        importlib.import_module(module)
    known: list[str] = []
    for suite in _suites():
        id = suite.resolve(name)
        if id is not None:
            return suite, id
        known += suite.names()
    raise UnknownNameError(
        "environment",
        name,
        known,
        'Its package may have to be imported first: write "package:id". `dream-agents envs` lists all ids.',
    )


def _suites() -> Iterator[Suite]:
    """Yield the suites: our own, Gymnasium's registry, then suites of other packages, imported only then."""
    for name in suites.builtin:
        yield suites.get(name)
    for name in suites.names():
        if name in suites.builtin:
            continue
        try:
            suite = suites.get(name)
        except PluginError as error:
            warnings.warn(str(error), stacklevel=4)
            continue
        register_suite(suite)
        yield suite


def _make_by_id(
    id: str, obs_type: str | None, render_mode: str | None, options: dict[str, Any]
) -> gym.Env[Any, Any]:
    """Make an environment of a suite, one that renders where that is observed."""
    suite, canonical = resolve(id)
    task = suite.task(canonical)
    renders = obs_type in ("pixels", "pixels+state")
    if renders and not task.sized_images:  # it may observe images itself, and never render
        env = suite.make(canonical, render_mode=render_mode, **options)
        if has_pictures(env.observation_space) or is_image(env.observation_space):
            return env
        env.close()
    if renders:
        render_mode, options = _image_options(task, render_mode, options)
    return suite.make(canonical, render_mode=render_mode, **options)


def _in_form(
    env: gym.Env[Any, Any], obs_type: str | None, normalized: bool, frame_stack: int
) -> gym.Env[Any, Any]:
    """Bring an environment into the agents' form, or only what it observes as far as that is needed."""
    obs_type = obs_type or obs_type_of(env.observation_space)
    if obs_type == "pixels+state":
        before = env
        env = observe_pixels_and_state(env, frame_stack)
        before = before if has_pictures(before.observation_space) else env
        return with_native_spaces(normalize_action(env) if normalized else env, before, normalized)
    if obs_type == "pixels":
        env = observe_pixels(env, frame_stack)
        return with_native_spaces(normalize_action(env), env) if normalized else env
    return normalize(env) if normalized else with_native_spaces(keep_observation(env), env, False)


def _image_options(
    task: Task, render_mode: str | None, options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the render mode and the options with which an environment renders what is observed."""
    if render_mode not in (None, "rgb_array"):
        raise ValueError(
            f'render_mode={render_mode!r} does not go with obs_type="pixels" and "pixels+state", which observe what '
            'render_mode="rgb_array" shows; leave it out'
        )
    sizes = {"height": IMAGE_SIZE, "width": IMAGE_SIZE} if task.sized_images else {}
    return "rgb_array", sizes | options


def _ready_made(
    env: gym.Env[Any, Any] | Callable[[], gym.Env[Any, Any]], render_mode: str | None, options: dict[str, Any]
) -> gym.Env[Any, Any]:
    """Return the environment itself, or the one that a function makes."""
    if render_mode is not None or options:
        given = ", ".join([*options, *(["render_mode"] if render_mode is not None else [])])
        raise TypeError(
            f"{given}: only for an environment's id; a ready environment is made with its options"
        )
    made = env if isinstance(env, gym.Env) or not callable(env) else env()
    if not isinstance(made, gym.Env):
        raise TypeError(
            f"expected an environment's id, a gymnasium.Env or a function that makes one, not a {type(made)}"
        )
    return end_at_divergence(made)


def _check_reset(env: gym.Env[Any, Any]) -> None:
    """Raise a ValueError that says what to do for an environment whose `reset` is older than Gymnasium's."""
    parameters = inspect.signature(env.unwrapped.reset).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    missing = [name for name in ("seed", "options") if name not in parameters]
    if missing:
        raise ValueError(
            f"{type(env.unwrapped).__name__}.reset takes no {' and no '.join(missing)}, as Gymnasium's API has it; "
            "write def reset(self, *, seed=None, options=None)"
        )


def _make_one(id: EnvLike, seed: int | None, monitor: bool, options: dict[str, Any]) -> gym.Env[Any, Any]:
    """Make one environment of a VecEnv (at module level, so that other processes can call it)."""
    env = make_env(id, seed=seed, **options)
    if not monitor:
        return env
    from stable_baselines3.common.monitor import Monitor

    return Monitor(env)
