"""Every Python snippet of the pages runs, in the order of its page."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from gymnasium.spaces import Box, Dict

import dream_agents
from dream_agents.wrappers import gl

from .cut import cut
from .processes import CHILDREN, train_known_runs
from .snippets import PAGES, Block, blocks

#: snippets that can't run here, by a part of their text
NOT_RUN = {
    "tdmpc2-official/": "downloads",
    "hf://": "downloads, or publishes",
    "path/to/dog-run-1.pt": "needs a checkpoint of other authors",
    'geometry="official"': "needs meshes that are downloaded",
    'folder = "zoo/entries/': "writes into the checkout; tests/zoo does it elsewhere",
    "from my_package.learner import": "tests/plugins has the whole example",
    'register("shooting")(Shooting': "its class comes later on the page; tests/test_docs.py registers it",
    "compile_planner()": "compiles for half a minute; tests/fast/test_compiled.py",
    "class Shooting(WorldModelAgent)": "needs the backbone of the snippet before; tests/plugins has the whole example",
    "my_package.envs:": "tests/test_docs.py makes its environment",
    "from dream_agents.wrappers import TableSuite, Task as Entry": "tests/test_docs.py makes its environment",
    'make_env("mw-assembly"': "needs Meta-World; tests/wrappers/test_metaworld.py",
}
#: what a reader changes: endless loops end, there is no CUDA device, an observation comes from the environment
READ_AS = [
    (r"episodes=\d+", "episodes=1"),
    (r"save_freq=[\d_]+", "save_freq=5"),
    (r"while True:", "for _ in range(3):"),
    (r'device="cuda"', 'device="cpu"'),
    (
        r"^(.*model\.predict\(obs, state, episode_start)",
        r"obs, state, episode_start = model.get_env().reset(), None, None\n\1",
    ),
    (
        r"read_experiment\(path, (.*)\), ",
        r'narrowed(read_experiment(path, \1, frames=20), [TASK], ["sac"], [], 1), ',
    ),
]
#: pages all of whose snippets run in tests/test_docs.py
RUN_THERE = {"docs/deploy.md"}
#: pages whose snippets start processes of their own
SLOW = {"docs/experiments.md"}
NEEDS_GL = re.compile(r'obs_type="pixels|render|record_video|SACAE\(')


def given() -> dict[str, Any]:
    """What a page's snippets take as known: imports of an earlier page, and an environment of the reader's."""

    class MyEnv(PendulumEnv):
        def __init__(self, difficulty: int = 1, render_mode: str | None = None):
            super().__init__(render_mode=render_mode)

    def my_env(difficulty: int = 1) -> gymnasium.Env:
        return gymnasium.wrappers.TimeLimit(MyEnv(difficulty), 6)

    names = {name: getattr(dream_agents, name) for name in dream_agents.__all__}
    from stable_baselines3.common.evaluation import evaluate_policy

    from dream_agents.evaluation import evaluate
    from dream_agents.experiments import narrowed

    extra = {
        "gymnasium": gymnasium,
        "np": np,
        "Box": Box,
        "Dict": Dict,
        "MyEnv": my_env,
        "my_env": "dmc_walker-walk-v0",
        "evaluate": evaluate,
        "narrowed": narrowed,
        "TASK": "dmc_acrobot-swingup-v0",
        "evaluate_policy": evaluate_policy,
        "__name__": __name__,
    }
    return names | extra


def reason_not_to_run(block: Block) -> str | None:
    return next((reason for part, reason in NOT_RUN.items() if part in block.text), None)


def snippets(page: str) -> list[Block]:
    """What runs in one process; a block with the name of a file is a script, see test_recipes.py."""
    return [block for block in blocks(page, "python") if not block.title]


def parameters() -> list[Any]:
    pages = [page for page in PAGES if snippets(page) and page not in RUN_THERE]
    return [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in pages]


@pytest.mark.parametrize("page", parameters())
def test_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch)
    monkeypatch.chdir(tmp_path)
    if page in SLOW:
        monkeypatch.setenv("PYTHONPATH", str(CHILDREN))
    if any("runs/" in block.text for block in snippets(page)):
        train_known_runs()
    has_gl = any(map(gl.is_usable, gl.HEADLESS))
    names, ran = given(), 0
    for block in snippets(page):
        if reason_not_to_run(block) or (NEEDS_GL.search(block.text) and not has_gl):
            continue
        text = block.text
        for pattern, replacement in READ_AS:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec(compile(text, str(block), "exec"), names)
            except Exception as error:
                raise AssertionError(f"the snippet at {block} fails: {error!r}") from error
        ran += 1
    if ran == 0:
        pytest.skip("none of its snippets can run here")


def test_what_is_not_run_is_on_a_page() -> None:
    text = "".join(block.text for page in PAGES for block in blocks(page, "python"))
    assert [part for part in NOT_RUN if part not in text] == []
