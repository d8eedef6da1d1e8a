"""Every command of the pages runs, in the order of its page."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from dream_agents.wrappers import gl

from .cut import cut
from .processes import run, run_as_process, train_known_runs
from .snippets import PAGES, Block, blocks, commands

#: what is run by something else, or can't be run, by an expression that finds the command
NOT_RUN = {
    r"watch \S+$": "a page that stays open; tests/watch/test_page.py",
    "-m venv": ".ci/run installs by these very commands, and scripts/pythons.sh on every Python",
    "pip install": "as above",
    "-m pytest": ".ci/run takes it from the README",
    "dream-agents setup": "as above",
    "export DREAM_AGENTS_HUMANOID_BENCH=": "a setting",
    "zoo download": "downloads",
    "zoo push": "publishes",
    "path/to/an-entry": "stands for a folder of the reader's",
    r"eval NAME": "NAME stands for models",
    "python train_zoo.py": "test_recipes.py",
    "scripts/": "for maintainers",
    "dream-agents bench": "tests/cli/test_bench.py",
    "examples/": "tests/deploy/test_examples.py",
    "^(cmake|build/walker) ": "as above",
    r"plot \*\.json": "files of the reader's; tests/cli/test_plot.py",
    "analyse esnr": "tests/cli/test_analyse.py; it needs trained runs",
    "analyse returns": "as above",
    r"train Pendulum-v1 --checkpoint-every 400 --keep-checkpoints 20 --out runs/pendulum-0 \.\.\.": "goes on",
}
#: quick where the reader's is long, and what can't be had here
READ_AS = [
    (r"--episodes \d+", "--episodes 1"),
    (r"--n-envs \d+", "--n-envs 2"),
    (r"--(eval|checkpoint)-every \d+", r"--\1-every 6"),
    (r"--device cuda", "--device cpu"),
    (r"--planner (?=\S*mppi)\S+", "--planner dream,policy"),
    (r"\bmppi\.\w+=\S+", "dream.iterations=1"),
    (
        r"(experiment run paper/table-8) --scale cpu --out",
        r"\1 --scale cpu --frames 20 --agents sac --tasks TASK --out",
    ),
    (r"--frames 2000 --tasks \S+", "--frames 20 --agents sac --tasks TASK"),
    (r"run mine.toml", "run mine.toml --frames 20 --seeds 1 --episodes 1"),
    (r"TASK", "dmc_acrobot-swingup-v0"),
    (r"(dream-agents demo)$", r"\1 --episodes 1"),
    (r"(dream-agents eval .*)$", r"\1 --no-subproc"),
]
NEEDS_GL = re.compile(r"obs_type=pixels|--video|--record|\bdemo\b")
#: pages whose commands start processes of their own, which takes minutes
SLOW = {"docs/experiments.md"}


def short(command: list[str]) -> list[str]:
    """The command as this test runs it."""
    text = shlex.join(command).removeprefix(".venv/bin/")
    for pattern, replacement in READ_AS:
        text = re.sub(pattern, replacement, text)
    return shlex.split(text)


def of_a_page(page: str) -> list[tuple[Block, list[str]]]:
    shell = [block for block in blocks(page, "sh") if not block.title]
    return [(block, command) for block in shell for command in commands(block)]


def is_run(command: list[str]) -> bool:
    return not any(re.search(part, " ".join(command)) for part in NOT_RUN)


PAGES_WITH_COMMANDS = [page for page in PAGES if any(is_run(command) for _, command in of_a_page(page))]


@pytest.mark.parametrize("page", [page for page in PAGES_WITH_COMMANDS if page not in SLOW])
def test_commands_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch)
    monkeypatch.chdir(tmp_path)
    has_gl = any(map(gl.is_usable, gl.HEADLESS))
    chosen = [(block, command) for block, command in of_a_page(page) if is_run(command)]
    if any("runs/walk-2" in " ".join(command) for _, command in chosen):
        train_known_runs()
        shutil.rmtree("runs/walk")  # the page trains it
    for block, command in chosen:
        if has_gl or not NEEDS_GL.search(" ".join(command)):
            print(block, *short(command))
            before = set(Path("runs").glob("*"))
            run(short(command))
            if (
                command[1] == "train" and "--out" not in command
            ):  # an example, and the next may have the same folder
                for folder in set(Path("runs").glob("*")) - before:
                    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(SLOW))
def test_commands_of_a_page_that_start_processes_run(page: str, tmp_path: Path) -> None:
    for block in blocks(page, "toml"):
        (tmp_path / block.title).write_text(block.text)
    for block, command in of_a_page(page):
        if is_run(command):
            run_as_process(short(command), tmp_path, str(block))


def test_what_is_not_run_is_on_a_page() -> None:
    every = [" ".join(command) for page in PAGES for _, command in of_a_page(page)]
    assert [part for part in NOT_RUN if not any(re.search(part, command) for command in every)] == []
