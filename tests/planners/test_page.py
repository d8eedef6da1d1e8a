"""What docs/planners.md says is so."""

import dataclasses
import re

import pytest
import torch

from dream_agents import make_planner
from dream_agents.planners import Planner


@pytest.fixture(scope="module")
def page(checkout):
    return (checkout / "docs" / "planners.md").read_text()


def documented_defaults(section):
    """Names and defaults of a table of options; a row may hold several."""
    for names, *_, defaults, _ in (
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in re.findall(r"^\| `.*$", section, re.MULTILINE)
    ):
        options = re.findall(r"`(\w+)`", names)
        yield from zip(options, defaults.split(", ") if len(options) > 1 else [defaults], strict=True)


def shown(default):
    """A default as the page writes it."""
    if isinstance(default, str):
        return f'"{default}"'
    return str(default) if default is None or isinstance(default, bool | tuple) else f"{default:g}"


@pytest.mark.parametrize("name", ["dream", "adaptive", "mppi", "cem", "grad", "policy+grad"])
def test_options_and_defaults(page, name):
    (section,) = re.findall(rf"^## {re.escape(name)}\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    documented = {option: default.strip("`") for option, default in documented_defaults(section)}
    fields = dataclasses.fields(make_planner(name))
    assert documented == {field.name: shown(field.default) for field in fields}


def test_own_planner_follows_the_contract(page, make_model):
    (code,) = re.findall(r"```python\n(from dataclasses.*?)\n\nmodel\.planner", page, re.DOTALL)
    names = {"__name__": __name__}
    exec(code, names)
    planner = names["Sluggish"](inertia=0.8)
    assert isinstance(planner, Planner)
    for name in ("V", "Q", "tdmpc"):
        model = make_model(name)
        z = torch.randn(3, model.latent_dim)
        memory = planner.initial_memory(model, 3)
        first = planner.plan(model, z, memory, torch.ones(3, dtype=torch.bool))
        torch.testing.assert_close(first.action, model.policy(z).mean.detach())
        later = planner.plan(model, -z, first.memory, torch.zeros(3, dtype=torch.bool))
        expected = 0.8 * first.action + 0.2 * model.policy(-z).mean.detach()
        torch.testing.assert_close(later.action, expected)


KINDS = {
    "gradient": ["dream", "grad", "policy+grad"],
    "adaptive": ["adaptive"],
    "mppi": ["mppi"],
    "cem": ["cem"],
}


def test_logged_keys(page, make_model):
    (section,) = re.findall(r"^## What is logged\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (`.*?) \| ([^|]*) \|", section, re.MULTILINE)
    for kind, planners in KINDS.items():
        expected = {"value"}
        for keys, kinds in rows:
            if kind in re.findall(r"\w+", kinds.partition("[")[0]):
                expected |= set(re.findall(r"`(\w+)`", keys))
        for name in planners:
            options = {"policy_samples": 9} if kind in ("mppi", "cem") else {}
            planner, model = make_planner(name, **options), make_model("Q")
            start = torch.ones(1, dtype=torch.bool)
            info = planner.plan(model, torch.zeros(1, 2), planner.initial_memory(model, 1), start).info
            assert set(info) == expected
