"""The paper's hyperparameters, as docs/hyperparameters.md lists them, are the defaults, and can be set."""

import re
from pathlib import Path

import pytest

from dream_agents import BMPC, TDMPC2, DreamerV3, DreamMPC
from dream_agents.cli.options import agent_keywords, parse_assignments
from dream_agents.cli.signatures import keywords_of
from dream_agents.models.dreamer import DREAMER_SIZES
from dream_agents.models.tdmpc import TDMPC_SIZES

PAGE = Path(__file__).parents[1] / "docs" / "hyperparameters.md"

AGENTS = {
    "TD-MPC2 (Table 5)": ("tdmpc2", TDMPC2, {}),
    "BMPC (Table 6)": ("bmpc", BMPC, {}),
    "Dream-MPC (Table 7)": ("dream_mpc", DreamMPC, {"backbone": "tdmpc2"}),
    "Dream-MPC on Dreamer (Table 16)": ("dream_mpc", DreamMPC, {"backbone": "dreamer_gaussian"}),
    "Dreamer (Table 16)": ("dreamer", DreamerV3, {"backbone": "dreamer_gaussian"}),
    "PlaNet (Table 16)": ("dream_mpc", DreamMPC, {"backbone": "planet", "planner": "cem"}),
    "Hybrid Grad-MPC (Table 16)": (
        "dream_mpc",
        DreamMPC,
        {"backbone": "dreamer_gaussian", "planner": "policy+grad"},
    ),
}
WHERE = {
    "planner_kwargs": lambda agent: vars(agent.planner),
    "training_planner_kwargs": lambda agent: vars(agent.training_planner or agent.planner),
    "learner_kwargs": lambda agent: vars(agent.learner_config),
    "model_kwargs": lambda agent: (
        {k: v.default for k, v in keywords_of(type(agent.world_model)).items()} | agent.model_kwargs
    ),
}


def rows() -> list[tuple[str, str]]:
    """Table and third cell of every row."""
    found = []
    for section in PAGE.read_text().split("\n## ")[1:]:
        title = section.partition("\n")[0]
        cells = [line.split(" | ")[-1].rstrip(" |") for line in section.splitlines() if line.startswith("| ")]
        found += [(title, cell) for cell in cells[1:] if "`" in cell]
    return found


@pytest.fixture(scope="module")
def made():
    """The agents with their defaults."""
    return {
        title: make("Pendulum-v1", buffer_size=1000, device="cpu", **keywords)
        for title, (_, make, keywords) in AGENTS.items()
    }


@pytest.mark.parametrize(("title", "cell"), rows())
def test_value_of_the_paper_is_the_default(title: str, cell: str, made) -> None:
    agent = made[title]
    settings, of, size = cell.partition(" of `model_size=")
    assignments = re.findall(r"`([\w.]+=[^`]+)`", settings)
    assert assignments
    if of:
        sizes = DREAMER_SIZES if "paper" in size else TDMPC_SIZES
        for name, value in parse_assignments(assignments).items():
            assert getattr(sizes[size.split('"')[1]], name) == value
        return
    if cell.endswith("of every `model_size`"):
        assert agent.world_model.num_values == 2
        return
    chosen = AGENTS[title][2]
    backbone = [f"backbone={chosen['backbone']}"] if chosen else []
    keywords = agent_keywords(
        AGENTS[title][0], [*assignments, *backbone], chosen.get("planner")
    )  # it can be set
    for keyword, value in keywords.items():
        if keyword in ("backbone", "buffer_size"):  # a smaller buffer was made above
            continue
        for name, inner in value.items() if isinstance(value, dict) else ():
            assert WHERE[keyword](agent)[name] == pytest.approx(inner), (keyword, name)
        if not isinstance(value, dict):
            check(agent, keyword, value)


def check(agent, keyword: str, value: object) -> None:
    """Compare an option of the agent itself, or the default of its keyword where that is a heuristic."""
    if value is None:
        assert keywords_of(type(agent))[keyword].default is None
    else:
        found = getattr(agent, keyword)
        assert (found.frequency if keyword == "train_freq" else found) == value


def test_every_table_has_rows() -> None:
    assert {title for title, _ in rows()} == set(AGENTS)
    assert len(rows()) > 50
