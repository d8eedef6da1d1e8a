"""A backbone of linear networks: what a world model, its learner and the hooks between them and agents look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dream_agents.learners.base import Backbone, Learner, LearnerConfig
from dream_agents.models.base import WorldModel
from dream_agents.models.heads import SquashedGaussian
from dream_agents.replay import SequenceBatch


@dataclass(frozen=True)
class LinearSize:
    """Sizes of the networks.

    :param latent_dim: Z, numbers in a latent
    """

    latent_dim: int = 8


SIZES = {"small": LinearSize(4), "large": LinearSize(16)}


class LinearWorldModel(WorldModel):
    """One linear layer each for encoder, dynamics, reward, value and policy.

    :param obs_dim: numbers in an observation
    :param action_dim: A, action dimensions
    :param size: sizes of the networks
    :param discount: discount factor of the predicted returns
    :param episodic: whether the task can end before its time limit, which this model does not predict
    :param log_std: logarithm of the policy's standard deviation
    """

    num_values = 1
    takes_action_in_value = False

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        size: LinearSize,
        discount: float,
        episodic: bool,
        log_std: float = -1.0,
    ):
        super().__init__()
        self.action_dim, self.size, self.discount, self.episodic = action_dim, size, discount, episodic
        self.latent_dim, self.log_std = size.latent_dim, log_std
        self.encoder = nn.Linear(obs_dim, self.latent_dim)
        self.dynamics = nn.Linear(self.latent_dim + action_dim, self.latent_dim)
        self.reward_head = nn.Linear(self.latent_dim + action_dim, 1)
        self.value_head = nn.Linear(self.latent_dim, 1)
        self.policy_head = nn.Linear(self.latent_dim, action_dim)

    def observe(self, obs: Tensor, memory=None, episode_start=None, generator=None) -> tuple[Tensor, dict]:
        """Encode observations; nothing is remembered."""
        return self.encoder(obs), {}

    def next(self, z: Tensor, action: Tensor) -> Tensor:
        """The next latent."""
        return self.dynamics(joined(z, action))

    def reward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predicted reward."""
        return self.reward_head(joined(z, action)).squeeze(-1)

    def values(self, z: Tensor, action: Tensor | None, members: Sequence[int] | None = None) -> Tensor:
        """Predicted return of the one member."""
        return self.value_head(z).squeeze(-1).unsqueeze(0)

    def policy(self, z: Tensor) -> SquashedGaussian:
        """The policy, with the same spread everywhere."""
        mean = self.policy_head(z)
        return SquashedGaussian(mean, torch.full_like(mean, self.log_std))


def joined(z: Tensor, action: Tensor) -> Tensor:
    """Latents ``[..., Z]`` and actions ``[..., A]``, whose leading dimensions broadcast, as ``[..., Z + A]``."""
    shape = torch.broadcast_shapes(z.shape[:-1], action.shape[:-1])
    return torch.cat((z.expand(*shape, -1), action.expand(*shape, -1)), -1)


@dataclass
class LinearConfig(LearnerConfig):
    """Hyperparameters of the learner.

    :param reward_coef: weight of the reward's loss
    """

    reward_coef: float = 1.0


class LinearLearner(Learner):
    """Regress next latents, rewards and one-step returns; the policy ascends reward and value.

    :param world_model: what is trained
    :param config: hyperparameters
    :param learning_rate: of every network
    :param generator: source of randomness
    """

    def __init__(
        self,
        world_model: LinearWorldModel,
        config: LinearConfig,
        learning_rate: float,
        generator: torch.Generator,
    ):
        self.world_model, self.config, self.generator = world_model, config, generator
        self.horizon = config.horizon
        self.optimizers = {"all": torch.optim.Adam(world_model.parameters(), lr=learning_rate)}

    def update(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Do one step of Adam on the sum of the losses."""
        model, actions = self.world_model, batch.actions
        latents, _ = model.observe(batch.observations)  # [H + 1, B, Z]
        here, there = latents[:-1], latents[1:].detach()
        alive = 1 - batch.terminated
        target = batch.rewards + model.discount * alive * model.values(there, None)[0].detach()
        loss = (model.next(here, actions) - there).square().mean()
        loss = loss + self.config.reward_coef * (model.reward(here, actions) - batch.rewards).square().mean()
        loss = loss + (model.values(here, None)[0] - target).square().mean()
        chosen = model.policy(here.detach()).sample(self.generator)
        gain = model.reward(here, chosen) + model.discount * model.values(model.next(here, chosen), None)[0]
        (optimizer,) = self.optimizers.values()
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        policy = list(model.policy_head.parameters())
        for parameter, gradient in zip(policy, torch.autograd.grad(-gain.mean(), policy), strict=True):
            parameter.grad = gradient
        optimizer.step()
        return {"train/loss": loss.detach()}

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate."""
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = learning_rate


class LinearBackbone(Backbone):
    """Linear networks and their learner, with every hook that differs from the default."""

    config_class: ClassVar[type] = LinearConfig
    size_class: ClassVar[type | None] = LinearSize
    agent_defaults: ClassVar[Mapping[str, Any]] = {"model_size": "small", "batch_size": 8}
    default_training_planner: ClassVar[str | None] = "shooting"

    @staticmethod
    def build_world_model(
        obs_shape: tuple[int, ...],
        action_dim: int,
        model_size: LinearSize | str = "small",
        discount: float = 0.99,
        episodic: bool = False,
        **kwargs: Any,
    ) -> LinearWorldModel:
        """Make the networks.

        :raises ValueError: for images, and sizes that are none
        """
        if len(obs_shape) != 1:
            raise ValueError(f"observations of shape {obs_shape} are not flat, which linear networks need")
        if isinstance(model_size, str) and model_size not in SIZES:
            raise ValueError(f'model_size="{model_size}" is not known; choose one of {", ".join(SIZES)}')
        size = SIZES[model_size] if isinstance(model_size, str) else model_size
        return LinearWorldModel(obs_shape[0], action_dim, size, discount, episodic, **kwargs)

    @staticmethod
    def build_learner(
        world_model: WorldModel,
        config: LinearConfig,
        learning_rate: float,
        tau: float,
        generator: torch.Generator,
    ) -> LinearLearner:
        """Make the learner."""
        assert isinstance(world_model, LinearWorldModel)
        return LinearLearner(world_model, config, learning_rate, generator)

    @staticmethod
    def planner_options(planner: str, obs_type: str) -> dict[str, Any]:
        """No penalty for the disagreement of one value with itself."""
        return {"uncertainty_coef": 0.0, "horizon": 2} if planner == "dream" else {}
