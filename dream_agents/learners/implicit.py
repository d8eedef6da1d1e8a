"""What the learning of TD-MPC2 (Hansen et al. 2024) and BMPC (Wang et al. 2025) has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dream_agents.learners.adam import AdamLearner
from dream_agents.learners.base import Backbone, mean_of_happened
from dream_agents.models.layers import EnsembleMembers
from dream_agents.models.packing import shift_images
from dream_agents.models.tdmpc import ImplicitWorldModel, TDMPCSize
from dream_agents.replay import SequenceBatch


@dataclass
class ImplicitModelConfig:
    """Hyperparameters that both have, named as in Table 5 of the paper of Dream-MPC.

    :param horizon: H, steps that the latent is rolled out
    :param consistency_coef: weight of the joint-embedding prediction
    :param reward_coef: weight of the reward prediction
    :param value_coef: weight of the value prediction
    :param termination_coef: weight of the termination prediction (episodic tasks)
    :param temporal_coef: lambda (rho in the public code), decay of the losses over the roll-out
    :param entropy_coef: weight of the policy's scaled entropy
    :param encoder_lr_scale: learning rate of the encoder relative to the others'
    :param grad_clip_norm: largest gradient norm
    :param random_shift: pixels by which observed images are shifted at most, to augment them
    :param autocast: "bfloat16" runs the networks under autocast, BMPC's planning of replayed steps included; None in
        float32
    :param compile: compile the losses with ``torch.compile``, which takes a minute at first and needs a C++ compiler
    """

    horizon: int = 3
    consistency_coef: float = 20.0
    reward_coef: float = 0.1
    value_coef: float = 0.1
    termination_coef: float = 1.0
    temporal_coef: float = 0.5
    entropy_coef: float = 1e-4
    encoder_lr_scale: float = 0.3
    grad_clip_norm: float = 20.0
    random_shift: int = 3
    autocast: str | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        if self.autocast not in (None, "bfloat16"):
            raise ValueError(f'autocast={self.autocast!r} is not known; use "bfloat16" or None')
        if self.random_shift < 0:
            raise ValueError(f"random_shift={self.random_shift} must be at least 0")
        if self.horizon < 1:
            raise ValueError(f"horizon={self.horizon} is too short; use at least 1")


class RunningScale:
    """Moving 5th to 95th percentile range of what the policy learns from, at least 1 (Hansen et al. 2024, Sec. 3.1)."""

    def __init__(self, device: torch.device, rate: float = 0.01):
        self.rate = rate
        self.value = torch.ones((), device=device)
        self._quantiles = torch.tensor([0.05, 0.95], device=device)

    def update(self, values: Tensor) -> None:
        """Move towards the range of ``values``."""
        low, high = torch.quantile(values.detach().float().flatten(), self._quantiles)
        self.value.lerp_((high - low).clamp(min=1.0), self.rate)


class ImplicitModelLearner(AdamLearner):
    """One update of encoder, dynamics, reward, values, termination and policy prior.

    :param world_model: the networks, on their device
    :param config: hyperparameters
    :param learning_rate: Adam's learning rate
    :param tau: rate at which target values follow
    :param generator: source of the policy's noise and of the choice of values, on the model's device
    """

    #: what the policy's loss is scaled by the range of
    scaled: ClassVar[str]
    world_model: ImplicitWorldModel

    def __init__(
        self,
        world_model: ImplicitWorldModel,
        config: ImplicitModelConfig,
        learning_rate: float,
        tau: float,
        generator: torch.Generator,
    ):
        super().__init__(world_model, generator)
        self.config, self.tau = config, tau
        self.horizon = config.horizon
        self.scale = RunningScale(self.device)
        model = world_model
        encoder = list(model.encoder.parameters())
        heads = [model.dynamics, model.reward_head, model.value_heads, model.termination_head]
        others = [p for head in heads if head is not None for p in head.parameters()]
        self.model_parameters = encoder + others
        self.policy_parameters = list(model.policy_head.parameters())
        self._add_optimizer("model", [(encoder, config.encoder_lr_scale), (others, 1.0)], eps=1e-8)
        self._add_optimizer("policy", [(self.policy_parameters, 1.0)], eps=1e-5)
        self.set_learning_rate(learning_rate)
        weights = config.temporal_coef ** torch.arange(self.horizon + 1, device=self.device)
        self._temporal_weights = weights  # [H + 1]
        maybe_compile: Callable[..., Any] = torch.compile if config.compile else lambda function: function
        self._model_loss = maybe_compile(self.model_loss)
        self._policy_loss = maybe_compile(self.policy_loss)

    def state_dict(self) -> dict[str, Any]:
        """Optimizers and running scale."""
        return super().state_dict() | {"scale": self.scale.value}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Take back what :meth:`state_dict` gave, on whatever device it was."""
        super().load_state_dict(state, strict)
        self.scale.value.copy_(state["scale"])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.autocast == "bfloat16")

    def _random_pair(self) -> EnsembleMembers:
        """Two members of the value ensemble, drawn without replacement, or the one that there is."""
        count = self.world_model.num_values
        if self.on_device:
            drawn = torch.rand(count, generator=self.generator, device=self.device)
            return drawn.topk(min(2, count)).indices.split(1)
        return torch.randperm(count, generator=self.generator, device=self.device)[:2].tolist()

    def update(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Update the model, then the policy prior, then the target values.

        :param batch: sub-sequences of ``horizon`` steps
        """
        return self._learn(batch)

    def _learn(self, batch: SequenceBatch, policy: bool = True) -> dict[str, Tensor]:
        """Do an update, of the policy as well or of all but the policy."""
        self.world_model.train()
        shape = self.world_model.obs_shape
        shifted = shift_images(batch.observations, shape, self.config.random_shift, self.generator)
        batch = batch._replace(observations=shifted)
        with torch.no_grad(), self._autocast():
            next_latents, td_target = self.targets(batch, self._random_pair())
        plain = batch._replace(extra=None, stored=None)  # arrays of replay don't go through torch.compile
        with self._autocast():
            loss, latents, metrics = self._model_loss(plain, next_latents, td_target)
        metrics["train/grad_norm"] = self._step("model", loss, self.model_parameters)
        if policy:
            metrics |= self._update_policy(latents.detach(), batch)
        with torch.no_grad():
            targets: list[Tensor] = list(self.world_model.target_value_heads.parameters())
            online: list[Tensor] = list(self.world_model.value_heads.parameters())
            torch._foreach_lerp_(targets, online, self.tau)
        self.world_model.eval()
        return metrics

    def _update_policy(self, latents: Tensor, batch: SequenceBatch) -> dict[str, Tensor]:
        """Update the policy on ``latents [H + 1, B, Z]``, and what its loss is scaled by."""
        with self._autocast():
            loss, scaled, metrics = self._policy_loss(latents, self.policy_inputs(batch), batch.mask)
        metrics["train/policy_grad_norm"] = self._step("policy", loss, self.policy_parameters)
        self.scale.update(scaled)
        return metrics | {f"train/{self.scaled}_scale": self.scale.value.clone()}

    def _step(self, name: str, loss: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor:
        """Descend ``loss`` with respect to ``parameters`` only; return the gradient's norm before clipping."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward(inputs=parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip_norm)
        optimizer.step()
        return norm

    @abstractmethod
    def targets(self, batch: SequenceBatch, members: EnsembleMembers) -> tuple[Tensor, Tensor]:
        """Encoded next observations ``[H, B, Z]`` and targets of the values ``[H, B]`` from two target values."""

    @abstractmethod
    def policy_inputs(self, batch: SequenceBatch) -> Any:
        """What :meth:`policy_loss` needs in addition to latents."""

    @abstractmethod
    def policy_loss(
        self, latents: Tensor, inputs: Any, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of the policy prior on latents ``[H + 1, B, Z]``, what scales it at t = 0 ``[B]``, and metrics.

        :param inputs: what :meth:`policy_inputs` gave
        :param mask: 1 where the step happened, ``[H, B]``; None where all did
        """

    def model_loss(
        self, batch: SequenceBatch, next_latents: Tensor, td_target: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of everything but the policy, the rolled latents ``[H + 1, B, Z]``, and metrics."""
        model, config, horizon = self.world_model, self.config, self.horizon
        weights = self._temporal_weights[:horizon] / horizon  # [H]
        rolled = [model.encode(batch.observations[0])]
        for action in batch.actions:
            rolled.append(model.next(rolled[-1], action))
        latents = torch.stack(rolled)  # [H + 1, B, Z]
        distance = F.mse_loss(latents[1:], next_latents, reduction="none")  # [H, B, Z]
        reward_logits = model.reward_logits(latents[:-1], batch.actions)
        reward_loss = model.two_hot.cross_entropy(reward_logits, batch.rewards)  # [H, B]
        value_logits = model.value_logits(latents[:-1], batch.actions)  # [M, H, B, bins]
        targets = td_target.expand(model.num_values, *td_target.shape)
        value_loss = model.two_hot.cross_entropy(value_logits, targets)  # [M, H, B]
        consistency = weights @ mean_of_happened(distance, batch.mask, each_step=True)
        reward = weights @ mean_of_happened(reward_loss, batch.mask, each_step=True)
        if batch.mask is None:
            value = weights @ value_loss.mean((0, 2))
        else:
            value = weights @ mean_of_happened(value_loss.mean(0), batch.mask, each_step=True)
        loss = config.consistency_coef * consistency + config.reward_coef * reward + config.value_coef * value
        metrics = {
            "train/consistency_loss": consistency,
            "train/reward_loss": reward,
            "train/value_loss": value,
        }
        if model.episodic:
            logits = model.termination_logit(latents[1:])
            if batch.mask is None:
                termination = F.binary_cross_entropy_with_logits(logits, batch.terminated)
            else:
                losses = F.binary_cross_entropy_with_logits(logits, batch.terminated, reduction="none")
                termination = mean_of_happened(losses, batch.mask)
            loss = loss + config.termination_coef * termination
            metrics["train/termination_loss"] = termination
        metrics |= {"train/loss": loss, "train/td_target": mean_of_happened(td_target, batch.mask)}
        return loss, latents, {name: metric.detach() for name, metric in metrics.items()}


class ImplicitBackbone(Backbone):
    """What the backbones of TD-MPC2's kind have in common."""

    size_class: ClassVar[type | None] = TDMPCSize
    takes_short_episodes: ClassVar[bool] = True
    encodes_by_key: ClassVar[bool] = True
    default_training_planner: ClassVar[str | None] = "adaptive"
    model_defaults: ClassVar[Mapping[str, Any]] = {"image_groups": "channels"}

    @classmethod
    def complete_model_kwargs(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """SimNorm's groups were positions, as published, where a file does not say what they are."""
        return {"image_groups": "positions", **saved}
