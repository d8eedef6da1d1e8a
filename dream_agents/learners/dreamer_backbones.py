"""Dreamer's backbones: DreamerV3, Dreamer as the paper of Dream-MPC used it, and PlaNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from dream_agents.learners.base import Backbone
from dream_agents.learners.dreamer import DreamerLearner
from dream_agents.learners.dreamer_config import DreamerConfig, GaussianDreamerConfig, PlaNetConfig
from dream_agents.models.base import WorldModel
from dream_agents.models.dreamer import DreamerSize, DreamerWorldModel
from dream_agents.models.packing import ObsShape
from dream_agents.replay import SequenceReplayBuffer
from dream_agents.replay.stream import StreamReplayBuffer


class DreamerBackbone(Backbone):
    """DreamerV3's networks and learner."""

    config_class: ClassVar[type] = DreamerConfig
    size_class: ClassVar[type | None] = DreamerSize
    replay_buffer_class: ClassVar[type[SequenceReplayBuffer]] = StreamReplayBuffer
    encodes_by_key: ClassVar[bool] = True
    frame_stack: ClassVar[int] = 1
    latent: ClassVar[str] = "categorical"
    model_defaults: ClassVar[Mapping[str, Any]] = {"prior_layers": 2}
    agent_defaults: ClassVar[Mapping[str, Any]] = {
        "model_size": "1M",
        "learning_rate": 3e-4,
        "batch_size": 16,
        "tau": 0.02,
        "gamma": 0.997,
        "train_freq": 2,
        "gradient_steps": 1,
        "learning_starts": 1000,
    }

    @classmethod
    def build_world_model(
        cls,
        obs_shape: ObsShape,
        action_dim: int,
        model_size: DreamerSize | str = "1M",
        discount: float = 0.997,
        episodic: bool = False,
        **kwargs: Any,
    ) -> DreamerWorldModel:
        """Make the networks.

        :raises ValueError: if observations are neither flat nor images, nor both by key
        """
        options = {"latent": cls.latent} | kwargs
        return DreamerWorldModel(obs_shape, action_dim, model_size, discount, episodic, **options)

    @classmethod
    def complete_model_kwargs(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """The prior had one hidden layer where a file does not say how many."""
        return {"prior_layers": 1, **saved}

    @staticmethod
    def build_learner(
        world_model: WorldModel,
        config: DreamerConfig,
        learning_rate: float,
        tau: float,
        generator: torch.Generator,
    ) -> DreamerLearner:
        """Make the learner of a :class:`DreamerWorldModel`."""
        assert isinstance(world_model, DreamerWorldModel)
        return DreamerLearner(world_model, config, learning_rate, tau, generator)

    @staticmethod
    def sequence_length(config: DreamerConfig) -> int:
        """Steps of a replayed sequence; the horizon is imagined."""
        return config.sequence_length

    @staticmethod
    def planner_options(planner: str, obs_type: str) -> dict[str, Any]:
        """Dream-MPC as on its paper's Dreamer (Alg. 3 and Table 16); the adaptive planner as on BMPC's model."""
        if planner == "adaptive":
            return {"samples": 6, "wide": 12, "temperature": 0.3}
        if planner != "dream":
            return {}
        return {
            "horizon": 15,
            "iterations": 1,
            "uncertainty_coef": 0.0,
            "return_lambda": 0.95,
            "exploration_std": 0.3,
            "proposal_noise": 0.2,
        }


class GaussianDreamerBackbone(DreamerBackbone):
    """Dreamer as the paper of Dream-MPC used it: Gaussian latents, gradients through the dynamics (Table 16)."""

    config_class: ClassVar[type] = GaussianDreamerConfig
    latent: ClassVar[str] = "gaussian"
    model_defaults: ClassVar[Mapping[str, Any]] = {"embedding": 1024, "activation": "elu"}
    agent_defaults: ClassVar[Mapping[str, Any]] = {
        "model_size": "paper",
        "learning_rate": 6e-4,
        "batch_size": 50,
        "tau": 0.02,
        "gamma": 0.99,
        "train_freq": 5,
        "gradient_steps": 1,
        "learning_starts": 2500,
    }

    @classmethod
    def complete_model_kwargs(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """All files of the network of Table 16 say how wide its embedding is; those before it had another network.

        :raises ValueError: for these
        """
        if "embedding" not in saved:
            raise ValueError(
                "these weights are of the Gaussian Dreamer of version 0.1, whose layers had LayerNorm and SiLU; this "
                "version has the network of Table 16 instead. Train it again, or load it with dream-agents 0.1"
            )
        return dict(saved)

    @staticmethod
    def planner_options(planner: str, obs_type: str) -> dict[str, Any]:
        """Those of DreamerV3's backbone; what the policy executes while learning gets Table 16's exploration noise."""
        if planner == "policy":
            return {"exploration_std": 0.3}
        return DreamerBackbone.planner_options(planner, obs_type)


class PlaNetBackbone(GaussianDreamerBackbone):
    """PlaNet as the paper of Dream-MPC used it (Table 16): the same world model, without a policy and values."""

    config_class: ClassVar[type] = PlaNetConfig
    model_defaults: ClassVar[Mapping[str, Any]] = {"embedding": 1024, "activation": "relu"}
    agent_defaults: ClassVar[Mapping[str, Any]] = {
        **GaussianDreamerBackbone.agent_defaults,
        "learning_rate": 1e-3,
    }

    @staticmethod
    def planner_options(planner: str, obs_type: str) -> dict[str, Any]:
        """None: planners have PlaNet's defaults.

        :raises ValueError: for the built-in planners that ask for the policy or the values, which are not trained
        """
        if planner in ("policy", "mppi", "dream", "adaptive", "policy+grad"):
            raise ValueError(
                f'planner="{planner}" needs a policy, and the backbone "planet" trains none; use planner="cem" or '
                '"grad", or the backbone "dreamer_gaussian"'
            )
        return {}
