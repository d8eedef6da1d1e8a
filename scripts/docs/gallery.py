"""Film the gallery of docs/gallery.md, a GIF of each suite.

    python scripts/docs/gallery.py [NAME ...]

writes ``docs/images/gallery/<name>.gif``. Zoo models act with the adaptive planner; where the zoo has none, actions are
random, and the page says so. Renders with EGL or OSMesa; Meta-World's film needs the extra ``metaworld``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parents[2] / "docs/images/gallery"
_WIDTH, _COLORS, _MOST_BYTES = 240, 64, 1_000_000


class Film(NamedTuple):
    """What is filmed: the source is a zoo entry, or an environment's id, whose actions are random."""

    source: str
    decisions: int
    every: int = 1


FILMS = {
    "walker-walk": Film("dream_mpc-walker-walk", 80),
    "cup-catch": Film("dream_mpc-cup-catch", 60),
    "finger-spin": Film("bmpc-finger-spin", 60),
    "cartpole-swingup": Film("dream_mpc-cartpole-swingup", 120, 2),
    "drawer-close": Film("dream_mpc-drawer-close", 60),
    "window-open": Film("dream_mpc-window-open", 60),
    "button-press": Film("dream_mpc-button-press", 60),
    "h1-stand": Film("dream_mpc-h1-stand", 60),
    "half-cheetah": Film("HalfCheetah-v5", 50),
}


def main() -> None:
    """Film what is named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=", ".join(FILMS))
    names = parser.parse_args().names or list(FILMS)
    unknown = [name for name in names if name not in FILMS]
    if unknown:
        parser.error(f"{unknown[0]!r} is not a film; choose from {', '.join(FILMS)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = FOLDER / f"{name}.gif"
        milliseconds = write(path, frames_of(FILMS[name]), FILMS[name])
        size = path.stat().st_size
        print(f"{path.name}: {size / 1e6:.2f} MB, {milliseconds} ms a picture", flush=True)
        if size > _MOST_BYTES:
            raise SystemExit(f"{path.name} has more than {_MOST_BYTES} bytes; film fewer decisions")


def frames_of(film: Film) -> Iterator[Any]:
    """Yield the time of a decision in seconds, then pictures."""
    from dream_agents import make_env, zoo
    from dream_agents.evaluation.environments import task_of

    if film.source in zoo.names(offline=True):
        model: Any = zoo.load(film.source)
        model.planner = "adaptive"
        place, options = task_of(model, None, None)
    else:
        model, place, options = None, film.source, {}
    env = make_env(place, **(options | {"render_mode": "rgb_array"}))
    env.action_space.seed(0)
    obs, _ = env.reset(seed=0)
    yield 1 / float(env.metadata.get("render_fps") or 20)
    state, start = None, np.ones(1, bool)
    for _ in range(film.decisions):
        yield env.render()
        if model is None:
            action = env.action_space.sample()
        else:
            action, state = model.predict(obs, state, start, deterministic=True)
        obs, _, terminated, truncated, _ = env.step(action)
        start = np.array([terminated or truncated])
        if start[0]:
            obs, _ = env.reset()
    env.close()


def write(path: Path, frames: Iterator[Any], film: Film) -> int:
    """Write a GIF that runs at the simulation's own pace, and return the milliseconds of a picture."""
    seconds = next(frames)
    pictures = []
    for number, frame in enumerate(frames):
        if number % film.every == 0:
            picture = Image.fromarray(np.asarray(frame))
            height = round(picture.height * _WIDTH / picture.width)
            pictures.append(picture.resize((_WIDTH, height), Image.Resampling.LANCZOS))
    milliseconds = max(20, round(1000 * seconds * film.every / 10) * 10)
    save(path, pictures, milliseconds)
    return milliseconds


def save(path: Path, pictures: list[Image.Image], milliseconds: int) -> None:
    """Write pictures as a GIF that repeats."""
    colors = pictures[len(pictures) // 2].quantize(_COLORS)  # one palette, so that nothing flickers
    first, *others = (picture.quantize(palette=colors, dither=Image.Dither.NONE) for picture in pictures)
    first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)


if __name__ == "__main__":
    main()
