"""Hyperparameters of learning: DreamerV3's, and Dreamer's and PlaNet's as the paper of Dream-MPC used them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DreamerConfig:
    """Hyperparameters of the learner, with DreamerV3's defaults.

    :param sequence_length: L, steps of a replayed sequence
    :param horizon: H, imagined steps
    :param imagine_last: imagination starts from the last so many steps of each sequence, 0 for all of them
    :param observation_coef: weight of the squared error of reconstructions; 0.5 makes it a Gaussian's of unit variance
    :param dynamics_coef: weight of the KL divergence that trains the prior
    :param representation_coef: weight of the KL divergence that trains the posterior
    :param free_nats: KL divergences below this are not trained
    :param return_lambda: lambda of the returns
    :param entropy_coef: eta, weight of the actor's entropy
    :param actor_gradient: "reinforce" (DreamerV3), or "dynamics" for backpropagation through the model (Dreamer)
    :param normalize_returns: whether the actor's objective is divided by the range of the returns
    :param return_decay: rate at which that range is forgotten
    :param slow_value_coef: weight of the value's distance to its moving average
    :param replay_value_coef: weight of the value's loss on the replayed rewards
    :param replay_value_gradient: whether that loss trains the world model, too; all networks then step together
    :param learns_behaviour: whether actor and value are trained; PlaNet has none
    :param actor_lr_scale: learning rate of actor and value relative to the world model's
    :param model_clip_norm: largest gradient norm of the world model
    :param actor_clip_norm: largest gradient norm of actor and value
    :param adam_eps: Adam's epsilon
    :param autocast: "bfloat16" runs the networks under autocast, None in float32; "auto" is bfloat16 where the
        processor multiplies in it
    """

    sequence_length: int = 64
    horizon: int = 15
    imagine_last: int = 0
    observation_coef: float = 1.0
    dynamics_coef: float = 1.0
    representation_coef: float = 0.1
    free_nats: float = 1.0
    return_lambda: float = 0.95
    entropy_coef: float = 3e-4
    actor_gradient: str = "reinforce"
    normalize_returns: bool = True
    return_decay: float = 0.99
    slow_value_coef: float = 1.0
    replay_value_coef: float = 0.3
    replay_value_gradient: bool = True
    learns_behaviour: bool = True
    actor_lr_scale: float = 0.3
    model_clip_norm: float = 1000.0
    actor_clip_norm: float = 100.0
    adam_eps: float = 1e-8
    autocast: str | None = "auto"

    @property
    def model_learns_values(self) -> bool:
        """Whether the value's loss on replayed rewards trains the world model."""
        return self.learns_behaviour and self.replay_value_gradient and self.replay_value_coef > 0

    def __post_init__(self) -> None:
        if self.autocast not in (None, "auto", "bfloat16"):
            raise ValueError(f'autocast={self.autocast!r} is not known; use "auto", "bfloat16" or None')
        if self.actor_gradient not in ("reinforce", "dynamics"):
            raise ValueError(
                f'actor_gradient="{self.actor_gradient}" is not known; use "reinforce" or "dynamics"'
            )
        for name in ("horizon", "sequence_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too short; use at least 1")
        if not 0 <= self.imagine_last <= self.sequence_length:
            raise ValueError(
                f"imagine_last={self.imagine_last} must be from 0 to sequence_length={self.sequence_length}"
            )
        name = "imagine_last" if self.imagine_last > 0 else "sequence_length"
        if getattr(self, name) == 1 and self.learns_behaviour and self.replay_value_coef > 0:
            raise ValueError(
                f"{name}=1: the value's loss on replayed rewards needs two steps; use at least 2, or "
                "replay_value_coef=0"
            )


@dataclass
class GaussianDreamerConfig(DreamerConfig):
    """Hyperparameters with the defaults of Dreamer as the paper of Dream-MPC used it (Table 16)."""

    sequence_length: int = 50
    observation_coef: float = 0.5
    representation_coef: float = 1.0
    free_nats: float = 3.0
    entropy_coef: float = 0.0
    actor_gradient: str = "dynamics"
    normalize_returns: bool = False
    slow_value_coef: float = 0.0
    replay_value_coef: float = 0.0
    actor_lr_scale: float = 8 / 60
    model_clip_norm: float = 100.0
    adam_eps: float = 1e-7


@dataclass
class PlaNetConfig(GaussianDreamerConfig):
    """Hyperparameters with the defaults of PlaNet in Table 16: only the world model learns."""

    learns_behaviour: bool = False
    model_clip_norm: float = 1000.0
    adam_eps: float = 1e-4
