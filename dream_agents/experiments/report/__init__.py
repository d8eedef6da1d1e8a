"""The report of an experiment: one page, and its figures and tables as files."""

from dream_agents.experiments.report.aggregates import (
    METRICS,
    Aggregate,
    aggregates,
    probabilities_of_improvement,
    profiles,
)
from dream_agents.experiments.report.content import Content, Method
from dream_agents.experiments.report.scores import metric_of, normalised
from dream_agents.experiments.report.write import write_report

__all__ = [
    "METRICS",
    "Aggregate",
    "Content",
    "Method",
    "aggregates",
    "metric_of",
    "normalised",
    "probabilities_of_improvement",
    "profiles",
    "write_report",
]
