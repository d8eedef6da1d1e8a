"""Gradients of planners: their size, their variance and their signal-to-noise ratio (Section D.2, Eq. 17)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.grad import GradPlanner
from dream_agents.planners.gradient import GradientPlanner

#: Figs. 13 and 14's horizons
HORIZONS = range(1, 16)

#: action sequences whose gradients are held in memory at once
_SEQUENCES_AT_ONCE = 1024


@dataclass(frozen=True)
class GradientRow:
    """Gradients of one planner in one model over one horizon, over states and action sequences.

    A gradient is dR/da, ``[H, A]``, of the undiscounted sum of rewards R (or whatever the planner maximises), at an
    action sequence that the planner starts from. Mean and variance are over the sequences that start in one state.

    :param model: what the model is called
    :param dynamics: "true" or "learned"
    :param planner: what the planner is called
    :param horizon: H
    :param seed: seed of the model, where it has one
    :param states: states that the figures are means over
    :param samples: action sequences in each state
    :param norm: mean norm of a gradient
    :param variance: variance of the gradient, summed over its components
    :param esnr: expected signal-to-noise ratio: squared mean over variance, each summed over components (Eq. 17)
    :param esnr_std: standard deviation of that ratio over states
    """

    model: str
    dynamics: str
    planner: str
    horizon: int
    seed: int | None
    states: int
    samples: int
    norm: float
    variance: float
    esnr: float
    esnr_std: float


def paper_planners() -> dict[str, GradientPlanner]:
    """Grad-MPC and Dream-MPC as in Figs. 13 and 14: Table 16's proposals, and R without a value at the end."""
    dream = DreamPlanner(proposal_noise=0.2, uncertainty_coef=0.0, terminal_value=False)
    return {"Grad-MPC": GradPlanner(), "Dream-MPC": dream}


def gradient_rows(
    world_model: WorldModel,
    observations: Tensor,
    planners: Mapping[str, GradientPlanner] | None = None,
    *,
    horizons: Iterable[int] = HORIZONS,
    samples: int = 100,
    seed: int = 0,
    model: str = "",
    model_seed: int | None = None,
    dynamics: str = "learned",
) -> list[GradientRow]:
    """Measure the gradients of planners in one model, a row for each planner and horizon.

    The ratio of ``samples`` gradients without any signal is about 1 / ``samples``, not 0: take enough of them.

    :param world_model: learned, or :class:`~dream_agents.analysis.pendulum.PendulumWorldModel`
    :param observations: states to plan in, ``[B, *obs_shape]``; to a recurrent model each is an episode's first
    :param planners: by what they are called; None for the paper's. Horizon and number of candidates are replaced.
    :param horizons: planned steps
    :param samples: action sequences in each state
    :param seed: of the action sequences
    :param model: what rows call the model
    :param model_seed: the model's own seed, for the rows
    :param dynamics: what rows call the dynamics
    :raises ValueError: for less than two samples, no state, a horizon below 1, and gradients that are not finite
    """
    if samples < 2:
        raise ValueError(f"samples={samples}: a variance takes at least 2")
    if len(observations) == 0:
        raise ValueError("there are no observations to plan in; give at least one, [B, *obs_shape]")
    rows = []
    for name, planner in (planners or paper_planners()).items():
        for horizon in horizons:
            shaped = dataclasses.replace(planner, horizon=horizon, candidates=samples)
            norms, variances, ratios = _statistics(world_model, observations, shaped, seed)
            if not bool(torch.isfinite(norms).all()):
                raise ValueError(
                    f"gradients of {name} over {horizon} steps in {model or 'the model'} are not finite; look at "
                    "its losses, or leave that horizon out"
                )
            spread = float(ratios.std()) if len(ratios) > 1 else 0.0
            means = (float(norms.mean()), float(variances.mean()), float(ratios.mean()))
            rows.append(
                GradientRow(model, dynamics, name, horizon, model_seed, len(ratios), samples, *means, spread)
            )
    return rows


def _statistics(
    model: WorldModel, observations: Tensor, planner: GradientPlanner, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean norm, summed variance and signal-to-noise ratio of gradients, each ``[B]`` in float64."""
    generator = torch.Generator(model.device).manual_seed(seed)
    found = []
    for part in observations.split(max(1, _SEQUENCES_AT_ONCE // planner.candidates)):
        gradients = _sample_gradients(model, part, planner, generator).double()  # [H, B, N, A]
        variance, mean = torch.var_mean(gradients, 2)  # [H, B, A]
        noise = variance.sum((0, 2))
        signal = mean.square().sum((0, 2))
        # Where the return is flat there is no signal, and 0 / 0 would be no number.
        ratio = torch.where(signal > 0, signal / noise, 0.0)
        found.append(torch.stack((gradients.square().sum((0, 3)).sqrt().mean(1), noise, ratio)))
    norms, variances, ratios = torch.cat(found, 1)
    return norms, variances, ratios


def _sample_gradients(
    model: WorldModel, observations: Tensor, planner: GradientPlanner, generator: torch.Generator
) -> Tensor:
    """Gradients ``[H, B, N, A]`` at the action sequences that the planner proposes at an episode's start."""
    batch = len(observations)
    starts = torch.ones(batch, dtype=torch.bool, device=model.device)
    with torch.no_grad():
        z, _ = model.observe(observations.to(model.device), model.initial_memory(batch), starts, generator)
        memory = planner.initial_memory(model, batch)
        actions = planner.propose(model, z, memory, starts, generator)
    _, gradient = planner.objective_and_gradient(model, z, actions, generator)
    return gradient
