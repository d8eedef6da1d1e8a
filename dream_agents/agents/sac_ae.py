"""SAC+AE (Yarats et al. 2021): SAC on images, with an encoder that also learns to reconstruct them."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from dream_agents.agents.interrupts import whole
from dream_agents.agents.sac import SAC
from dream_agents.agents.sac_ae_policy import SACAEPolicy, reconstruction_loss
from dream_agents.agents.sac_updates import descend
from dream_agents.replay import SequenceReplayBuffer
from dream_agents.wrappers.make import EnvLike


class SACAE(SAC):
    """SAC on images whose encoder learns from the critic and from a decoder that reconstructs what was seen.

    Stable-Baselines3's SAC, with networks, updates and hyperparameters of Yarats et al. (2021) and replay that stores
    each frame once. Keywords that are not listed are Stable-Baselines3's.

        >>> model = SACAE("dmc_walker-walk-v0").learn(250_000, progress_bar=True)

    :param env: an environment id, a ``gymnasium.Env`` or a ``VecEnv`` that observes images
    :param policy: Stable-Baselines3's policy class or its name
    :param obs_type: "pixels", the last three frames
    :param learning_rate: of all networks
    :param buffer_size: slots of the replay buffer; one is a frame, 12 KiB, so that a million take 12 GB when full
    :param learning_starts: random decisions before learning
    :param seed_updates: updates at once after them, each also of actor and targets; None for as many as decisions
    :param batch_size: transitions an update
    :param tau: rate at which the target critic follows
    :param encoder_tau: rate at which the target critic's encoder follows
    :param ent_coef: entropy coefficient; "auto_0.1" learns it, starting at 0.1
    :param ent_coef_learning_rate: its learning rate
    :param target_update_interval: critic updates for each update of the targets
    :param actor_update_interval: critic updates for each update of actor and entropy coefficient
    :param latent_coef: weight of the penalty on latents
    """

    agent_name = "sac_ae"
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "SACAEPolicy": SACAEPolicy,
        "CnnPolicy": SACAEPolicy,
    }
    policy: SACAEPolicy
    replay_buffer: SequenceReplayBuffer | None

    def __init__(
        self,
        env: EnvLike | VecEnv | None,
        policy: str | type[BasePolicy] | None = None,
        *,
        obs_type: str = "pixels",
        learning_rate: float = 1e-3,
        buffer_size: int = 1_000_000,
        learning_starts: int = 1000,
        seed_updates: int | None = None,
        batch_size: int = 128,
        tau: float = 0.01,
        encoder_tau: float = 0.05,
        ent_coef: str | float = "auto_0.1",
        ent_coef_learning_rate: float = 1e-4,
        target_update_interval: int = 2,
        actor_update_interval: int = 2,
        latent_coef: float = 1e-6,
        **kwargs: Any,
    ):
        if kwargs.get("preset", "sb3") != "sb3":
            raise ValueError(
                f'preset="{kwargs["preset"]}": SAC+AE has no presets, its defaults are the paper\'s'
            )
        unfit = [name for name in ("replay_buffer_class", "use_sde") if kwargs.get(name)]
        if kwargs.get("n_steps", 1) != 1 or unfit:
            raise ValueError(
                f"{', '.join(unfit) or 'n_steps'}: SAC+AE can't be changed in this; leave it out"
            )
        if seed_updates is not None and seed_updates < 0:
            raise ValueError(f"seed_updates={seed_updates}: a number of updates, or None, is expected")
        self.seed_updates, self._burst = seed_updates, 1
        self.encoder_tau, self.latent_coef = encoder_tau, latent_coef
        self.ent_coef_learning_rate, self.actor_update_interval = (
            ent_coef_learning_rate,
            actor_update_interval,
        )
        super().__init__(
            env,
            policy or "SACAEPolicy",
            obs_type=obs_type,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            ent_coef=ent_coef,
            target_update_interval=target_update_interval,
            replay_buffer_class=SequenceReplayBuffer,
            **kwargs,
        )

    def _setup_model(self) -> None:
        self._read_task()
        self.replay_buffer_kwargs = self.replay_buffer_kwargs | {
            "sequence_length": 1,
            "frame_stack": self._frame_stack,
            "seed": self.seed,
        }
        super()._setup_model()
        if self.log_ent_coef is not None:
            self.ent_coef_optimizer = torch.optim.Adam(
                [self.log_ent_coef], self.ent_coef_learning_rate, betas=(0.5, 0.999)
            )

    @property
    def updates_left(self) -> int:
        """Updates that are due before the next decision: seed updates, where they were interrupted."""
        return max(0, self._burst - self._n_updates) if self._n_updates > 0 else 0

    def _do_updates_left(self) -> None:
        self.train(0, self.batch_size)

    def train(self, gradient_steps: int, batch_size: int = 128) -> None:
        """Do ``gradient_steps`` updates of critic, actor and autoencoder; the first time ``seed_updates``.

        Where Ctrl-C or a callback ends ``learn`` between two of the latter, those that are left are done when it goes
        on.
        """
        assert self.replay_buffer is not None
        if not self.replay_buffer.can_sample():
            return
        if self._n_updates == 0:
            self._burst = max(gradient_steps, self._seed_updates())
        policy = self.policy
        policy.set_training_mode(True)
        learners = [policy.actor, policy.critic]
        self._update_learning_rate(
            [*(learner.optimizer for learner in learners), policy.encoder_optimizer, policy.decoder_optimizer]
        )
        losses: dict[str, list[float]] = {}
        count = max(gradient_steps, self._burst - self._n_updates)
        for done in range(count):
            if self.updates_left > 0 and self._is_stopped_between_updates(done, count):
                break
            with whole():
                update = self._update(batch_size)
            for name, loss in update.items():
                losses.setdefault(name, []).append(loss.item())
        self._record_losses(losses)

    def _update(self, batch_size: int) -> dict[str, Tensor]:
        """Do one update; return its losses by name."""
        assert self.replay_buffer is not None
        batch = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
        obs, next_obs = batch.observations  # [B, C, H, W]
        rewards, dones = batch.rewards[0, :, None], batch.terminated[0, :, None]  # [B, 1]
        # pytorch_sac_ae counts decisions: all seed updates have the same number, which is even.
        step = max(0, self._n_updates - self._burst + 1)
        losses = {
            "critic_loss": self._update_critic(obs, batch.actions[0], rewards, next_obs, dones, self.gamma)
        }
        if step % self.actor_update_interval == 0:
            losses |= self._update_actor(obs)
        if step % self.target_update_interval == 0:
            self._update_targets()
        losses["reconstruction_loss"] = self._update_autoencoder(obs)
        self._n_updates += 1
        return losses

    def _left(self) -> tuple[int, int, int]:
        """Random decisions, decisions by the agent and updates that are left of this ``learn``."""
        random, planned, updates = super()._left()
        burst = self._seed_updates() if self._n_updates == 0 and planned > 0 else self._burst
        return random, planned, updates + max(0, burst - self._n_updates)

    def _lowest_value(self, obs: Tensor, actions: Tensor) -> Tensor:
        """The smaller Q(z, a) ``[B]`` of latents that get no gradient from it."""
        with torch.no_grad():
            latent = self.critic.extract_features(obs, self.critic.features_extractor)
        inputs = torch.cat((latent, actions), 1)
        return torch.cat([network(inputs) for network in self.critic.q_networks], 1).amin(1)

    def _seed_updates(self) -> int:
        return int(self.learning_starts) if self.seed_updates is None else self.seed_updates

    def _update_targets(self) -> None:
        critic, target = self.critic, self.critic_target
        polyak_update(
            critic.features_extractor.parameters(), target.features_extractor.parameters(), self.encoder_tau
        )
        for network, slow in zip(critic.q_networks, target.q_networks, strict=True):
            polyak_update(network.parameters(), slow.parameters(), self.tau)

    def _update_autoencoder(self, obs: Tensor) -> Tensor:
        """Reconstruct the images from the critic's latents."""
        latent = self.critic.extract_features(obs, self.critic.features_extractor)
        loss = reconstruction_loss(latent, self.policy.decoder(latent), obs, self.latent_coef)
        descend(loss, self.policy.encoder_optimizer, self.policy.decoder_optimizer)
        return loss.detach()

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, tensors = super()._get_torch_save_params()
        return [*modules, "policy.encoder_optimizer", "policy.decoder_optimizer"], tensors
