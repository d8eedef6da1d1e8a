"""What the page of ``dream-agents watch`` shows, as a film."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from dream_agents.evaluation.video import check_video_available, check_video_path
from dream_agents.watch.session import Moment, Session

_GHOST = 0.3
_WIDTH, _HEIGHT, _DPI = 9.6, 3.6, 100


def record(session: Session, path: str | Path, decisions: int | None = None) -> float:
    """Film an episode: the robot with its plan's ghost, and the candidates of each decision; return its return.

    :param session: whose environment renders ``"rgb_array"``
    :param path: an ``.mp4`` file
    :param decisions: stop there; None for the whole episode
    :raises VideoUnavailableError: if the extra ``video`` is not installed
    :raises ValueError: if the file is no ``.mp4``
    """
    import imageio.v2

    path = Path(path)
    check_video_path(path)
    check_video_available()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".unfinished-{path.name}")
    fps = session.env.metadata.get("render_fps") or 20
    picture = _Picture(session.env.render())
    writer: Any = imageio.v2.get_writer(unfinished, fps=fps, macro_block_size=2)
    with writer:
        moment = None
        while moment is None or not (moment.over or moment.decision == decisions):
            moment = session.step(look=True)
            writer.append_data(picture.draw(session, moment))
    os.replace(unfinished, path)
    return moment.total


class _Picture:
    """One figure, drawn again for each decision."""

    def __init__(self, frame: Any):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._figure = Figure((_WIDTH, _HEIGHT), dpi=_DPI, layout="constrained")
        self._canvas = FigureCanvasAgg(self._figure)
        axes = self._figure.subplot_mosaic("AAB;AAC", width_ratios=(1, 1, 1.1))
        self._image = axes["A"].imshow(frame)
        axes["A"].set_axis_off()
        self._title = axes["A"].set_title("", fontsize=9)
        self._candidates, self._rewards = axes["B"], axes["C"]

    def draw(self, session: Session, moment: Moment) -> np.ndarray:
        """The picture of a decision ``[height, width, 3]``."""
        assert moment.thought is not None and moment.ghost_rewards is not None
        now, ghost = np.asarray(session.env.render(), float), np.asarray(session.twin.env.render(), float)
        self._image.set_data(((1 - _GHOST) * now + _GHOST * ghost).astype(np.uint8))
        self._title.set_text(
            f"{session.planner_name}: decision {moment.decision}, return {moment.total:.1f}, "
            f"{moment.milliseconds:.1f} ms"
        )
        self._draw_candidates(moment)
        self._draw_rewards(moment)
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _draw_candidates(self, moment: Moment) -> None:
        axes, thought = self._candidates, moment.thought
        assert thought is not None
        axes.clear()
        axes.set_title("predicted return of each candidate", fontsize=8)
        before, after = thought.before.returns, thought.after.returns
        axes.plot(before, "o", color="0.6", markersize=5, label="before")
        axes.plot(after, "o", color="tab:blue", markersize=4, label="after")
        axes.plot(
            thought.chosen, after[thought.chosen], "o", color="tab:orange", markersize=7, label="chosen"
        )
        axes.set_xlim(-0.5, max(len(before), len(after)) - 0.5)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=6, loc="lower left", ncols=3)

    def _draw_rewards(self, moment: Moment) -> None:
        axes, thought = self._rewards, moment.thought
        assert thought is not None and moment.ghost_rewards is not None
        axes.clear()
        axes.set_title("reward along the plan", fontsize=8)
        imagined = thought.after.rewards[:, thought.chosen]
        axes.plot(
            1 + np.arange(len(imagined)), imagined, "o-", color="tab:blue", markersize=4, label="imagined"
        )
        steps = 1 + np.arange(len(moment.ghost_rewards))
        axes.plot(steps, moment.ghost_rewards, "o-", color="tab:orange", markersize=4, label="simulator")
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=6, loc="lower left", ncols=2)
