"""SAC's networks as pytorch_sac and pytorch_sac_ae have them (Yarats and Kostrikov 2020, Yarats et al. 2021)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.sac.policies import Actor, CnnPolicy, MultiInputPolicy, SACPolicy
from torch import Tensor


class ExactTanhGaussian(SquashedDiagGaussianDistribution):
    """tanh of a Gaussian, with the exact logarithm of tanh's slope.

    Stable-Baselines3 adds 1e-6 to the slope, so that an action at its bound has no gradient any more.
    """

    def log_prob(self, actions: Tensor, gaussian_actions: Tensor | None = None) -> Tensor:
        """Log-density ``[B]`` of actions ``[B, A]`` in (-1, 1), or of what they are the tanh of."""
        x = torch.atanh(actions) if gaussian_actions is None else gaussian_actions
        log_slope = 2 * (math.log(2) - x - F.softplus(-2 * x))  # log(1 - tanh(x)^2)
        return self.distribution.log_prob(x).sum(1) - log_slope.sum(1)


class BoundedActor(Actor):
    """Stable-Baselines3's actor, whose log std goes through a tanh into its bounds instead of being clamped to them.

    Its noise therefore begins in the middle of the bounds, and always has a gradient.

    :param log_std_bounds: lowest and highest log standard deviation, before the action's tanh
    :param exact_log_prob: use :class:`ExactTanhGaussian`
    :param kwargs: keywords of Stable-Baselines3's actor
    """

    def __init__(
        self,
        *args: Any,
        log_std_bounds: tuple[float, float],
        exact_log_prob: bool,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.log_std_bounds, self.exact_log_prob = log_std_bounds, exact_log_prob
        if exact_log_prob and not self.use_sde:
            self.action_dist = ExactTanhGaussian(self.action_dist.action_dim)  # type: ignore[assignment]

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Mean and log std ``[B, A]`` of the Gaussian; as in Stable-Baselines3 with gSDE."""
        if self.use_sde:
            return super().get_action_dist_params(obs)
        hidden = self.latent_pi(self.extract_features(obs, self.features_extractor))
        low, high = self.log_std_bounds
        log_std = low + 0.5 * (high - low) * (torch.tanh(self.log_std(hidden)) + 1)  # type: ignore[operator]
        return self.mu(hidden), log_std, {}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "log_std_bounds": self.log_std_bounds,
            "exact_log_prob": self.exact_log_prob,
        }


class PublishedNetworks(SACPolicy):
    """Layers that begin with orthogonal matrices and biases of 0, and a :class:`BoundedActor`.

    It stands before a policy of Stable-Baselines3 among a class's bases.

    :param log_std_bounds: of the actor
    :raises ValueError: if they are in the wrong order
    """

    #: of the actor
    exact_log_prob = True

    def __init__(self, *args: Any, log_std_bounds: tuple[float, float] = (-5.0, 2.0), **kwargs: Any):
        low, high = log_std_bounds
        if not low < high:
            raise ValueError(f"log_std_bounds={tuple(log_std_bounds)}: the first has to be below the second")
        self.log_std_bounds = (float(low), float(high))
        super().__init__(*args, **kwargs)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> BoundedActor:
        """Make the actor; see Stable-Baselines3's policy."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        bounds: dict[str, Any] = {
            "log_std_bounds": self.log_std_bounds,
            "exact_log_prob": self.exact_log_prob,
        }
        return BoundedActor(**kwargs, **bounds).to(self.device)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.initialize()

    def initialize(self) -> None:
        """Draw the initial weights; the target critic gets the critic's."""
        self.apply(self.initialize_layer)
        if not self.use_sde:
            # There, mean and log std are one layer, whose rows are orthogonal to each other.
            mean, log_std = self.actor.mu, self.actor.log_std
            assert isinstance(mean, nn.Linear)
            assert isinstance(log_std, nn.Linear)
            rows = nn.init.orthogonal_(torch.cat((mean.weight.detach(), log_std.weight.detach())))
            with torch.no_grad():
                mean.weight[:], log_std.weight[:] = rows.chunk(2)
        self.critic_target.load_state_dict(self.critic.state_dict())

    @staticmethod
    def initialize_layer(module: nn.Module) -> None:
        """Draw the initial weights of a layer."""
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight)
            nn.init.zeros_(module.bias)

    @property
    def use_sde(self) -> bool:
        """Whether the actor explores by Stable-Baselines3's gSDE."""
        return bool(self.actor_kwargs["use_sde"])

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"log_std_bounds": self.log_std_bounds}


class PublishedMlpPolicy(PublishedNetworks):
    """For states."""


class PublishedCnnPolicy(PublishedNetworks, CnnPolicy):
    """For images, with Stable-Baselines3's encoder."""


class PublishedMultiInputPolicy(PublishedNetworks, MultiInputPolicy):
    """For dictionaries."""


#: policies by Stable-Baselines3's names for what they are given
PUBLISHED_POLICIES: dict[str, type[PublishedNetworks]] = {
    "MlpPolicy": PublishedMlpPolicy,
    "CnnPolicy": PublishedCnnPolicy,
    "MultiInputPolicy": PublishedMultiInputPolicy,
}
