"""Make the film that opens README and home page: two robots, and what their planner thinks.

    python scripts/docs/front.py

writes ``docs/images/front.gif`` from what ``dream-agents watch MODEL --planner adaptive --record`` films. Renders with
EGL or OSMesa; needs the extra ``video``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import gallery
import imageio.v3
import numpy as np
from PIL import Image

from dream_agents import make_env, zoo
from dream_agents.evaluation.environments import task_of
from dream_agents.watch import Session, record

PATH = Path(__file__).parents[2] / "docs/images/front.gif"
_WIDTH, _PICTURES, _MOST_BYTES = 800, 50, 4_000_000
_MILLISECONDS = 60


class Part(NamedTuple):
    """An episode from a decision on, every so many decisions a picture."""

    name: str
    seed: int
    begins: int
    every: int


PARTS = (Part("dream_mpc-walker-walk", 0, 20, 2), Part("dream_mpc-h1-stand", 14, 10, 3))


def main() -> None:
    """Film both, and write one above the other."""
    films = [pictures_of(part) for part in PARTS]
    pictures = [
        Image.fromarray(np.concatenate(rows)).resize(
            (_WIDTH, round(_WIDTH * sum(len(row) for row in rows) / rows[0].shape[1])),
            Image.Resampling.LANCZOS,
        )
        for rows in zip(*films, strict=True)
    ]
    gallery.save(PATH, pictures, _MILLISECONDS)
    size = PATH.stat().st_size
    print(f"{PATH.name}: {size / 1e6:.2f} MB")
    if size > _MOST_BYTES:
        raise SystemExit(f"{PATH.name} has more than {_MOST_BYTES} bytes; take fewer pictures")


def pictures_of(part: Part) -> list[Any]:
    """Film an episode, and return pictures ``[height, width, 3]``."""
    model = zoo.load(part.name)
    place, options = task_of(model, None, None)
    session = Session(model, lambda: make_env(place, **(options | {"render_mode": "rgb_array"})), part.seed)
    session.set_planner("adaptive")
    ends = part.begins + part.every * _PICTURES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        record(session, path, decisions=ends)
        film = imageio.v3.imread(path)
    session.close()
    if len(film) < ends:
        raise SystemExit(f"{part.name}: the episode of seed {part.seed} ends at decision {len(film)}")
    return list(film[part.begins : ends : part.every])


if __name__ == "__main__":
    main()
