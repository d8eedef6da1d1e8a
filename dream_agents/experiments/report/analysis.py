"""Section D of the paper in a report (Figs. 13 to 15)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dream_agents.analysis import (
    gradients_of_agents,
    plot_esnr,
    plot_gradients,
    plot_returns,
    returns_over_training,
    write_rows,
)
from dream_agents.analysis.returns import with_world_model
from dream_agents.evaluation import EvaluationSettings
from dream_agents.experiments.about import ABOUT
from dream_agents.experiments.report.content import Content, is_current
from dream_agents.experiments.report.page import Picture
from dream_agents.runs import FINAL, load_model

_TITLES = {
    "gradients": "Size and variance of the planners' gradients over horizons",
    "esnr": "Signal-to-noise ratio of the planners' gradients over horizons",
    "returns": "Predicted against obtained returns over training",
}


def analysis_pictures(content: Content, kind: str) -> list[Picture | str]:
    """Pictures of an analysis of the runs that are finished; rows and pictures are kept in the folder ``analysis``.

    They are made again once a run has learned more, or the experiment is another.

    :param content: of the experiment
    :param kind: ``"gradients"`` (Figs. 13 and 14) or ``"returns"`` (Fig. 15)
    """
    analyses: dict[str, Callable[[Content, Path], list[str]]] = {"gradients": _gradients, "returns": _returns}
    jobs = [job for job in content.jobs if job.is_trained()]
    if len(jobs) < len(content.jobs):
        return [f"{len(jobs)} of {len(content.jobs)} runs are finished; the analysis waits for all of them."]
    folder = content.folder / "analysis"
    folder.mkdir(exist_ok=True)
    try:
        names = analyses[kind](content, folder)
    except ValueError as error:
        return [f"No analysis: {error}"]
    return [Picture(name, _TITLES[name], (folder / f"{name}.png").read_bytes()) for name in names]


def _is_current(content: Content, path: Path) -> bool:
    return is_current(path, content.folder / ABOUT, *(job.run / FINAL for job in content.jobs))


def _gradients(content: Content, folder: Path) -> list[str]:
    names = ["gradients", "esnr"]
    if not all(_is_current(content, folder / f"{name}.png") for name in names):
        agents = {
            job.name: with_world_model(load_model(job.source, job.task), job.source) for job in content.jobs
        }
        rows = gradients_of_agents(agents)
        write_rows(folder / "gradients.csv", rows)
        plot_gradients(rows, folder / "gradients.png")
        plot_esnr(rows, folder / "esnr.png")
    return names


def _returns(content: Content, folder: Path) -> list[str]:
    if not _is_current(content, folder / "returns.png"):
        asked = content.experiment.evaluation
        settings = EvaluationSettings(asked.episodes, asked.seed, asked.n_envs)
        rows = [
            row
            for job in content.jobs
            for row in returns_over_training(job.source, settings=settings, model=job.name)
        ]
        write_rows(folder / "returns.csv", rows)
        plot_returns(rows, folder / "returns.png")
    return ["returns"]
