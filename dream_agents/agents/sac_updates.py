"""SAC's update as pytorch_sac and pytorch_sac_ae do it: the critic, then the actor, then the entropy coefficient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.utils import polyak_update
from torch import Tensor


class PublishedUpdates:
    """The part of SAC that does the published updates.

    Stable-Baselines3 begins with the entropy coefficient, halves the critic's loss, and counts the interval of the
    targets from 0 in each call of ``train``.

    Shapes: B transitions, A action dimensions.
    """

    actor: Any  # Stable-Baselines3's classes disagree about its type
    critic: ContinuousCritic
    critic_target: ContinuousCritic
    log_ent_coef: Tensor | None
    ent_coef_tensor: Tensor
    ent_coef_optimizer: torch.optim.Adam | None
    target_entropy: Any
    tau: float
    logger: Any
    _n_updates: int

    def _entropy_coefficient(self) -> Tensor:
        return self.ent_coef_tensor if self.log_ent_coef is None else self.log_ent_coef.detach().exp()

    def _update_critic(
        self, obs: Tensor, actions: Tensor, rewards: Tensor, next_obs: Tensor, dones: Tensor, discount: Any
    ) -> Tensor:
        """Regress both Q-functions on the soft TD target.

        :param actions: ``[B, A]``
        :param rewards: ``[B, 1]``
        :param dones: 1 where the step ended the task, ``[B, 1]``
        :param discount: of the value of ``next_obs``, one number or ``[B, 1]``
        :return: the loss
        """
        with torch.no_grad():
            next_actions, next_log_prob = self.actor.action_log_prob(next_obs)
            next_values = torch.cat(self.critic_target(next_obs, next_actions), 1).amin(1, keepdim=True)
            next_values = next_values - self._entropy_coefficient() * next_log_prob[:, None]
            td_target = rewards + (1 - dones) * discount * next_values  # [B, 1]
        loss = torch.stack([F.mse_loss(value, td_target) for value in self.critic(obs, actions)]).sum()
        descend(loss, self.critic.optimizer)
        return loss.detach()

    def _update_actor(self, obs: Tensor) -> dict[str, Tensor]:
        """Ascend value and entropy, then move the entropy coefficient towards the target entropy.

        :return: losses by name
        """
        actions, log_prob = self.actor.action_log_prob(obs)
        loss = (self._entropy_coefficient() * log_prob - self._lowest_value(obs, actions)).mean()
        descend(loss, self.actor.optimizer)
        losses = {"actor_loss": loss.detach()}
        if self.log_ent_coef is not None and self.ent_coef_optimizer is not None:
            ent_coef_loss = (self.log_ent_coef.exp() * (-log_prob - self.target_entropy).detach()).mean()
            descend(ent_coef_loss, self.ent_coef_optimizer)
            losses["ent_coef_loss"] = ent_coef_loss.detach()
        return losses

    def _lowest_value(self, obs: Tensor, actions: Tensor) -> Tensor:
        """The smaller Q(s, a) ``[B]``."""
        return torch.cat(self.critic(obs, actions), 1).amin(1)

    def _update_targets(self) -> None:
        polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)

    def _record_losses(self, losses: dict[str, list[float]]) -> None:
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/ent_coef", self._entropy_coefficient().item())
        for name, values in losses.items():
            self.logger.record(f"train/{name}", np.mean(values))


def descend(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    """Take a step of these optimizers; no other parameter gets a gradient."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward(
        inputs=[
            parameter
            for optimizer in optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]
    )
    for optimizer in optimizers:
        optimizer.step()
