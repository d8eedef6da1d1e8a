"""TD-MPC2's learning: joint-embedding prediction, rewards, TD-learning, policy prior (Hansen et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dream_agents.learners.implicit import ImplicitModelConfig, ImplicitModelLearner
from dream_agents.models.base import WorldModel
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.replay import SequenceBatch


@dataclass
class TDMPC2Config(ImplicitModelConfig):
    """Hyperparameters of the learner: those of :class:`ImplicitModelConfig`."""


class TDMPC2Learner(ImplicitModelLearner):
    """Q-learning on replayed rewards, and a policy prior that maximises Q.

    Parameters are :class:`ImplicitModelLearner`'s.
    """

    scaled = "value"
    world_model: TDMPCWorldModel

    def targets(self, batch: SequenceBatch, members: list[int]) -> tuple[Tensor, Tensor]:
        """Encoded next observations ``[H, B, Z]`` and TD targets ``[H, B]`` from two target values."""
        model = self.world_model
        next_latents = model.encode(batch.observations[1:])
        next_actions = model.policy(next_latents).sample(self.generator)
        value = model.target_values(next_latents, next_actions, members).amin(0)
        return next_latents, batch.rewards + model.discount * (1 - batch.terminated) * value

    def policy_inputs(self, batch: SequenceBatch) -> list[int]:
        """Two random members of the value ensemble."""
        return self._random_pair()

    def policy_loss(self, latents: Tensor, inputs: list[int]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of the policy prior on latents ``[H + 1, B, Z]``, values at t = 0 ``[B]``, and metrics.

        :param inputs: members of the value ensemble
        """
        model = self.world_model
        distribution = model.policy(latents)
        actions, noise = distribution.sample_with_noise(self.generator)
        entropy = distribution.scaled_entropy(noise)  # [H + 1, B]
        values = model.values(latents, actions, inputs).mean(0)  # [H + 1, B]
        objective = values / self.scale.value + self.config.entropy_coef * entropy
        loss = -(self._temporal_weights * objective.mean(1)).mean()
        metrics = {
            "train/policy_loss": loss,
            "train/policy_entropy": entropy.mean(),
            "train/policy_log_std": distribution.log_std.mean(),
            "train/policy_value": values.mean(),
        }
        return loss, values[0].detach(), {name: metric.detach() for name, metric in metrics.items()}


class TDMPC2Backbone:
    """TD-MPC2's networks and learner."""

    config_class: ClassVar[type] = TDMPC2Config

    @staticmethod
    def build_world_model(
        obs_shape: tuple[int, ...],
        action_dim: int,
        model_size: TDMPCSize | str = "5M",
        discount: float = 0.99,
        episodic: bool = False,
        **kwargs: Any,
    ) -> TDMPCWorldModel:
        """Make the networks.

        :raises ValueError: if observations are neither flat nor images
        """
        return TDMPCWorldModel(obs_shape, action_dim, model_size, discount, episodic, **kwargs)

    @staticmethod
    def build_learner(
        world_model: WorldModel,
        config: TDMPC2Config,
        learning_rate: float,
        tau: float,
        generator: torch.Generator,
    ) -> TDMPC2Learner:
        """Make the learner of a :class:`TDMPCWorldModel`."""
        assert isinstance(world_model, TDMPCWorldModel)
        return TDMPC2Learner(world_model, config, learning_rate, tau, generator)
