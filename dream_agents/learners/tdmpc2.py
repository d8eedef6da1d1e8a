"""TD-MPC2's learning: joint-embedding prediction, rewards, TD-learning, policy prior (Hansen et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dream_agents.learners.base import mean_of_happened
from dream_agents.learners.implicit import ImplicitBackbone, ImplicitModelConfig, ImplicitModelLearner
from dream_agents.models.base import WorldModel
from dream_agents.models.layers import EnsembleMembers
from dream_agents.models.packing import ObsShape
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.replay import SequenceBatch


@dataclass
class TDMPC2Config(ImplicitModelConfig):
    """Hyperparameters of the learner: :class:`ImplicitModelConfig`'s, and one that is not TD-MPC2's.

    :param imitation_coef: weight of the policy's squared distance to the replayed actions, a mean over action
        dimensions; keeps it where values have been learned (Fujimoto and Gu 2021; TD-M(PC)^2, Lin et al. 2025)
    """

    imitation_coef: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.imitation_coef < 0:
            raise ValueError(f"imitation_coef={self.imitation_coef} must be at least 0")


class TDMPC2Learner(ImplicitModelLearner):
    """Q-learning on replayed rewards, and a policy prior that maximises Q.

    Parameters are :class:`ImplicitModelLearner`'s.
    """

    scaled = "value"
    world_model: TDMPCWorldModel
    config: TDMPC2Config

    def targets(self, batch: SequenceBatch, members: EnsembleMembers) -> tuple[Tensor, Tensor]:
        """Encoded next observations ``[H, B, Z]`` and TD targets ``[H, B]`` from two target values."""
        model = self.world_model
        next_latents = model.encode(batch.observations[1:])
        next_actions = model.policy(next_latents).sample(self.generator)
        value = model.target_values(next_latents, next_actions, members).amin(0)
        return next_latents, batch.rewards + model.discount * (1 - batch.terminated) * value

    def policy_inputs(self, batch: SequenceBatch) -> tuple[EnsembleMembers, Tensor]:
        """Two random members of the value ensemble, and the replayed actions ``[H, B, A]``."""
        return self._random_pair(), batch.actions

    def policy_loss(
        self, latents: Tensor, inputs: tuple[EnsembleMembers, Tensor], mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of the policy prior on latents ``[H + 1, B, Z]``, values at t = 0 ``[B]``, and metrics.

        :param inputs: members of the value ensemble, and actions to stay near to
        :param mask: 1 where the step happened, ``[H, B]``; None where all did
        """
        model, config = self.world_model, self.config
        members, replayed = inputs
        distribution = model.policy(latents)
        actions, noise = distribution.sample_with_noise(self.generator)
        entropy = distribution.scaled_entropy(noise)  # [H + 1, B]
        values = model.values(latents, actions, members).mean(0)  # [H + 1, B]
        reached = None if mask is None else torch.cat((torch.ones_like(mask[:1]), mask))  # [H + 1, B]
        objective = values / self.scale.value + config.entropy_coef * entropy
        objective = mean_of_happened(objective, reached, each_step=True)  # [H + 1]
        metrics = {
            "train/policy_entropy": mean_of_happened(entropy, reached),
            "train/policy_log_std": mean_of_happened(distribution.log_std, reached),
            "train/policy_value": mean_of_happened(values, reached),
        }
        if config.imitation_coef > 0:
            distance = mean_of_happened((actions[:-1] - replayed).square(), mask, each_step=True)  # [H]
            objective = objective - config.imitation_coef * F.pad(distance, (0, 1))
            metrics["train/policy_distance"] = distance.mean()
        loss = -(self._temporal_weights * objective).mean()
        metrics["train/policy_loss"] = loss
        return loss, values[0].detach(), {name: metric.detach() for name, metric in metrics.items()}


class TDMPC2Backbone(ImplicitBackbone):
    """TD-MPC2's networks and learner."""

    config_class: ClassVar[type] = TDMPC2Config

    @staticmethod
    def build_world_model(
        obs_shape: ObsShape,
        action_dim: int,
        model_size: TDMPCSize | str = "5M",
        discount: float = 0.99,
        episodic: bool = False,
        **kwargs: Any,
    ) -> TDMPCWorldModel:
        """Make the networks.

        :raises ValueError: if observations are neither flat nor images, nor both by key
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

    @staticmethod
    def planner_options(planner: str, obs_type: str) -> dict[str, Any]:
        """The adaptive planner explores by noise here: the policy's samples alone, as improved, lie close together."""
        return {"exploration_std": 0.2} if planner == "adaptive" else {}
