"""Figs. 13 and 14: the gradients of trained agents' planners, in the true and in the learned dynamics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from dream_agents.agents.base import WorldModelAgent
from dream_agents.analysis.gradients import HORIZONS, GradientRow, gradient_rows
from dream_agents.analysis.pendulum import PENDULUM, PendulumWorldModel
from dream_agents.analysis.playing import play, state_values
from dream_agents.evaluation.environments import environment_name, evaluation_env_of, task_of
from dream_agents.evaluation.settings import EvaluationSettings
from dream_agents.models.base import WorldModel
from dream_agents.models.heads import ActionDistribution
from dream_agents.planners.gradient import GradientPlanner


def gradients_of_agents(
    agents: Mapping[str, WorldModelAgent],
    *,
    planners: Mapping[str, GradientPlanner] | None = None,
    horizons: Iterable[int] = HORIZONS,
    states: int = 32,
    samples: int = 100,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> list[GradientRow]:
    """Measure planners' gradients in each agent's world model, and on Pendulum-v1 in the true dynamics, too.

    States are the same for both: visited by the agent in five episodes, drawn at random. In the true dynamics the
    agent's policy makes the proposals.

    :param agents: by what rows call them; those of several seeds give the figures' spread
    :param planners: as for :func:`~dream_agents.analysis.gradients.gradient_rows`
    :param horizons: planned steps
    :param states: states for each agent
    :param samples: action sequences in each state
    :param seed: of episodes, states and action sequences
    :param progress: called with the share of the work that is done
    """
    horizons = list(horizons)
    rows = []
    done = 0
    for name, agent in agents.items():
        observations = visited_observations(agent, states, seed)
        was_training = agent.policy.training
        agent.policy.set_training_mode(False)
        models = {"learned": agent.world_model}
        if environment_name(agent, None) == PENDULUM:
            models = {"true": true_dynamics(agent), **models}
        for dynamics, model in models.items():
            for horizon in horizons:
                rows += gradient_rows(
                    model,
                    observations,
                    planners,
                    horizons=[horizon],
                    samples=samples,
                    seed=seed,
                    model=name,
                    model_seed=agent.seed,
                    dynamics=dynamics,
                )
                done += 1
                if progress is not None:
                    progress(done / (len(agents) * len(models) * len(horizons)))
        agent.policy.set_training_mode(was_training)
    return rows


def gradients_of_true_dynamics(
    *,
    planners: Mapping[str, GradientPlanner] | None = None,
    horizons: Iterable[int] = HORIZONS,
    states: int = 32,
    samples: int = 100,
    seed: int = 0,
) -> list[GradientRow]:
    """The same for Pendulum-v1's true dynamics alone, at random states and with a policy that knows nothing.

    Parameters are :func:`gradients_of_agents`'s.
    """
    rng = np.random.default_rng(seed)
    z = torch.as_tensor(rng.uniform((-np.pi, -8.0), (np.pi, 8.0), (states, 2)), dtype=torch.float32)
    model = PendulumWorldModel()
    return gradient_rows(
        model,
        model.observation(z),
        planners,
        horizons=horizons,
        samples=samples,
        seed=seed,
        model=PENDULUM,
        dynamics="true",
    )


def visited_observations(agent: WorldModelAgent, count: int, seed: int = 0, episodes: int = 5) -> Tensor:
    """Observations ``[count, *obs_shape]`` of states that the agent visits, without exploration, drawn at random.

    :param agent: an agent
    :param count: how many; fewer where its episodes are too short
    :param seed: of episodes and draw
    :param episodes: episodes that it plays
    """
    settings = EvaluationSettings(episodes=episodes, seed=seed)
    env = evaluation_env_of(agent, None, settings)
    was_training = agent.policy.training
    agent.policy.set_training_mode(False)
    try:
        played = play(agent.policy, agent.planner, env, settings)
    finally:
        agent.policy.set_training_mode(was_training)
        env.close()
    seen = np.stack([obs for episode in played for obs in episode.observations])
    chosen = np.random.default_rng(seed).choice(len(seen), min(count, len(seen)), replace=False)
    return torch.from_numpy(seen[chosen])


def true_dynamics(agent: WorldModelAgent) -> PendulumWorldModel:
    """Pendulum-v1's true dynamics with the policy and the values that an agent has learned there.

    :param agent: an agent that has learned on Pendulum-v1 from states
    :raises ValueError: for an agent of another environment, or from images
    """
    name = environment_name(agent, None)
    if name != PENDULUM or agent.obs_type != "state":
        raise ValueError(
            f"true dynamics are there for {PENDULUM} from states, not for {name} from {agent.obs_type}"
        )
    model = agent.world_model
    options = task_of(agent, None)[1]

    def policy(observations: Tensor) -> ActionDistribution:
        return model.policy(_encoded(model, observations))

    def value(observations: Tensor) -> Tensor:
        return state_values(model, _encoded(model, observations))

    true = PendulumWorldModel(float(options.get("g", 10.0)), model.discount, value, policy)
    return true.to(model.device)


def _encoded(model: WorldModel, observations: Tensor) -> Tensor:
    """Latents ``[..., Z]`` of observations ``[..., D]``, which are an episode's first to a recurrent model."""
    rows = observations.float().reshape(-1, observations.shape[-1])
    starts = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    z, _ = model.observe(rows, model.initial_memory(len(rows)), starts)
    return z.view(*observations.shape[:-1], z.shape[-1])
