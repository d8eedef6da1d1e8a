"""From observations to actions by an exported file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dream_agents.deploy.description import ID, Array, arrays, changed, read
from dream_agents.deploy.errors import ControllerError
from dream_agents.deploy.observations import ObservationReader
from dream_agents.deploy.runtimes import load

_Draw = Callable[[np.random.Generator, Array], np.ndarray]
_DRAWS: dict[str, _Draw] = {
    "normal": lambda rng, array: rng.standard_normal(array.shape, np.float32),
    "uniform": lambda rng, array: rng.random(array.shape, np.float32),
    "exponential": lambda rng, array: rng.standard_exponential(array.shape, np.float32),
    "permutation": lambda rng, array: np.concatenate([rng.permutation(n) for n in array.lengths]),
}


class Controller:
    """An exported policy or planner. It keeps the plan and the recurrent memory from decision to decision.

        >>> controller = Controller("walker.onnx")
        >>> controller.reset()
        >>> action = controller.act(observation)

    :param path: what ``model.export`` wrote, ``.onnx`` or ``.pt2`` (which needs PyTorch), with its ``controller.json``
    :param threads: that a decision may use
    :param seed: of the noise that a planner draws: equal seeds and observations give equal actions. None for the
        exported model's
    :raises FileNotFoundError: if the file or its ``controller.json`` is missing
    :raises ControllerError: (a ``ValueError``) if one of them has changed, or they don't belong together
    """

    def __init__(self, path: str | Path, *, threads: int = 1, seed: int | None = None):
        path = Path(path)
        if threads < 1:
            raise ControllerError(f"threads={threads}: at least 1 is needed")
        content = read(path)
        differs = changed(path, content) is not None
        runtime = load(path, threads)
        found = runtime.metadata().get(ID)
        if found != content["id"]:
            raise ControllerError(
                f"{path.with_name('controller.json')} belongs to another export (id {content['id']}) than {path.name} "
                f"(id {found}); copy both from where they were exported"
            )
        if differs:
            raise ControllerError(
                f"{path} is not what was exported: its SHA-256 is not the one in controller.json, so its weights or "
                "operations have changed; copy it again, or export again"
            )
        self.path, self._runtime = path, runtime
        #: what ``controller.json`` says
        self.description: dict[str, Any] = content
        #: observations a call
        self.n_envs: int = content["n_envs"]
        #: seconds between decisions in the environment; None if it did not tell
        self.control_period: float | None = content.get("control_period_s")
        self.seed: int = content["noise_seed"] if seed is None else seed
        inputs, outputs = arrays(content["inputs"]), arrays(content["outputs"])
        self._observations = ObservationReader(
            [array for array in inputs if array.role == "observation"], content["observation"], self.n_envs
        )
        self._noise = [array for array in inputs if array.role == "noise"]
        self._feed = {array.name: np.zeros(array.shape, array.dtype) for array in inputs}
        self._starts = "episode_start" in self._feed
        self._outputs = outputs
        self._action = next(i for i, array in enumerate(outputs) if array.role == "action")
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin episodes in all environments: forget the plan, and draw the same noise as after the last reset.

        :param seed: of the noise from now on; None for the one before
        """
        self.seed = self.seed if seed is None else seed
        self._rng = np.random.default_rng(self.seed)
        self._next_start = np.ones(self.n_envs, bool)

    def act(self, observation: Any, episode_start: Any = None) -> np.ndarray:
        """Decide.

        :param observation: what the environment observes: one observation, or a batch of ``n_envs``; also as the flat
            vector that ``make_env`` gives
        :param episode_start: bool ``[n_envs]``: which environments begin an episode with this observation, where it is
            not all of them (see :meth:`reset`)
        :return: actions in the environment's units, inside its bounds: one, or a batch as the observation was
        :raises ControllerError: (a ``ValueError``) for what is no observation of the environment, and if an action is
            not finite
        """
        vectorized = self._observations.read(observation, self._feed)
        return self._decide(self._draw(), episode_start, vectorized)

    def act_with_noise(
        self, observation: Any, noise: Mapping[str, np.ndarray], episode_start: Any = None
    ) -> np.ndarray:
        """:meth:`act`, with the noise inputs by name instead of drawn ones.

        :raises ControllerError: for noise of another shape or name
        """
        expected = {array.name: array.shape for array in self._noise}
        given = {name: np.shape(value) for name, value in noise.items()}
        if given != expected:
            raise ControllerError(f"noise of shapes {given} was given, and {expected} are needed")
        vectorized = self._observations.read(observation, self._feed)
        return self._decide(noise, episode_start, vectorized)

    def _draw(self) -> dict[str, np.ndarray]:
        return {array.name: _DRAWS[array.distribution](self._rng, array) for array in self._noise}

    def _decide(self, noise: Mapping[str, np.ndarray], episode_start: Any, vectorized: bool) -> np.ndarray:
        starts = self._next_start
        if episode_start is not None:
            starts = starts | np.broadcast_to(np.asarray(episode_start, bool), starts.shape)
        if self._starts:
            self._feed["episode_start"] = starts
        for array in self._noise:
            self._feed[array.name] = np.asarray(noise[array.name], array.dtype)
        found = self._runtime.run(self._feed)
        action = found[self._action]
        if not np.isfinite(action).all():
            raise ControllerError(
                f"the action {action} is not finite; the observation was finite, so that it is the file's weights"
            )
        for array, value in zip(self._outputs, found, strict=True):
            if array.feeds:
                self._feed[array.feeds] = value
        self._next_start = np.zeros(self.n_envs, bool)
        return action if vectorized else action[0]
