"""What agents decide, as a file that needs neither PyTorch nor this package."""

from __future__ import annotations

import copy
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.policy import WorldModelPolicy
from dream_agents.agents.task import TrainingTask, observation_normalizer
from dream_agents.models.packing import ObsShape
from dream_agents.versions import package_versions
from dream_agents.wrappers.keyed import unkeyed
from dream_agents.wrappers.make import EnvLike

if TYPE_CHECKING:
    from dream_agents.export.check import Decision, Nudge
    from dream_agents.export.program import Actor, Program
    from dream_agents.export.writing import Exported
    from dream_agents.planners import Planner

#: observations of real episodes that an exported file is compared on
OBSERVATIONS = 100
#: decisions after which the next episode begins while they are gathered
_EPISODE = 50
#: seed of these episodes, unless they are played in the agent's own environment
_SEED = 0


class ExportingAgent(OffPolicyAlgorithm):
    """The part of every agent that writes controllers. An agent overrides :meth:`_exported_actor`."""

    task: TrainingTask
    native_observation_space: gym.Space[Any] | None

    def export(
        self,
        path: str | Path,
        format: str = "onnx",
        *,
        planner: str | Planner | None = None,
        n_envs: int = 1,
        deterministic: bool = True,
        env: EnvLike | VecEnv | None = None,
        observations: int = OBSERVATIONS,
        tolerance: float | None = None,
        card: dict[str, Any] | None = None,
    ) -> Exported:
        """Write what ``predict`` does as one file that other programs run, and ``controller.json`` in its folder.

            >>> model.export("walker/controller", planner="dream")
            >>> from dream_agents.deploy import Controller
            >>> action = Controller("walker/controller.onnx").act(observation)

        Where the agent learned in a ``VecNormalize``, its statistics are left out, with a warning.

        The file holds it all, from the environment's observation to an action in its units: a pure function, of which
        memory and random numbers are inputs. It is compared with ``predict`` before it is kept.

        :param path: the file, with or without the format's ending
        :param format: "onnx", for ONNX Runtime on any machine; or "pt2", compiled for processors like this one, which
            PyTorch's own loader runs (in C++, too) and which needs a C++ compiler here
        :param planner: a name in ``registry.planners`` or a planner; None for the agent's
        :param n_envs: environments a decision
        :param deterministic: whether to leave out exploration noise
        :param env: where real episodes are played for the comparison; None for the agent's environment
        :param observations: of them, on which actions are compared
        :param tolerance: largest difference of a component of an action, in units of half its range; None for 1e-4.
            Decisions may differ by more where ``predict`` itself moves by half of that when observation and weights
            change by a hundred-thousandth: gradients, and choices between plans that are as good as equal, make
            rounding large
        :param card: what ``controller.json`` says of the model; None for what the agent knows of itself
        :raises ExportError: (a ``ValueError``) if the planner can't be exported, or the file differs from ``predict``,
            saying where
        :raises ValueError: for an unknown format, and without an environment
        :raises ImportError: if a package is missing that the format needs
        """
        from dream_agents.export.check import TOLERANCE
        from dream_agents.export.writing import Job, target, write

        file = target(path, format)
        if n_envs < 1 or observations < 1:
            raise ValueError(f"n_envs={n_envs}, observations={observations}: at least 1 of each is needed")
        if observation_normalizer(self) is not None:
            warnings.warn(
                "it learned on observations that VecNormalize brought to another scale, which the file does not: "
                "give its Controller what VecNormalize.normalize_obs gives, or learn without VecNormalize",
                stacklevel=2,
            )
        with self._planning_by(planner):
            actor = self._exported_actor(deterministic)
            with self._episodes(env) as episodes:
                about = self._about(actor, deterministic, episodes, card)
                job = Job(
                    actor,
                    self._observed_space(),
                    self._obs_shape(),
                    self.action_space,  # type: ignore[arg-type]
                    n_envs,
                    about,
                )
                seen = self._gather(episodes, observations)
            return write(
                job,
                file,
                format,
                lambda program: list(self._decisions(program, seen, n_envs, deterministic)),
                TOLERANCE if tolerance is None else tolerance,
            )

    # --------------------------------------------------------------- hooks

    @classmethod
    def _check_fit(cls, saved: Mapping[str, Any], env: VecEnv) -> None:
        """Hook: raise a ValueError unless an agent with these attributes can act in an environment."""

    def _exported_actor(self, deterministic: bool) -> Actor:
        """Hook: what chooses actions in [-1, 1], as operations on tensors on the CPU.

        :raises ExportError: if it can't be exported
        """
        raise NotImplementedError

    def _obs_shape(self) -> ObsShape:
        """Hook: shape of what networks see."""
        raise NotImplementedError

    @contextmanager
    def _planning_by(self, planner: str | Planner | None) -> Iterator[None]:
        """Hook: have ``predict`` act by another planner within this."""
        if planner is not None:
            raise ValueError(f"planner={planner!r}: {type(self).__name__} has no world model to plan in")
        yield

    def _noise_of(
        self, program: Program, state: Any, starts: np.ndarray, deterministic: bool
    ) -> dict[str, Any]:
        """Hook: the noise that ``predict`` is about to draw, by the program's inputs."""
        return {}

    def _memory_of(self, program: Program, state: Any, n_envs: int) -> dict[str, np.ndarray]:
        """Hook: what ``predict`` remembers in ``state``, by the program's inputs."""
        return {}

    # ------------------------------------------------------------ the parts

    def _observed_space(self) -> gym.Space[Any]:
        native = self.native_observation_space
        return self.observation_space if native is None else native

    def _about(
        self, actor: Actor, deterministic: bool, episodes: VecEnv, card: dict[str, Any] | None
    ) -> dict[str, Any]:
        from dream_agents.export.description import options_of

        planner = getattr(self, "planner", None)
        return {
            "decides": actor.name,
            "planner": None
            if planner is None
            else {"class": type(planner).__name__, "options": options_of(planner)},
            "deterministic": deterministic,
            "noise_seed": int(getattr(self.policy, "seed", None) or 0),
            "control_period_s": control_period(episodes),
            "card": self._own_card() if card is None else card,
        }

    def _own_card(self) -> dict[str, Any]:
        return {
            "name": getattr(self, "base", None),
            "agent": type(self).__name__,
            "environment": self.task.env,
            "obs_type": self.task.obs_type,
            "decisions": getattr(self, "total_decisions", self.num_timesteps),
            "seed": self.seed,
            "versions": {"python": platform.python_version(), **package_versions()},
        }

    @contextmanager
    def _episodes(self, env: EnvLike | VecEnv | None) -> Iterator[VecEnv]:
        """An environment to play in: one, or the agent's own if it can't be made again."""
        if isinstance(env, VecEnv):
            yield env
        elif env is None and self.task.env is None:
            if self.env is None:
                raise ValueError(
                    "an exported file is compared with predict in real episodes, and this agent has no environment: "
                    "pass env="
                )
            yield self.env
        else:
            from dataclasses import replace

            task = self.task if env is None else self.task.changed_to(env)
            place = task.env if env is None else env
            assert place is not None
            made = replace(task, n_envs=1, vec_env_cls="dummy").make(place, monitor=False)
            try:
                self._check_fit(vars(self), made)
                yield made
            finally:
                if not isinstance(env, gym.Env):
                    made.close()

    def _gather(self, env: VecEnv, count: int) -> tuple[list[Any], list[bool]]:
        """Observations of episodes that ``predict`` plays, in the environment's own space, and where they start."""
        if env is not self.env:  # whose next episodes, when it learns, would be this seed's
            env.seed(_SEED)
        obs, state = env.reset(), None
        starts = np.ones(env.num_envs, bool)
        observations: list[Any] = []
        begins: list[bool] = []
        played = 0
        while len(observations) < count:
            # Of several environments the first is looked at, so that what is kept are whole pieces of episodes.
            observations.append(self._native(_row(obs, 0)))
            begins.append(bool(starts[0]))
            action, state = self.predict(obs, state, starts, deterministic=True)  # type: ignore[arg-type]
            obs, _, starts, _ = env.step(action)
            played += 1
            if played % _EPISODE == 0:
                obs, starts = env.reset(), np.ones(env.num_envs, bool)
        return observations, begins

    def _native(self, observation: Any) -> Any:
        """An observation of ``observation_space`` as one of the environment's own space."""
        native = self._observed_space()
        if native == self.observation_space or isinstance(native, spaces.Box):
            space = native if isinstance(native, spaces.Box) else None
            array = observation if space is None else np.asarray(observation)
            return (
                array if space is None or array.ndim == 3 else array.reshape(space.shape).astype(space.dtype)
            )
        if isinstance(observation, dict):
            return unkeyed(native, observation)
        return spaces.unflatten(native, np.asarray(observation))

    def _decisions(
        self, program: Program, seen: tuple[list[Any], list[bool]], n_envs: int, deterministic: bool
    ) -> Iterator[Decision]:
        """What ``predict`` decides on observations, each environment's in their order."""
        from dream_agents.export.check import Decision

        observations, begins = seen
        length = -(-len(observations) // n_envs)
        state: Any = None
        for step in range(length):
            rows = [(j * length + step) % len(observations) for j in range(n_envs)]
            batch = _stack([observations[row] for row in rows])
            starts = np.array([begins[row] or step == 0 for row in rows])
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(step)
                noise = self._noise_of(program, state, starts, deterministic)
                torch.manual_seed(step)
                memory = self._memory_of(program, state, n_envs)
                before = state
                action, state = self.predict(batch, before, starts, deterministic)

            def again(
                observation: Any,
                nudge: Nudge | None,
                step: int = step,
                before: Any = before,
                starts: Any = starts,
            ) -> np.ndarray:
                agent = self if nudge is None else _nudged(self, nudge)
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(step)
                    return np.asarray(agent.predict(observation, before, starts, deterministic)[0])

            yield Decision(batch, memory, starts, noise, np.asarray(action), again)


def control_period(env: VecEnv) -> float | None:
    """Seconds of an environment's time between decisions; None if it does not tell.

    dm_control's tasks, Gymnasium's MuJoCo environments and this package's are asked, and then the frames a second that
    a rendered video has, which are those of decisions.
    """
    from dream_agents.wrappers import task_info

    repeat = task_info(env).action_repeat
    asked: tuple[tuple[str, Callable[[Any], float]], ...] = (
        ("control_timestep", lambda step: step() * repeat),
        ("dt", lambda dt: float(dt) * repeat),
    )
    for name, seconds in asked:
        if env.has_attr(name):
            try:
                return round(float(seconds(env.get_attr(name, indices=[0])[0])), 9)
            except (TypeError, ValueError, AttributeError):
                continue
    (metadata,) = env.get_attr("metadata", indices=[0])
    fps = metadata.get("render_fps")
    return None if not fps else round(1 / fps, 9)


def _nudged(agent: ExportingAgent, nudge: Nudge) -> ExportingAgent:
    """An agent that decides by networks that are nudged, and shares all else."""
    changed = copy.copy(agent)
    changed.policy = copy.deepcopy(agent.policy)
    if isinstance(changed.policy, WorldModelPolicy):
        changed.policy.decide_plainly()  # calls the networks as modules
    with torch.no_grad():
        for parameter in changed.policy.parameters():
            parameter.copy_(torch.from_numpy(nudge.weights(parameter.cpu().numpy())))

    def stir(module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or output.dtype != torch.float32:
            return None
        array = output.detach().cpu().numpy()
        return output + torch.from_numpy(nudge.outputs(array) - array).to(output.device)

    for module in changed.policy.modules():
        module.register_forward_hook(stir)
    return changed


def _row(observation: Any, index: int) -> Any:
    if isinstance(observation, dict):
        return {name: part[index] for name, part in observation.items()}
    return observation[index]


def _stack(observations: list[Any]) -> Any:
    first = observations[0]
    if isinstance(first, dict):
        return {name: _stack([one[name] for one in observations]) for name in first}
    if isinstance(first, tuple):
        return tuple(_stack([one[i] for one in observations]) for i in range(len(first)))
    return np.stack(observations)
