"""Films of an experiment's agents."""

from __future__ import annotations

from dream_agents.evaluation.video import VideoUnavailableError, record_video
from dream_agents.experiments.jobs import Job
from dream_agents.experiments.report.content import Content, is_current, short
from dream_agents.experiments.report.page import Film
from dream_agents.runs import FINAL, load_model
from dream_agents.wrappers import RenderingUnavailableError

#: decisions that are filmed unless the file says otherwise
_DECISIONS = 250


def films(content: Content) -> list[Film | str]:
    """A film of each agent that is trained, on the first task, with its own planner; texts say what there is none of.

    Films are kept in the report's folder, and made again once the agent has learned more.

    :param content: of the experiment
    """
    decisions = content.option("films", "decisions", _DECISIONS)
    made: list[Film | str] = []
    filmed = set()
    for job in content.jobs:
        if job.variant.name in filmed or not job.is_trained():
            continue
        filmed.add(job.variant.name)
        try:
            made.append(_film(content, job, decisions))
        except (VideoUnavailableError, RenderingUnavailableError) as error:
            return [f"No films: {error}"]
    return made or ["No agent is trained yet."]


def _film(content: Content, job: Job, decisions: int) -> Film:
    path = content.folder / "report" / "films" / f"{job.name.replace('/', '-')}-{decisions}.mp4"
    if not is_current(path, job.run / FINAL):
        path.parent.mkdir(parents=True, exist_ok=True)
        env = job.task if job.variant.model is not None else None
        record_video(load_model(job.source, job.task), path, env, max_decisions=decisions)
    title = f"{job.variant.title} on {short(job.task)}, the first {decisions} decisions at most"
    return Film(title, path.read_bytes())
