"""How well a Dreamer's world model knows episodes that it has not learned from, and the ones in its replay buffer.

    python scripts/dreamer/fresh.py CHECKPOINT... [--episodes 8] [--steps 300] [--seed 50]

``CHECKPOINT`` is one of the folders ``checkpoints/checkpoint_*`` of ``dream-agents train --agent dreamer``, of flat
observations. Fresh episodes are the policy's own, its noise included. For both kinds of data it prints the share of the
variance of observations (after symlog) and of rewards that the posterior's latents explain, and the KL divergence of
the posterior from the prior, in nats. A model that has learned its data by heart predicts replayed episodes far better.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dream_agents import DreamerV3, make_env
from dream_agents.agents.checkpoint import AGENT_FILE, restore_training_state
from dream_agents.models.dreamer import DreamerWorldModel
from dream_agents.models.heads import symlog
from dream_agents.replay.stream import StreamBatch

#: the first steps of a stretch, in which the recurrent state finds out where it is
WARM_UP = 10


def main() -> None:
    """Print a line for each checkpoint and kind of data."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--episodes", type=int, default=8, help="fresh episodes")
    parser.add_argument("--steps", type=int, default=300, help="decisions of each")
    parser.add_argument("--seed", type=int, default=50, help="of the fresh episodes")
    arguments = parser.parse_args()
    print(f"{'checkpoint':50} {'data':8} {'observations':>12} {'rewards':>8} {'KL, nats':>9}")
    for folder in arguments.checkpoints:
        agent = DreamerV3.load(folder / AGENT_FILE, device="cpu")
        restore_training_state(agent, folder)
        assert isinstance(agent.world_model, DreamerWorldModel)
        batches = {
            "fresh": play(agent, arguments.episodes, arguments.steps, arguments.seed),
            "replayed": agent.replay_buffer.sample(64),
        }
        name = "/".join(folder.parts[-3:])
        for data, batch in batches.items():
            observations, rewards, kl = measure(agent.world_model, batch)
            print(f"{name:50} {data:8} {observations:12.3f} {rewards:8.3f} {kl:9.1f}")


def play(agent: DreamerV3, episodes: int, steps: int, seed: int) -> StreamBatch:
    """Let the agent act, and return what happened as stretches from the start of each episode."""
    model = agent.world_model
    observations, actions, rewards = [], [], []
    for episode in range(seed, seed + episodes):
        env = make_env(agent.task.env)
        generator = torch.Generator().manual_seed(episode)
        observation, _ = env.reset(seed=episode)
        memory = None
        seen, done, got = [observation], [np.zeros(env.action_space.shape, np.float32)], [0.0]
        for _ in range(steps):
            with torch.no_grad():
                z, memory = model.observe(torch.as_tensor(observation).unsqueeze(0), memory, None, generator)
                action = model.policy(z).sample(generator)
                memory = model.remember_action(memory, action)
            observation, reward, *_ = env.step(action[0].numpy())
            seen.append(observation)
            done.append(action[0].numpy())
            got.append(float(reward))
        observations.append(seen)
        actions.append(done)
        rewards.append(got)

    def time_first(rows: list[list]) -> Tensor:
        return torch.from_numpy(np.array(rows, np.float32)).transpose(0, 1)

    is_first = torch.zeros(steps + 1, episodes)
    is_first[0] = 1
    return StreamBatch(
        time_first(observations),
        time_first(actions),
        time_first(rewards),
        torch.zeros_like(is_first),
        is_first,
        None,
        lambda latents: None,
    )


@torch.no_grad()
def measure(model: DreamerWorldModel, batch: StreamBatch) -> tuple[float, float, float]:
    """Return the explained share of observations and rewards, and the KL divergence."""
    rssm = model.rssm
    embeddings = model.coder.encode(model.coder.prepare(batch.observations))
    latents, posterior = rssm.observe(
        embeddings, batch.actions, batch.is_first, batch.context, torch.Generator().manual_seed(0)
    )
    kl = rssm.stochastic.kl(posterior, rssm.prior(rssm.split(latents)[0]))
    target = symlog(batch.observations)
    squares = (model.coder.decoder(latents) - target).square()[WARM_UP:].mean((0, 1))
    observations = (1 - squares / target[WARM_UP:].var((0, 1))).mean()
    rewards = batch.rewards[WARM_UP:]
    missed = (model.reward_at(latents)[WARM_UP:] - rewards).square().mean() / rewards.var()
    return float(observations), float(1 - missed), float(kl[WARM_UP:].mean())


if __name__ == "__main__":
    main()
