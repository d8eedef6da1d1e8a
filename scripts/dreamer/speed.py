"""Time DreamerV3's update against sheeprl's, at the same sizes, in turns.

    python -m venv sheeprl-env && sheeprl-env/bin/pip install sheeprl==0.8.4
    python scripts/dreamer/speed.py sheeprl-env/bin/python [--rounds 10] [--updates 3] [--threads 1]

The first interpreter has this package, the second one sheeprl from PyPI. Each variant is a process of its own that
makes its networks once and then updates on made-up batches of 16 sequences of 64 steps; the processes take turns, so
that whatever else the machine does slows all of them. Both sides have a termination head, 127 bins for rewards and
values, encoder, decoder, actor and critic of three layers, a GRU of 256 and layers of 128. Drawing batches is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO

BATCH, LENGTH, OBSERVATION, ACTION = 16, 64, 24, 6
WIDTH, RECURRENT, GROUPS, CLASSES, BINS, LAYERS = 128, 256, 32, 8, 127, 3

#: what is timed: whose, precision, and how sheeprl's actor learns
VARIANTS = {
    "dream-agents": ("ours", "auto", ""),
    "dream-agents, float32": ("ours", "none", ""),
    "dream-agents, actor through the dynamics": ("ours", "auto", "dynamics"),
    "dream-agents, float32, actor through the dynamics": ("ours", "none", "dynamics"),
    "sheeprl": ("sheeprl", "32-true", "null"),
    "sheeprl, bfloat16": ("sheeprl", "bf16-mixed", "null"),
    "sheeprl, actor by REINFORCE": ("sheeprl", "32-true", "1"),
    "sheeprl, bfloat16, actor by REINFORCE": ("sheeprl", "bf16-mixed", "1"),
}


def main() -> None:
    """Let the variants take turns and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", help="the Python interpreter of an environment with sheeprl")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each variant")
    parser.add_argument("--updates", type=int, default=3, help="updates in a turn")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's threads")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(*arguments.worker, arguments.threads)
        return
    interpreters = {"ours": sys.executable, "sheeprl": arguments.peer}
    workers = {
        name: start(interpreters[side], side, *options, threads=arguments.threads)
        for name, (side, *options) in VARIANTS.items()
    }
    sizes = {name: int(_stream(worker.stdout).readline()) for name, worker in workers.items()}
    times: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(arguments.rounds + 1):
        for name, worker in workers.items():
            print(arguments.updates, file=_stream(worker.stdin), flush=True)
            milliseconds = float(_stream(worker.stdout).readline())
            if turn > 0:  # the first one warms up
                times[name].append(milliseconds)
    for worker in workers.values():
        _stream(worker.stdin).close()
    ours = statistics.median(times["dream-agents"])
    print(f"{'':50} {'parameters':>10} {'ms an update':>12} {'min':>6} {'ratio to ours':>14}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:50} {sizes[name]:10,} {median:12.1f} {min(values):6.1f} {median / ours:14.2f}")


def start(interpreter: str, *options: str, threads: int) -> subprocess.Popen[str]:
    """Start a worker."""
    return subprocess.Popen(
        [interpreter, __file__, "-", "--threads", str(threads), "--worker", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )


def work(side: str, precision: str, actor: str, threads: int) -> None:
    """Update as often as each line of the input says, and print the milliseconds that one took."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    update, parameters = {"ours": ours, "sheeprl": sheeprl}[side](precision, actor)
    print(parameters, flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            update()
        print(1e3 * (time.perf_counter() - began) / int(line), flush=True)


def ours(precision: str, actor: str) -> tuple[Callable[[], object], int]:
    """Return an update of this package's learner, and how many parameters it trains."""
    import torch

    from dream_agents.learners.dreamer import DreamerLearner
    from dream_agents.learners.dreamer_config import DreamerConfig
    from dream_agents.models.dreamer import DreamerSize, DreamerWorldModel
    from dream_agents.replay.stream import StreamBatch

    size = DreamerSize(RECURRENT, WIDTH, GROUPS, CLASSES, WIDTH)
    # sheeprl's prior has one hidden layer.
    model = DreamerWorldModel((OBSERVATION,), ACTION, size, episodic=True, prior_layers=1)
    config = DreamerConfig(
        autocast=None if precision == "none" else precision, actor_gradient=actor or "reinforce"
    )
    learner = DreamerLearner(model, config, 3e-4, 0.02, torch.Generator())

    def update() -> object:
        data = batch()
        return learner.update(
            StreamBatch(
                data["obs"],
                data["actions"].clamp(-1, 1),
                data["rewards"],
                data["terminated"],
                data["is_first"],
                None,
                lambda latents: None,
            )
        )

    return update, sum(p.numel() for p in model.parameters() if p.requires_grad)


def sheeprl(precision: str, objective_mix: str) -> tuple[Callable[[], object], int]:
    """Return an update of sheeprl's, as its main loop makes it, and how many parameters it trains."""
    import hydra
    import torch
    from gymnasium import spaces
    from lightning.fabric import Fabric
    from sheeprl.algos.dreamer_v3.agent import build_agent
    from sheeprl.algos.dreamer_v3.dreamer_v3 import train
    from sheeprl.algos.dreamer_v3.utils import Moments
    from sheeprl.utils.utils import dotdict

    with hydra.initialize_config_module("sheeprl.configs", version_base="1.3"):
        composed = hydra.compose("config", overrides=list(overrides(objective_mix)))
    from omegaconf import OmegaConf

    cfg = dotdict(OmegaConf.to_container(composed, resolve=True, throw_on_missing=False))
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    fabric.launch()
    space = spaces.Dict({"state": spaces.Box(-10, 10, (OBSERVATION,))})
    model, actor, critic, target, _ = build_agent(fabric, (ACTION,), True, cfg, space)
    optimizers = [
        fabric.setup_optimizers(
            hydra.utils.instantiate(part.optimizer, params=module.parameters(), _convert_="all")
        )
        for part, module in (
            (cfg.algo.world_model, model),
            (cfg.algo.actor, actor),
            (cfg.algo.critic, critic),
        )
    ]
    scale = cfg.algo.actor.moments
    moments = Moments(scale.decay, scale.max, scale.percentile.low, scale.percentile.high)

    def update() -> object:
        data = batch()
        data = {"state": data.pop("obs")} | {
            name: value if value.dim() == 3 else value.unsqueeze(-1) for name, value in data.items()
        }
        for new, old in zip(critic.module.parameters(), target.parameters(), strict=True):
            old.data.copy_(cfg.algo.critic.tau * new.data + (1 - cfg.algo.critic.tau) * old.data)
        return train(
            fabric, model, actor, critic, target, *optimizers, data, None, cfg, True, (ACTION,), moments
        )  # fmt: skip

    trained = [p for module in (model, actor, critic) for p in module.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 for p in trained)
    return update, sum(p.numel() for p in trained)


def overrides(objective_mix: str) -> Iterator[str]:
    """Sheeprl's settings for the sizes above."""
    yield from ("exp=dreamer_v3", "algo=dreamer_v3_XS", "env=dummy", "metric.log_level=0")
    yield from (
        "algo.cnn_keys.encoder=[]",
        "algo.cnn_keys.decoder=[]",
        "algo.mlp_keys.encoder=[state]",
        "algo.mlp_keys.decoder=[state]",
        "algo.world_model.discrete_size=8",
    )
    yield from (f"algo.dense_units={WIDTH}", f"algo.mlp_layers={LAYERS}", "algo.per_rank_sequence_length=64")
    yield f"algo.world_model.stochastic_size={GROUPS}"
    yield f"algo.world_model.recurrent_model.recurrent_state_size={RECURRENT}"
    for part in ("transition_model", "representation_model"):
        yield f"algo.world_model.{part}.hidden_size={WIDTH}"
    for part in ("reward_model", "discount_model"):
        yield f"algo.world_model.{part}.mlp_layers=1"
    yield from (f"algo.world_model.reward_model.bins={BINS}", f"algo.critic.bins={BINS}")
    yield f"algo.actor.objective_mix={objective_mix}"


def batch() -> dict[str, torch.Tensor]:  # type: ignore[name-defined]  # noqa: F821
    """Made-up sequences, time first; an episode begins with each."""
    import torch

    first = torch.zeros(LENGTH, BATCH)
    first[0] = 1
    return {
        "obs": torch.randn(LENGTH, BATCH, OBSERVATION),
        "actions": torch.randn(LENGTH, BATCH, ACTION).clamp(-1, 1),
        "rewards": torch.rand(LENGTH, BATCH),
        "terminated": torch.zeros(LENGTH, BATCH),
        "is_first": first,
    }


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


if __name__ == "__main__":
    main()
