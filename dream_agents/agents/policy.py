"""Stable-Baselines3's policy object: a world model and the planner that acts in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule

from dream_agents.agents.observations import make_encoding
from dream_agents.annex import make_decider
from dream_agents.learners.base import Backbone
from dream_agents.planners import Memory, Planner
from dream_agents.planners.decision import Decider, initial_memory
from dream_agents.wrappers import ActionScale
from dream_agents.wrappers.watched import check_finite

#: Recurrent memory and plan as Stable-Baselines3's ``state``: arrays ``[n_envs, ...]`` in a fixed order.
State = tuple[np.ndarray, ...]


class WorldModelPolicy(BasePolicy):
    """Observations to actions through a world model and a planner.

    World model and planner see vectors, images or both packed, and choose actions in [-1, 1]; flattening, casting and
    scaling are done here.

    :param observation_space: of the agent's environments
    :param action_space: a Box with finite bounds
    :param lr_schedule: unused; learners hold the optimizers
    :param backbone: what makes the world model
    :param model_kwargs: keyword arguments of ``backbone.build_world_model``
    :param planner: acts in :meth:`predict`
    :param seed: seed of the planner's draws in ``predict(deterministic=True)``
    :param native_observation_space: the environment's own, whose observations are taken as well
    :param obs_type: "pixels+state" packs images and numbers in a dictionary for encoders of their own; otherwise
        dictionaries are vectors
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *,
        backbone: type[Backbone],
        model_kwargs: dict[str, Any],
        planner: Planner,
        seed: int = 0,
        native_observation_space: spaces.Space | None = None,
        obs_type: str = "state",
    ):
        super().__init__(observation_space, action_space)
        self.native_observation_space = native_observation_space
        self.obs_type = obs_type
        self.encoding = make_encoding(observation_space, native_observation_space, obs_type)
        self.scale = ActionScale(action_space)
        self.backbone, self.model_kwargs, self.planner, self.seed = backbone, model_kwargs, planner, seed
        self._decider: Decider | None = None
        self._collecting_decider: Decider | None = None
        self.world_model = backbone.build_world_model(
            self.encoding.shape, int(np.prod(action_space.shape)), **model_kwargs
        )
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the world model is."""
        return self.world_model.device

    def _get_constructor_parameters(self) -> dict[str, Any]:
        spaces = ("observation_space", "action_space", "native_observation_space")
        names = (*spaces, "backbone", "model_kwargs", "planner", "seed", "obs_type")
        return {name: getattr(self, name) for name in names} | {"lr_schedule": None}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_decider": None, "_collecting_decider": None}

    def initial_memory(self, planner: Planner, batch_size: int) -> Memory:
        """See :func:`dream_agents.planners.decision.initial_memory`."""
        return initial_memory(self.world_model, planner, batch_size)

    @property
    def decider(self) -> Decider:
        """What decides in the world model for :meth:`predict`."""
        if self._decider is None or self._decider.model is not self.world_model:
            self._decider = make_decider(self.world_model)
        return self._decider

    def decide_plainly(self) -> None:
        """Let :meth:`predict` decide by the plain code alone, which differs from the faster one by rounding."""
        self._decider = Decider(self.world_model)

    @property
    def collecting_decider(self) -> Decider:
        """What decides while learning.

        Which of its ways a decider takes, equal up to rounding, depends on its decisions before. It is another one than
        that of :meth:`predict`, so that an evaluation does not change what is learned, and a resumed run repeats it.
        """
        if self._collecting_decider is None or self._collecting_decider.model is not self.world_model:
            self._collecting_decider = make_decider(self.world_model)
        return self._collecting_decider

    def compile_planner(self, n_envs: int = 1, deterministic: bool = True) -> None:
        """Compile what :meth:`predict` does for ``n_envs`` observations, with the planner and the weights of now.

        It takes about half a minute and halves the time of a decision; results are the same up to rounding. It
        needs a C++ compiler and a model on the CPU. Other calls of ``predict``, or with another planner, plan as
        before. Call it again after the weights have changed.

        :param n_envs: observations a call
        :param deterministic: as ``predict`` will be called
        :raises ValueError: for a model on another device, planners that can't be compiled (MPPI), and less than one
            observation
        :raises RuntimeError: if there is no C++ compiler, and without :mod:`dream_agents.fast`
        """
        if n_envs < 1:
            raise ValueError(f"n_envs={n_envs}: at least 1 is needed")
        obs, memory = self.example_observations(n_envs), self.initial_memory(self.planner, n_envs)
        self.decider.compile(obs, memory, self.planner, deterministic)

    def example_observations(self, n_envs: int) -> torch.Tensor:
        """Observations ``[n_envs, ...]`` of the shape and type that decisions are made on, all zero."""
        space = self.encoding.space
        return self._on_device(np.zeros((n_envs, *space.shape), space.dtype))

    def observations_to_tensor(self, observations: Any) -> torch.Tensor:
        """A batch of the environment's observations on the model's device, images and what is packed as uint8.

        Vectors are float32.
        """
        return self._on_device(self.encoding.encode(observations))

    def _on_device(self, encoded: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(encoded, device=self.device)

    def native_actions(self, action: torch.Tensor) -> np.ndarray:
        """Actions ``[B, A]`` in [-1, 1] as arrays ``[B, *action_shape]`` in the environment's units.

        :raises ValueError: if one of them is not finite
        """
        unit = action.cpu().numpy().reshape(-1, *self.scale.space.shape)
        return self.scale.for_env(self.scale.to_native(unit))

    def scale_action(self, action: np.ndarray) -> np.ndarray:
        """Actions in the environment's units in [-1, 1]."""
        return self.scale.to_unit(action)

    def unscale_action(self, scaled_action: np.ndarray) -> np.ndarray:
        """Actions in [-1, 1] in the environment's units, inside its action space."""
        return self.scale.to_native(scaled_action)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: State | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, State]:
        """Plan actions.

        A pure function where ``deterministic``: planners that draw random numbers then draw the same ones for the
        same ``state``. Otherwise they draw from PyTorch's global generator.

        :param observation: what the environment gives, one observation or a batch; also flattened, or images with
            their channels at the other end
        :param state: what the previous call returned; without it each call plans afresh
        :param episode_start: bool ``[n_envs]``, where true the state is ignored
        :param deterministic: leave out exploration noise
        :return: actions in the action space, and the new state
        :raises ValueError: for what is no observation of the environment, numbers that are not finite, and too many
            or too few in ``episode_start``
        """
        batch, vectorized = self.encoding.batch(observation)
        check_finite(batch)
        obs = self._on_device(batch)
        episode_start = _starts(episode_start, len(obs))
        memory = self.initial_memory(self.planner, len(obs))
        device = obs.device
        generator = self.generator_for(state, episode_start, deterministic)
        if state is None:
            starts = torch.ones(len(obs), dtype=torch.bool, device=device)
        else:
            memory = {
                k: self._as_memory(k, v, old) for (k, old), v in zip(memory.items(), state, strict=True)
            }
            given = np.zeros(len(obs), bool) if episode_start is None else episode_start
            starts = torch.as_tensor(given, device=device)
        training = self.training
        if training:
            self.set_training_mode(False)
        action, memory = self.decider.act(obs, memory, starts, self.planner, deterministic, generator)
        if training:
            self.set_training_mode(True)
        actions = self.native_actions(action)
        new_state = tuple(value.cpu().numpy() for value in memory.values())
        return (actions if vectorized else actions[0, ...]), new_state

    def generator_for(
        self, state: State | None, episode_start: np.ndarray | None, deterministic: bool
    ) -> torch.Generator:
        """What :meth:`predict` draws random numbers from when it is called like this.

        It is seeded by the number of decisions since the episode's start, or else by PyTorch's global generator.
        """
        generator = torch.Generator(self.device)
        if not deterministic:
            return generator.manual_seed(int(torch.randint(2**62, ()).item()))
        decisions = np.zeros(1, np.int64) if state is None else np.asarray(state[-1])
        if episode_start is not None:
            decisions = np.where(episode_start, 0, decisions)
        return generator.manual_seed(self.seed + int(decisions.sum()))

    def _as_memory(self, name: str, value: np.ndarray, expected: torch.Tensor) -> torch.Tensor:
        tensor = torch.as_tensor(value, device=expected.device)
        if tensor.shape != expected.shape:
            raise ValueError(
                f"state {name} has shape {tuple(tensor.shape)}, the {type(self.planner).__name__} on "
                f"{len(expected)} environments expects {tuple(expected.shape)}; pass state=None after "
                "switching the planner or the number of environments"
            )
        return tensor

    def forward(self, obs: Any, deterministic: bool = False) -> torch.Tensor:
        """Actions ``[B, *action_shape]`` in [-1, 1], as Stable-Baselines3's off-policy policies give them.

        :param obs: a batch of the environment's observations, tensors or arrays
        :param deterministic: leave out exploration noise
        """
        return self._predict(obs, deterministic)

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        arrays: Any
        if isinstance(observation, dict):
            arrays = {name: _as_array(part) for name, part in observation.items()}
        else:
            arrays = _as_array(observation)
        actions, _ = self.predict(arrays, deterministic=deterministic)
        return torch.as_tensor(self.scale_action(actions), device=self.device)


def _as_array(observation: torch.Tensor | np.ndarray) -> np.ndarray:
    return observation.cpu().numpy() if isinstance(observation, torch.Tensor) else observation


def _starts(given: Any, count: int) -> np.ndarray | None:
    """Which of ``count`` environments begin an episode, as :meth:`WorldModelPolicy.predict` is told; one may be a bool.

    :raises ValueError: for another number of them
    """
    if given is None:
        return None
    starts = np.atleast_1d(np.asarray(given, bool))
    if starts.shape != (count,):
        raise ValueError(f"episode_start has shape {starts.shape}, and there are {count} observations")
    return starts
