"""Evaluate, compare and report.

    >>> from dream_agents.evaluation import compare, results_table
    >>> results = compare(model, ["policy", "mppi", "dream"], episodes=10)
    >>> rich.print(results_table(results))

Importing this module imports neither PyTorch nor Stable-Baselines3 nor matplotlib.
"""

from dream_agents.evaluation.compare import compare
from dream_agents.evaluation.curves import Curve, plot_learning_curve, read_own_curve, read_published_curves
from dream_agents.evaluation.environments import EndlessEpisodeError, make_evaluation_env
from dream_agents.evaluation.evaluate import evaluate
from dream_agents.evaluation.model_comparison import ModelComparison
from dream_agents.evaluation.record import EvaluationRecord
from dream_agents.evaluation.report import results_table, write_results
from dream_agents.evaluation.result import EvaluationResult, bootstrap_interval
from dream_agents.evaluation.seeds import over_seeds, read_seeds
from dream_agents.evaluation.settings import EvaluationSettings
from dream_agents.evaluation.tradeoff import plot_tradeoff
from dream_agents.evaluation.video import VideoUnavailableError, record_video
from dream_agents.files import write_json

__all__ = [
    "Curve",
    "EndlessEpisodeError",
    "EvaluationRecord",
    "EvaluationResult",
    "EvaluationSettings",
    "ModelComparison",
    "VideoUnavailableError",
    "bootstrap_interval",
    "compare",
    "evaluate",
    "make_evaluation_env",
    "over_seeds",
    "plot_learning_curve",
    "plot_tradeoff",
    "read_own_curve",
    "read_published_curves",
    "read_seeds",
    "record_video",
    "results_table",
    "write_json",
    "write_results",
]
