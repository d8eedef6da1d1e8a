"""Training runs on the disk: what is in a run's folder, and agents from it or from wherever else they were saved.

    >>> from dream_agents.runs import load_model, read_settings
    >>> model = load_model("runs/walk")
    >>> read_settings("runs/walk").env
    'dmc_walker-walk-v0'

Importing this module imports neither PyTorch nor Stable-Baselines3.
"""

from dream_agents.runs.folder import ARGS, CHECKPOINTS, CURVE, EPISODES, EVALUATIONS, FINAL, TENSORBOARD
from dream_agents.runs.loading import is_entry, load_model
from dream_agents.runs.settings import RunSettings, read_settings, write_settings
from dream_agents.runs.tables import EPISODE_COLUMNS, EVALUATION_COLUMNS, RunTable

__all__ = [
    "ARGS",
    "CHECKPOINTS",
    "CURVE",
    "EPISODES",
    "EPISODE_COLUMNS",
    "EVALUATIONS",
    "EVALUATION_COLUMNS",
    "FINAL",
    "TENSORBOARD",
    "RunSettings",
    "RunTable",
    "is_entry",
    "load_model",
    "read_settings",
    "write_settings",
]
