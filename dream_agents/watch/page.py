"""The page of ``dream-agents watch``: the simulation at its own pace, and what the planner sees."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from dream_agents.watch.scene import Scene, between
from dream_agents.watch.session import Moment, Session
from dream_agents.watch.simulation import simulation_of

_PICTURES_A_SECOND = 36
#: planners that the page offers besides the agent's own
_PLANNERS = ("policy", "dream", "adaptive", "mppi")
_KEPT = 200
_BLUE, _ORANGE, _GREY = "#2a7fff", "#ff8c1a", "#999999"


class Page:
    """Shows a session to whoever opens the page; all visitors see, and steer, the same one.

    :param session: what is shown
    :param host: address to listen on; the default is this machine's own, reached through SSH by forwarding the port
    :param port: to listen on; the next free one if it is taken
    :raises ImportError: if the extra ``watch`` is not installed
    """

    def __init__(self, session: Session, host: str = "127.0.0.1", port: int = 8080):
        viser = import_viser()
        self.session = session
        self._server = viser.ViserServer(host=host, port=port, label="dream-agents", verbose=False)
        self.port: int = self._server.get_port()
        self.url = f"http://{host}:{self.port}"
        self._scene = Scene(self._server, simulation_of(session.env).model)
        self._wishes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._returns: deque[float] = deque([0.0], maxlen=_KEPT)
        #: seconds of the last two decisions; at one of two the planner is looked into
        self._took: deque[float] = deque([0.0, 0.0], maxlen=2)
        self._next_picture = time.perf_counter()
        self._build()
        self._place_camera()

    # ---------------------------------------------------------------------------- controls

    def _build(self) -> None:
        gui = self._server.gui
        self._now = gui.add_markdown("")
        self._paused = gui.add_checkbox("Pause", initial_value=False)
        self._speed = gui.add_slider("Speed", min=0.1, max=2.0, step=0.1, initial_value=1.0)
        self._follow = gui.add_checkbox("Follow the robot", initial_value=True)
        self._restart = gui.add_button("New episode")
        self._restart.on_click(lambda _: self._wish(self.session.restart))
        names = list(dict.fromkeys([self.session.planner_name, *_PLANNERS]))
        self._planner = gui.add_dropdown("Planner", names, initial_value=self.session.planner_name)
        self._planner.on_update(lambda _: self._wish(self._switch))
        self._folder: Any = None
        self._options()
        with gui.add_folder("Push", expand_by_default=False):
            weight = 9.81 * self.session.mass
            self._force = gui.add_slider(
                "Newtons",
                min=0.0,
                max=round(5 * weight, 1),
                step=round(weight / 10, 2),
                initial_value=round(weight, 1),
            )
            directions = gui.add_button_group("Towards", ("+x", "-x", "+y", "-y"))
            directions.on_click(lambda event: self._wish(lambda: self._push(event.target.value)))
        with gui.add_folder("What it sees"):
            self._seen = gui.add_markdown("")
            self._candidates = self._plot("Predicted return of each candidate", ("before", "after", "chosen"))
            self._rewards = self._plot("Reward along the plan", ("imagined", "simulator"))
            self._frames: Any = None
            self._show_ghost = gui.add_checkbox("Ghost: the plan in the simulator", initial_value=True)
        with gui.add_folder("Episode", expand_by_default=False):
            self._curve = self._plot("Return so far", ("return",))

    def _plot(self, title: str, names: tuple[str, ...]) -> Any:
        from viser import uplot

        colors = {"before": _GREY, "after": _BLUE, "chosen": _ORANGE, "imagined": _BLUE, "simulator": _ORANGE}
        series = [uplot.Series(label="")]
        for name in names:
            points = uplot.Series_Points(show=name not in ("return", "chosen"), size=8)
            width = 0 if name in ("before", "after") else 2
            series.append(
                uplot.Series(label=name, stroke=colors.get(name, _BLUE), width=width, points=points)
            )
        nothing = tuple(np.zeros(1) for _ in range(len(names) + 1))
        scales = {"x": uplot.Scale(time=False)}
        return self._server.gui.add_uplot(nothing, tuple(series), title=title, scales=scales, aspect=1.8)

    def _options(self) -> None:
        """Show the planner's numbers, each to be changed."""
        if self._folder is not None:
            self._folder.remove()
        self._folder = self._server.gui.add_folder("Planner's options", expand_by_default=False)
        if not dataclasses.is_dataclass(self.session.planner):
            return
        with self._folder:
            for field in dataclasses.fields(self.session.planner):
                value = getattr(self.session.planner, field.name)
                if isinstance(value, bool):
                    made = self._server.gui.add_checkbox(field.name, initial_value=value)
                elif isinstance(value, int | float):
                    made = self._server.gui.add_number(field.name, initial_value=value)
                else:
                    continue
                made.on_update(
                    lambda event, name=field.name: self._wish(lambda: self._set(name, event.target.value))
                )

    def _wish(self, wish: Callable[[], None]) -> None:
        """Have something done between two decisions: what a visitor does comes from the server's own thread."""
        self._wishes.put(wish)

    def _switch(self) -> None:
        self.session.set_planner(self._planner.value)
        self._options()

    def _set(self, name: str, value: Any) -> None:
        before = getattr(self.session.planner, name, None)  # the option may be the last planner's
        if isinstance(before, int) and not isinstance(before, bool):
            value = round(value)
        try:
            self.session.set_option(name, value)
        except ValueError as error:
            self._say(str(error))

    def _push(self, direction: str) -> None:
        force = np.zeros(3)
        force["xy".index(direction[1])] = float(self._force.value) * (1 if direction[0] == "+" else -1)
        self.session.push(force)

    def _say(self, text: str) -> None:
        for client in self._server.get_clients().values():
            client.add_notification("", text, auto_close_seconds=6.0)

    def _place_camera(self) -> None:
        robot = self.session.poses[1:, :3].mean(0)
        extent = max(float(np.linalg.norm(self.session.poses[1:, :3] - robot, axis=1).max()), 0.5)
        camera = self._server.initial_camera
        camera.look_at, camera.up = tuple(robot), (0.0, 0.0, 1.0)
        camera.position = tuple(robot + extent * np.array([0.5, -3.0, 1.0]))

    # ------------------------------------------------------------------------------ running

    def run(self, seconds: float | None = None) -> None:
        """Act and show until interrupted.

        The next decision is made while the last one is shown, so that a slow planner slows the robot, not the pictures.

        :param seconds: stop so long after the first decision; None for no end
        """
        with ThreadPoolExecutor(1, "decisions") as worker:
            made = worker.submit(self._decide)
            wait((made,))  # the first one takes longest
            ends = float("inf") if seconds is None else time.perf_counter() + seconds
            while time.perf_counter() < ends:
                if self._paused.value:
                    if made.done():
                        self._grant()
                    time.sleep(1 / _PICTURES_A_SECOND)
                elif made.done():
                    moment = made.result()
                    made = worker.submit(self._decide)
                    self._tell(moment)
                    self._move(moment, ends)
                else:
                    time.sleep(1e-3)

    def _decide(self) -> Moment:
        """Do what visitors wished, and the next decision."""
        self._grant()
        began = time.perf_counter()
        moment = self.session.step()
        if moment.over:
            self.session.restart()
        self._took.append(time.perf_counter() - began)
        return moment

    def _move(self, moment: Moment, ends: float) -> None:
        """Show the robot on its way through a decision, for as long as it lasts, or as decisions take."""
        started = time.perf_counter()
        lasts = max(self._decision_seconds() / float(self._speed.value), *self._took)
        while (now := time.perf_counter()) < ends:
            share = min((now - started) / lasts, 1.0)
            self._scene.show(between(moment.before, moment.poses, share), follow=self._follow.value)
            # a picture that came late makes the next one early, once
            self._next_picture = (
                max(self._next_picture, now - 1 / _PICTURES_A_SECOND) + 1 / _PICTURES_A_SECOND
            )
            time.sleep(max(0.0, min(self._next_picture, started + lasts) - time.perf_counter()))
            if share >= 1 or self._next_picture > started + lasts:
                break

    def _grant(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._wishes.get_nowait()()

    def _decision_seconds(self) -> float:
        fps = self.session.env.metadata.get("render_fps")
        return 1 / float(fps) if fps else 0.05

    def _tell(self, moment: Moment) -> None:
        """Show the numbers of a decision."""
        if moment.decision == 1:
            self._returns.clear()
            self._returns.append(0.0)
        self._returns.append(moment.total)
        self._now.content = (
            f"decision **{moment.decision}** · return **{moment.total:.1f}** · reward {moment.reward:.2f} · "
            f"**{moment.milliseconds:.1f} ms** a decision"
        )
        if moment.thought is None or moment.ghost is None or moment.ghost_rewards is None:
            return
        thought = moment.thought
        before, after = thought.before.returns, thought.after.returns
        chosen = np.full(len(before), float(after[thought.chosen]))
        shown = after.astype(float) if len(after) == len(before) else chosen
        self._candidates.data = (np.arange(len(before), dtype=float), before.astype(float), shown, chosen)
        # fewer than planned where the episode ends on the way
        steps = np.arange(1, len(moment.ghost_rewards) + 1, dtype=float)
        imagined = thought.after.rewards[: len(steps), thought.chosen].astype(float)
        self._rewards.data = (steps, imagined, moment.ghost_rewards)
        self._seen.content = (
            f"{len(after)} candidates · gain of planning {after.max() - before.max():+.2f} · "
            f"value at the end {thought.after.end_value[thought.chosen]:.1f} · "
            f"uncertainty {thought.after.uncertainty[thought.chosen]:.2f}"
        )
        self._show_frames(thought.frames)
        self._curve.data = (np.arange(len(self._returns), dtype=float), np.array(self._returns))
        self._scene.show_ghost(moment.ghost[-1] if self._show_ghost.value and len(moment.ghost) else None)

    def _show_frames(self, frames: np.ndarray | None) -> None:
        """Show what the plan would look like, of models that imagine images."""
        if frames is None:
            return
        strip = strip_of(frames)
        if self._frames is None:
            self._frames = self._server.gui.add_image(strip, label="Imagined frames")
        else:
            self._frames.image = strip

    def close(self) -> None:
        """Stop the server."""
        self._server.stop()


def strip_of(frames: np.ndarray, most: int = 5) -> np.ndarray:
    """A few of the frames ``[H, height, width, 3]`` next to each other, from the next one to the last."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    return np.concatenate(list(frames[chosen]), 1)


def import_viser() -> Any:
    """Return viser's module.

    :raises ImportError: with what to install, where it is missing
    """
    try:
        import viser
    except ImportError as error:
        raise ImportError(f"watching needs viser ({error}); pip install 'dream-agents[watch]'") from error
    return viser
