"""Make the tables and pictures of docs/results.md from docs/results/runs.toml, its curves, and the zoo's cards.

python scripts/docs/results.py          # writes the page's tables and docs/results/*.png
python scripts/docs/results.py --check  # says whether the page's tables are what the data give, and changes nothing

Tables stand between ``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKOUT = Path(__file__).parents[2]
PAGE, DATA = CHECKOUT / "docs/results.md", CHECKOUT / "docs/results"
_EPISODES = 10
#: colours that are told apart by readers who see few colours, on white and on black
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")
_PLANNERS = ("policy", "dream", "adaptive", "mppi")


def main() -> int:
    """Write what the page shows, or check it; 1 where it differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    page = with_tables(PAGE.read_text())
    if options.check:
        same = page == PAGE.read_text()
        print("up to date" if same else "docs/results.md differs: run python scripts/docs/results.py")
        return int(not same)
    PAGE.write_text(page)
    for picture, runs in groupby(runs_of_page(), key=lambda run: run.get("picture", run["task"])):
        draw(picture, list(runs))
    return 0


def runs_of_page() -> list[dict[str, Any]]:
    """The runs of runs.toml, in order."""
    runs: list[dict[str, Any]] = tomllib.loads((DATA / "runs.toml").read_text())["run"]
    return runs


def with_tables(page: str) -> str:
    """Return the page with its tables made new."""
    makers = {"learned": learned, "planners": planners, "commands": commands}

    def made(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n\n{makers[found[1]]()}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", made, page, flags=re.DOTALL)


def learned() -> str:
    """What each run came to."""
    lines = [
        "| task | agent | seeds | frames | return | published, same frames | minutes |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for run in runs_of_page():
        mean, std, _ = run["evaluated"]
        published = "{} ({})".format(*run["published"]) if "published" in run else ""
        lines.append(
            f"| {run['task']} | {run['agent']} | {len(files(run))} | {run['frames']:,} | {mean} ± {std} | "
            f"{published} | {run.get('minutes', '')} |"
        )
    return "\n".join(lines)


def commands() -> str:
    """The command of each run, and what a repetition should know."""
    parts = []
    for run in runs_of_page():
        caveat = f": {run['caveat']}" if "caveat" in run else ""
        size = "" if run["agent"].startswith("SAC") else " --model-size 1M"
        words = f"dream-agents train {run['command']}{size} --seed {seeds(run)}".split(" --")
        lines, line = [], words[0]
        for word in words[1:]:
            if len(line) + len(word) > 95:
                lines.append(line + " \\")
                line = "   "
            line += f" --{word}"
        block = "\n".join([*lines, line])
        parts.append(f"**{run['task']}, {run['agent']}**{caveat}\n\n```sh\n{block}\n```")
    return "\n\n".join(parts)


def planners() -> str:
    """Returns of each embedded model with each planner, from the cards."""
    names = ("policy", "Dream-MPC", "adaptive", "small MPPI")
    lines = [
        "| model | frames | " + " | ".join(names) + " | ms a decision |",
        "|---|---:|" + "---:|" * (len(names) + 1),
    ]
    for path in sorted((CHECKOUT / "zoo/entries").glob("*/card.toml")):
        card = tomllib.loads(path.read_text())
        results: dict[str, Any] = {}
        for result in card["results"]:
            if result.get("measure", "return") == "return":
                results.setdefault(result["planner"].split()[0], result)  # its default options stand first
        cells = []
        for planner in _PLANNERS:
            result = results.get(planner)
            cells.append(f"{result['mean']:.0f} ± {result['std']:.0f}" if result else "")
        times = " / ".join(
            f"{results[planner]['ms_per_decision']:.2g}" for planner in _PLANNERS if planner in results
        )
        lines.append(f"| `{card['name']}` | {card['frames']:,} | " + " | ".join(cells) + f" | {times} |")
    return "\n".join(lines)


def files(run: dict[str, Any]) -> list[str]:
    """A run's curves: one a seed."""
    return [run["file"]] if "file" in run else list(run["files"])


def seeds(run: dict[str, Any]) -> str:
    """The first seed, which is 1, and what to put in its place for the others."""
    count = len(files(run))
    return "1" if count == 1 else "1  # and " + ", ".join(map(str, range(2, count + 1)))


def curve(file: str) -> tuple[list[float], list[float]]:
    """Frames, and the mean return of the last ten training episodes."""
    with (DATA / file).open() as rows:
        points = [(float(row["frames"]), float(row["return"])) for row in csv.DictReader(rows)]
    frames, returns = zip(*sorted(points), strict=True)
    window = max(_EPISODES, len(points) // 60)  # of thousands of episodes, more
    means = [sum(returns[max(0, i + 1 - window) : i + 1]) / min(i + 1, window) for i in range(len(returns))]
    return list(frames), means


def draw(picture: str, runs: list[dict[str, Any]]) -> None:
    """Draw the curves of a picture, and what was published after as many frames.

    :raises ValueError: for more runs than there are colours
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    if len(runs) > len(_COLORS):
        raise ValueError(
            f"{picture} has {len(runs)} runs, and there are {len(_COLORS)} colours; give some a `picture`"
        )
    for color, run in zip(_COLORS, runs, strict=False):
        curves = [curve(file) for file in files(run)]
        frames = np.array(curves[0][0])
        means = np.array([np.interp(frames, *found) for found in curves])  # of each seed, at the same frames
        axes.plot(frames / 1000, means.mean(0), color=color, label=run["agent"], linewidth=1.8)
        if len(curves) > 1:
            axes.fill_between(frames / 1000, means.min(0), means.max(0), color=color, alpha=0.2, linewidth=0)
    drawn = set()
    for color, run in zip(_COLORS, runs, strict=False):
        value, whose = run.get("published", (None, ""))
        if isinstance(value, int) and (value, whose) not in drawn:
            drawn.add((value, whose))
            axes.plot(run["frames"] / 1000, value, "*", color=color, markersize=13, clip_on=False)
            axes.annotate(
                f"published {whose}",
                (run["frames"] / 1000, value),
                (0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.set(xlabel="thousand frames", ylabel="return", title=runs[0]["task"])
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    columns = min(3, len(runs), 110 // max(len(run["agent"]) for run in runs))
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=columns)
    name = picture.replace("cup-catch from images", "cup-catch-pixels")
    figure.savefig(DATA / f"{name}.png", dpi=130)


if __name__ == "__main__":
    sys.exit(main())
