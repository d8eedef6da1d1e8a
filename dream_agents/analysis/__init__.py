"""Section D of the paper: are gradients through a model any good, and are its predictions?

    >>> from dream_agents.analysis import gradients_of_agents, plot_esnr, returns_over_training
    >>> rows = gradients_of_agents({"seed 0": model}, horizons=range(1, 16))
    >>> plot_esnr(rows, "esnr.png")
    >>> rows = returns_over_training("runs/pendulum")

Functions take models, agents or runs and return rows, which are dataclasses; others draw them.
"""

from dream_agents.analysis.drawing import plot_esnr, plot_gradients, plot_returns, write_rows
from dream_agents.analysis.finite_differences import GradientCheck, check_gradients
from dream_agents.analysis.gradients import HORIZONS, GradientRow, gradient_rows, paper_planners
from dream_agents.analysis.pendulum import PendulumWorldModel
from dream_agents.analysis.planner_gradients import (
    gradients_of_agents,
    gradients_of_true_dynamics,
    true_dynamics,
    visited_observations,
)
from dream_agents.analysis.playing import control
from dream_agents.analysis.returns import (
    ReturnRow,
    compare_returns,
    models_over_training,
    returns_over_training,
)

__all__ = [
    "HORIZONS",
    "GradientCheck",
    "GradientRow",
    "PendulumWorldModel",
    "ReturnRow",
    "check_gradients",
    "compare_returns",
    "control",
    "gradient_rows",
    "gradients_of_agents",
    "gradients_of_true_dynamics",
    "models_over_training",
    "paper_planners",
    "plot_esnr",
    "plot_gradients",
    "plot_returns",
    "returns_over_training",
    "true_dynamics",
    "visited_observations",
    "write_rows",
]
