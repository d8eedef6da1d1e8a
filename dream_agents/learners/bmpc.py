"""BMPC's learning: TD-learning through the model, and a policy that imitates the planner (Wang et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dream_agents.annex import accelerated
from dream_agents.learners.base import PLAN_MEAN, PLAN_STD, mean_of_happened
from dream_agents.learners.implicit import ImplicitBackbone, ImplicitModelConfig, ImplicitModelLearner
from dream_agents.models.base import WorldModel
from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.layers import EnsembleMembers
from dream_agents.models.packing import ObsShape
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.planners import Plan, Planner
from dream_agents.planners.objective import discounts
from dream_agents.replay import SequenceBatch, SequenceReplayBuffer, StoredSteps


@dataclass
class BMPCConfig(ImplicitModelConfig):
    """Hyperparameters of the learner: :class:`ImplicitModelConfig`'s, and Table 6's.

    :param td_horizon: N, steps that the value's target is dreamt ahead
    :param reanalyze_interval: k, updates from one lazy reanalyze to the next; 0 does without
    :param reanalyze_batch: b, sub-sequences of the batch that are planned again
    :param min_expert_std: smallest standard deviation that is imitated, for planners that give 0
    """

    td_horizon: int = 1
    reanalyze_interval: int = 10
    reanalyze_batch: int = 20
    min_expert_std: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.td_horizon < 1:
            raise ValueError(f"td_horizon={self.td_horizon} is too short; use at least 1")
        if self.reanalyze_interval < 0:
            raise ValueError(f"reanalyze_interval={self.reanalyze_interval} must be at least 0")
        if self.reanalyze_batch < 1:
            raise ValueError(
                f"reanalyze_batch={self.reanalyze_batch} must be at least 1; reanalyze_interval=0 turns reanalyze off"
            )
        if self.min_expert_std <= 0:
            raise ValueError(f"min_expert_std={self.min_expert_std} must be above 0")


class BMPCLearner(ImplicitModelLearner):
    """Values of the policy in the model, and a policy prior that imitates plans.

    Parameters are :class:`ImplicitModelLearner`'s.
    """

    scaled = "divergence"
    world_model: BMPCWorldModel
    config: BMPCConfig

    def __init__(
        self,
        world_model: BMPCWorldModel,
        config: BMPCConfig,
        learning_rate: float,
        tau: float,
        generator: torch.Generator,
    ):
        super().__init__(world_model, config, learning_rate, tau, generator)
        #: updates that imitated, for the interval of lazy reanalyze
        self.imitations = 0

    def state_dict(self) -> dict[str, Any]:
        """Optimizers, running scale and place in the interval of lazy reanalyze."""
        return super().state_dict() | {"imitations": self.imitations}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Take back what :meth:`state_dict` gave."""
        super().load_state_dict(state, strict)
        self.imitations = state["imitations"]

    def pretrain(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Update all but the policy: nobody planned the random decisions."""
        return self._learn(batch, policy=False)

    # ------------------------------------------------------- lazy reanalyze

    def refresh(
        self, batch: SequenceBatch, planner: Planner, replay_buffer: SequenceReplayBuffer
    ) -> SequenceBatch:
        """Plan the first ``reanalyze_batch`` sub-sequences again, every ``reanalyze_interval``-th time."""
        self.imitations += 1
        interval = self.config.reanalyze_interval
        if interval == 0 or self.imitations % interval != 0:
            return batch
        assert batch.extra is not None and batch.stored is not None, "the replay buffer holds no plans"
        observations = batch.observations[:-1, : self.config.reanalyze_batch]  # [H, b, ...]
        plan = self.replan(observations.flatten(0, 1), planner)
        shape = (*observations.shape[:2], -1)
        fresh = {PLAN_MEAN: plan.mean.view(shape), PLAN_STD: plan.std.view(shape)}  # [H, b, A]
        count = observations.shape[1]
        steps = StoredSteps(batch.stored.slots[:, :count], batch.stored.envs[:, :count])
        replay_buffer.rewrite(steps, **{name: value.cpu().numpy() for name, value in fresh.items()})
        extra = {name: torch.cat((value, batch.extra[name][:, count:]), 1) for name, value in fresh.items()}
        return batch._replace(extra=extra)

    @torch.no_grad()
    def replan(self, observations: Tensor, planner: Planner) -> Plan:
        """Plan for ``observations [B, ...]`` from nothing, with a policy that explores more."""
        model, planner = accelerated(self.world_model.for_replanning(), planner)
        starts = torch.ones(len(observations), dtype=torch.bool, device=self.device)
        with self._autocast():
            z, _ = model.observe(observations)
            memory = planner.initial_memory(model, len(observations))
            return planner.plan(model, z, memory, starts, generator=self.generator)

    # --------------------------------------------------------------- losses

    def targets(self, batch: SequenceBatch, members: EnsembleMembers) -> tuple[Tensor, Tensor]:
        """Encoded next observations ``[H, B, Z]``, and returns ``[H, B]`` of the policy in the model (Eq. 8)."""
        model = self.world_model
        encoded = model.encode(batch.observations)  # [H + 1, B, Z]
        latents, rewards = [encoded[:-1]], []
        for _ in range(self.config.td_horizon):
            action = model.policy(latents[-1]).sample(self.generator)
            rewards.append(model.reward(latents[-1], action))
            latents.append(model.next(latents[-1], action))
        reward_weights, value_weight = discounts(model, torch.stack(latents))
        value = model.target_values(latents[-1], None, members).mean(0)  # [H, B]
        return encoded[1:], (reward_weights * torch.stack(rewards)).sum(0) + value_weight * value

    def policy_inputs(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``[H, B, A]`` of the plans."""
        assert batch.extra is not None, "the replay buffer holds no plans"
        return batch.extra[PLAN_MEAN], batch.extra[PLAN_STD].clamp_min(self.config.min_expert_std)

    def policy_loss(
        self, latents: Tensor, inputs: tuple[Tensor, Tensor], mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of the policy prior on latents ``[H + 1, B, Z]`` (Eq. 9), its divergence at t = 0 ``[B]``, and metrics.

        :param inputs: mean and standard deviation of the expert
        :param mask: 1 where the step happened, ``[H, B]``; None where all did
        """
        policy = self.world_model.policy(latents[:-1])
        divergence = policy.divergence_from(*inputs).mean(-1)  # [H, B]
        scaled_entropy = self.world_model.action_dim * policy.entropy  # [H, B]
        objective = divergence / self.scale.value - self.config.entropy_coef * scaled_entropy
        loss = (self._temporal_weights[:-1] * mean_of_happened(objective, mask, each_step=True)).mean()
        metrics = {
            "train/policy_loss": loss,
            "train/policy_divergence": mean_of_happened(divergence, mask),
            "train/policy_entropy": mean_of_happened(scaled_entropy, mask),
            "train/policy_log_std": mean_of_happened(policy.log_std, mask),
            "train/expert_std": mean_of_happened(inputs[1], mask),
        }
        return loss, divergence[0].detach(), {name: metric.detach() for name, metric in metrics.items()}


class BMPCBackbone(ImplicitBackbone):
    """BMPC's networks and learner."""

    config_class: ClassVar[type] = BMPCConfig
    imitates_planner: ClassVar[bool] = True

    @staticmethod
    def build_world_model(
        obs_shape: ObsShape,
        action_dim: int,
        model_size: TDMPCSize | str = "5M",
        discount: float = 0.99,
        episodic: bool = False,
        **kwargs: Any,
    ) -> BMPCWorldModel:
        """Make the networks.

        :raises ValueError: if observations are neither flat nor images, nor both by key
        """
        return BMPCWorldModel(obs_shape, action_dim, model_size, discount, episodic, **kwargs)

    @staticmethod
    def build_learner(
        world_model: WorldModel,
        config: BMPCConfig,
        learning_rate: float,
        tau: float,
        generator: torch.Generator,
    ) -> BMPCLearner:
        """Make the learner of a :class:`BMPCWorldModel`."""
        assert isinstance(world_model, BMPCWorldModel)
        return BMPCLearner(world_model, config, learning_rate, tau, generator)

    @staticmethod
    def planner_options(planner: str, obs_type: str) -> dict[str, Any]:
        """What planners want here: Dream-MPC its authors' penalty, the adaptive planner more and wider candidates."""
        if planner == "dream" and obs_type == "state":
            return {"uncertainty_coef": 0.1}  # 0.01 on images, the planner's default
        if planner == "adaptive":
            return {"samples": 6, "wide": 12, "temperature": 0.3}
        return {}
