"""Dreamer's learning: a world model by reconstruction, actor and critic in its imagination (Hafner et al. 2020, 2025).

Shapes: L steps of B replayed sequences, H imagined steps from each of N = L * B latents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dream_agents.learners.adam import AdamLearner
from dream_agents.learners.dreamer_config import DreamerConfig
from dream_agents.models.dreamer import DreamerWorldModel
from dream_agents.models.heads import ClampedGaussian
from dream_agents.replay.stream import StreamBatch


class ReturnRange:
    """Moving 5th and 95th percentile of returns (Hafner et al. 2025, Eq. 7).

    :param decay: rate at which they are forgotten
    """

    def __init__(self, decay: float, device: torch.device):
        self.decay = decay
        self.percentiles = torch.zeros(2, device=device)
        self._quantiles = torch.tensor([0.05, 0.95], device=device)

    def update(self, returns: Tensor) -> Tensor:
        """Move towards the percentiles of ``returns`` and return the range, at least 1."""
        now = torch.quantile(returns.detach().flatten(), self._quantiles)
        self.percentiles.lerp_(now, 1 - self.decay)
        return (self.percentiles[1] - self.percentiles[0]).clamp(min=1.0)


def lambda_returns(
    rewards: Tensor, values: Tensor, discounts: Tensor, return_lambda: float | Tensor
) -> Tensor:
    """Lambda-returns ``[H, ...]`` of the first H of H + 1 latents.

    :param rewards: ``[H, ...]``, of arriving in each latent but the first
    :param values: ``[H + 1, ...]``
    :param discounts: gamma where the task goes on in each latent but the first, 0 where it has ended, ``[H, ...]``
    :param return_lambda: share of the longer returns in each latent but the first, a number or ``[H, ...]``
    """
    returns = [values[-1]]
    one_step = rewards + (1 - return_lambda) * discounts * values[1:]
    longer = return_lambda * discounts
    for t in reversed(range(len(rewards))):
        returns.append(one_step[t] + longer[t] * returns[-1])
    return torch.stack(returns[:0:-1])


class DreamerLearner(AdamLearner):
    """One update of world model, actor and critic.

    :param world_model: the networks, on their device
    :param config: hyperparameters
    :param learning_rate: Adam's learning rate of the world model
    :param tau: rate at which the slow value follows
    :param generator: source of randomness, on the model's device; the entropy of a :class:`SquashedGaussian` is
        estimated by draws from the device's global one
    """

    world_model: DreamerWorldModel

    def __init__(
        self,
        world_model: DreamerWorldModel,
        config: DreamerConfig,
        learning_rate: float,
        tau: float,
        generator: torch.Generator,
    ):
        super().__init__(world_model, generator)
        self.config, self.tau = config, tau
        self.horizon = config.sequence_length
        self.return_range = ReturnRange(config.return_decay, self.device)
        model = world_model
        parts = [model.coder, model.rssm, model.reward_head, model.termination_head]
        self._parameters = {
            "model": [p for part in parts if part is not None for p in part.parameters()],
            "actor": list(model.policy_head.parameters()),
            "value": list(model.value_heads.parameters()),
        }
        scales = {"model": 1.0, "actor": config.actor_lr_scale, "value": config.actor_lr_scale}
        for name, parameters in self._parameters.items():
            self._add_optimizer(name, [(parameters, scales[name])], config.adam_eps)
        self.set_learning_rate(learning_rate)
        self._bfloat16 = config.autocast == "bfloat16" or (
            config.autocast == "auto" and multiplies_bfloat16(self.device)
        )

    def state_dict(self) -> dict[str, Any]:
        """Optimizers and the range of returns."""
        return super().state_dict() | {"return_percentiles": self.return_range.percentiles}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Take back what :meth:`state_dict` gave."""
        super().load_state_dict(state, strict)
        self.return_range.percentiles.copy_(state["return_percentiles"])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16)

    def update(self, batch: StreamBatch) -> dict[str, Tensor]:  # type: ignore[override]
        """Update the world model on replayed sequences, then actor and critic on what it imagines from there.

        :param batch: sequences of ``sequence_length`` steps
        """
        together = self.config.model_learns_values
        with self._autocast():
            loss, latents, metrics = self.model_loss(batch)
        if not together:
            metrics["train/grad_norm"] = self._step("model", loss)
        batch.remember(latents.detach())
        if not self.config.learns_behaviour:
            return metrics
        replayed = latents.detach().requires_grad_(together)  # [L, B, Z]
        metrics |= self._update_behaviour(replayed, batch)
        if together:
            # One step of all networks from the same weights, as one optimizer takes it.
            metrics["train/grad_norm"] = self._step("model", loss, through=(latents, replayed.grad))
        return metrics

    def _update_behaviour(self, replayed: Tensor, batch: StreamBatch) -> dict[str, Tensor]:
        """Update actor and critic; the replayed value's gradient stays in ``replayed.grad`` if that is asked for.

        :param replayed: latents ``[L, B, Z]`` of ``batch``
        """
        wanted = [replayed] if replayed.requires_grad else []
        if self.config.imagine_last > 0:
            replayed, batch = replayed[-self.config.imagine_last :], batch.last(self.config.imagine_last)
        dynamics = self.config.actor_gradient == "dynamics"
        with torch.set_grad_enabled(dynamics), self._autocast():
            states, actions = self.imagine(replayed.detach().flatten(0, 1))
        with self._autocast():
            actor_loss, value_loss, metrics = self.behaviour_losses(states, actions, batch, replayed)
        metrics["train/policy_grad_norm"] = self._step("actor", actor_loss)
        metrics["train/value_grad_norm"] = self._step("value", value_loss, wanted)
        with torch.no_grad():
            slow: list[Tensor] = list(self.world_model.target_value_heads.parameters())
            torch._foreach_lerp_(slow, list(self._parameters["value"]), self.tau)
        return metrics

    def _step(
        self,
        name: str,
        loss: Tensor,
        also: Iterable[Tensor] = (),
        through: tuple[Tensor, Tensor | None] | None = None,
    ) -> Tensor:
        """Descend ``loss`` with respect to one part's parameters; return the gradient's norm before clipping.

        :param also: tensors that get the loss's gradient, too
        :param through: an output of the part, and another loss's gradient with respect to it
        """
        optimizer, parameters = self.optimizers[name], self._parameters[name]
        optimizer.zero_grad()
        outputs: list[Tensor] = [loss]
        gradients: list[Tensor | None] = [None]
        if through is not None:
            outputs.append(through[0])
            gradients.append(through[1])
        torch.autograd.backward(outputs, gradients, inputs=[*parameters, *also])
        limit = self.config.model_clip_norm if name == "model" else self.config.actor_clip_norm
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        optimizer.step()
        return norm

    def model_loss(self, batch: StreamBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of the world model, posterior latents ``[L, B, Z]``, and metrics."""
        model, config = self.world_model, self.config
        observations: Any = model.coder.prepare(batch.observations, self.generator)
        embeddings = model.coder.encode(observations)  # [L, B, E]
        latents, posterior = model.rssm.observe(
            embeddings, batch.actions, batch.is_first, batch.context, self.generator
        )
        prior = model.rssm.prior(model.rssm.split(latents)[0])
        kl = model.rssm.stochastic.kl
        dynamics, representation = kl(posterior.detach(), prior), kl(posterior, prior.detach())  # [L, B]
        losses = {
            "observation": model.coder.loss(latents, observations).mean(),
            "reward": model.scalar.loss(model.reward_head(latents), batch.rewards).mean(),
            "dynamics": dynamics.clamp(min=config.free_nats).mean(),
            "representation": representation.clamp(min=config.free_nats).mean(),
        }
        if model.episodic:
            logits = model.termination_logit(latents)
            losses["termination"] = F.binary_cross_entropy_with_logits(logits, batch.terminated)
        weights = {
            "observation": config.observation_coef,
            "dynamics": config.dynamics_coef,
            "representation": config.representation_coef,
        }
        loss = torch.stack([weights.get(name, 1.0) * part for name, part in losses.items()]).sum()
        metrics = {f"train/{name}_loss": part.detach() for name, part in losses.items()}
        metrics |= {
            "train/loss": loss.detach(),
            "train/kl": dynamics.detach().mean(),
            "train/posterior_entropy": model.rssm.stochastic.entropy(posterior.detach()).mean(),
        }
        return loss, latents, metrics

    def imagine(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Follow the actor in imagination.

        :param z: where to start ``[N, Z]``
        :return: latents ``[H + 1, N, Z]`` and actions ``[H, N, A]``, where these are normal before they are clamped
        """
        model = self.world_model
        states, actions = [z], []
        for _ in range(self.config.horizon):
            # A policy reads a state and sends no gradient back into it: one reaches an action through its own step.
            distribution = model.policy(states[-1].detach())
            if isinstance(distribution, ClampedGaussian):
                mean = distribution.mean
                noise = torch.randn(mean.shape, generator=self.generator, device=mean.device)
                actions.append(torch.addcmul(mean, noise, distribution.log_std.exp()))
            else:
                actions.append(distribution.sample(self.generator))
            noise = model.rssm.stochastic.noise(len(z), generator=self.generator, device=z.device)
            states.append(model.rssm.imagine(states[-1], actions[-1].clamp(-1, 1), noise))
        return torch.stack([state.to(states[-1].dtype) for state in states]), torch.stack(actions)

    def behaviour_losses(
        self, states: Tensor, actions: Tensor, batch: StreamBatch, replayed: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Losses of actor and critic, and metrics.

        :param states: imagined latents ``[H + 1, N, Z]``, from every step of ``batch``
        :param actions: ``[H, N, A]``
        :param batch: what was replayed there
        :param replayed: the latents ``[L, B, Z]`` that imagination starts from, which the loss on replayed values is
            differentiated in where they ask for it
        """
        model, config = self.world_model, self.config
        features = states.detach()
        outputs = model.value_heads(features)  # [H + 1, N, bins]
        with torch.set_grad_enabled(config.actor_gradient == "dynamics"):
            rewards = model.reward_at(states[1:])  # [H, N]
            discounts = torch.full_like(rewards, model.discount)
            if model.episodic:
                discounts = discounts * torch.sigmoid(-model.termination_logit(states[1:]))
            if torch.is_grad_enabled():
                values = model.values(states, None)[0]
            else:
                values = model.scalar.decode(outputs.detach())  # [H + 1, N]
            returns = lambda_returns(rewards, values, discounts, config.return_lambda)  # [H, N]
            slow = model.scalar.decode(model.target_value_heads(features))  # [H + 1, N]
        alive = (1 - batch.terminated).flatten().unsqueeze(0)  # [1, N]
        weights = torch.cat((alive, discounts[:-1].detach())).cumprod(0)  # [H, N]

        actor_loss, metrics = self._actor_loss(features[:-1], actions, returns, values[:-1], weights)
        returns, slow = returns.detach(), slow.detach()
        value_loss = (weights * self._value_loss(outputs[:-1], returns, slow[:-1])).mean()
        if config.replay_value_coef > 0:
            there = model.value_heads(replayed).flatten(0, 1) if replayed.requires_grad else outputs[0]
            replay_loss = self._replay_value_loss(there, returns[0], slow[0], batch)
            value_loss = value_loss + config.replay_value_coef * replay_loss
        metrics |= {
            "train/value_loss": value_loss.detach(),
            "train/imagined_reward": rewards.detach().mean(),
            "train/value": values.detach().mean(),
        }
        return actor_loss, value_loss, metrics

    def _actor_loss(
        self, features: Tensor, actions: Tensor, returns: Tensor, values: Tensor, weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The actor's loss (Hafner et al. 2025, Eq. 6; 2020, Eq. 7); each argument is ``[H, N, ...]``."""
        config = self.config
        scale = (
            self.return_range.update(returns) if config.normalize_returns else torch.ones_like(returns[0, 0])
        )
        metrics = {"train/return_scale": scale}
        objective = returns / scale  # [H, N]
        reinforce = config.actor_gradient == "reinforce"
        if reinforce or config.entropy_coef > 0:
            distribution = self.world_model.policy(features)
            if reinforce:
                advantages = (returns - values) / scale
                objective = distribution.log_prob(actions) * advantages
                metrics["train/advantage"] = advantages.abs().mean()
            if config.entropy_coef > 0:
                entropy = distribution.entropy
                objective = objective + config.entropy_coef * entropy
                metrics["train/policy_entropy"] = entropy.mean()
        loss = -(weights * objective).mean()
        metrics["train/policy_loss"] = loss
        return loss, {name: metric.detach() for name, metric in metrics.items()}

    def _value_loss(self, outputs: Tensor, returns: Tensor, slow: Tensor) -> Tensor:
        """Loss ``[...]`` towards returns and the slow value."""
        scalar, coef = self.world_model.scalar, self.config.slow_value_coef
        if coef == 0:
            return scalar.loss(outputs, returns)
        if coef == 1:
            return scalar.loss(outputs, returns, slow)
        return scalar.loss(outputs, returns) + coef * scalar.loss(outputs, slow)

    def _replay_value_loss(
        self, outputs: Tensor, imagined: Tensor, slow: Tensor, batch: StreamBatch
    ) -> Tensor:
        """Loss on lambda-returns of replayed rewards that end in imagined ones (Hafner et al. 2025, repval).

        :param outputs: the value's at every replayed latent ``[N, bins]``
        :param imagined: returns imagined from there ``[N]``
        :param slow: the slow value there ``[N]``
        """
        shape = batch.rewards.shape  # [L, B]
        goes_on = 1 - batch.is_first[1:]  # [L - 1, B], 0 in an episode's last state
        # An episode that a time limit has cut goes on in imagination.
        lambdas = self.config.return_lambda * torch.cat((goes_on[1:], torch.ones_like(goes_on[:1])))
        discounts = self.world_model.discount * (1 - batch.terminated[1:])
        returns = lambda_returns(batch.rewards[1:], imagined.view(shape), discounts, lambdas)
        loss = self._value_loss(outputs.view(*shape, -1)[:-1], returns, slow.view(shape)[:-1])
        return (goes_on * loss).mean()


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 have instructions of their own there."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(supported())
