"""What the documentation shows works."""

import contextlib
import importlib
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from gymnasium.utils.env_checker import check_env

from dream_agents import DreamMPC, make_env, registry
from dream_agents.learners.base import Backbone
from dream_agents.learners.tdmpc2 import TDMPC2Backbone
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.wrappers import describe, gl
from dream_agents.wrappers.humanoid_bench.tasks import TASKS

from .pages.snippets import blocks

#: sub-packages that lie at the top of the checkout
BESIDE = ("registry", "wrappers", "zoo")
needs_gl = pytest.mark.skipif(
    not any(map(gl.is_usable, gl.HEADLESS)), reason="neither EGL nor OSMesa works here"
)


def block_with(page: Path, text: str) -> str:
    (found,) = [block.text for block in blocks(page, "python") if text in block.text]
    return found


def test_planner_of_the_plugin_page_picks_the_best_of_its_roll_outs(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict = {"__name__": __name__}
    exec(block_with(checkout / "docs/plugins.md", "class ShootingPlanner"), names)
    monkeypatch.setattr(registry.planners, "_registered", {})
    registry.planners.register("shooting")(names["ShootingPlanner"])
    model = TDMPC2Backbone.build_world_model((4,), 2, model_size="1M", discount=0.9, episodic=False).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # rewards and values start at zero otherwise
    z, _ = model.observe(torch.randn(3, 4))
    start = torch.ones(3, dtype=torch.bool)

    def plan(candidates: int):
        planner = registry.planners.get("shooting")(candidates=candidates)
        generator = torch.Generator().manual_seed(1)
        return planner.plan(model, z, planner.initial_memory(model, 3), start, generator=generator)

    assert plan(5).action.shape == (3, 2)
    assert torch.equal(plan(5).action, plan(5).action)
    assert (plan(500).value > plan(1).value).all()


def test_plugin_page_lists_every_hook_of_a_backbone(checkout: Path) -> None:
    section = (checkout / "docs/plugins.md").read_text().partition("## A backbone")[2].partition("## ")[0]
    listed = set(re.findall(r"^\| `(\w+)", section, re.MULTILINE))
    hooks = {name for name in vars(Backbone) if not name.startswith("_")}
    assert listed == hooks - Backbone.__abstractmethods__
    for name in Backbone.__abstractmethods__:
        assert f"def {name}(" in section


def test_suite_of_the_environments_page_makes_its_environment(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = block_with(checkout / "docs/environments.md", "TableSuite(")
    code = code.replace("my_package.envs:make_reach", "gymnasium.envs.classic_control:PendulumEnv")
    code = "".join(line for line in code.splitlines(keepends=True) if "sized_images" not in line)
    names: dict = {}
    exec(code.replace("distance", "g"), names)
    monkeypatch.setattr(registry.suites, "_registered", {"reach": names["SUITE"]})
    env = make_env("reach-near")
    assert env.spec is not None
    assert env.spec.id == "reach_near-v0"
    assert env.spec.max_episode_steps == 200
    assert env.unwrapped.g == 0.1  # type: ignore[attr-defined]


def test_task_of_the_humanoid_bench_page_rewards_pushing_the_crate(checkout: Path) -> None:
    names: dict = {}
    exec(block_with(checkout / "docs/humanoid_bench.md", "class Push"), names)
    env = make_env(names["env"])
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    *_, terminated, _, info = env.step(env.action_space.sample())
    assert not terminated
    assert info.keys() == {"standing", "way", "success"}
    qpos = env.unwrapped.data.qpos.copy()  # type: ignore[attr-defined]

    def reward(crate_x: float, pelvis_z: float = 0.98) -> float:
        qpos[2], qpos[26] = pelvis_z, crate_x
        env.unwrapped.set_state(qpos, env.unwrapped.data.qvel * 0)  # type: ignore[attr-defined]
        return env.unwrapped.task.reward(env.unwrapped.state())[0]  # type: ignore[attr-defined]

    assert reward(0.8) < reward(3) < reward(6) <= 1
    assert reward(6, pelvis_z=0.5) < reward(6)


def test_suite_of_the_humanoid_bench_page_makes_the_new_task(checkout: Path) -> None:
    names: dict = {}
    for part in ("class Push", "SUITE = TableSuite("):
        exec(block_with(checkout / "docs/humanoid_bench.md", part), names)
    env = names["SUITE"].make("h1-push-v0")
    assert env.unwrapped.task.name == "push"
    assert env.reset(seed=0)[0].shape == (51 + 13,)


def test_humanoid_bench_page_says_of_each_task_what_the_suite_says(checkout: Path) -> None:
    page = (checkout / "docs/humanoid_bench.md").read_text()
    table = page.partition("## Tasks")[2].partition("### Gallery")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \| (\d+) / (\d+) \|$", table, re.MULTILINE)
    assert [name for name, *_ in rows] == list(TASKS)
    for name, target, *sizes in rows:
        known = [describe(f"humanoid_{robot}-{name}-v0") for robot in ("h1", "h1hand")]
        assert [env.observation_size for env in known] == [int(size) for size in sizes]
        assert {env.target_return for env in known} == {float(target)}
        assert f"(images/humanoid_bench/{name}.png)" in page


def test_humanoid_bench_page_names_every_term_of_info(checkout: Path) -> None:
    page = (checkout / "docs/humanoid_bench.md").read_text()
    for name in TASKS:
        env = make_env(f"humanoid_h1-{name}-v0", seed=0)
        *_, info = env.step(env.action_space.sample())
        assert not [term for term in info.keys() - {"success"} if f"`{term}`" not in page]


def test_plugin_groups_are_those_of_the_registry(checkout: Path) -> None:
    page = (checkout / "docs/plugins.md").read_text()
    for kind in (registry.agents, registry.backbones, registry.planners, registry.suites):
        assert f'[project.entry-points."{kind.entry_point_group}"]' in page


def test_every_page_is_in_the_navigation(checkout: Path) -> None:
    navigation = (checkout / "mkdocs.yml").read_text().partition("nav:")[2].partition("plugins:")[0]
    docs = checkout / "docs"
    pages = {
        path.relative_to(docs).as_posix() for path in docs.rglob("*.*") if path.suffix in (".md", ".ipynb")
    }
    assert pages == set(re.findall(r"[\w/-]+\.(?:md|ipynb)", navigation))


def test_api_page_lists_all_that_is_public(checkout: Path) -> None:
    listed = re.findall(r"^::: ([\w.]+)", (checkout / "docs/api.md").read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed))
    objects = [resolved(name) for name in listed]
    modules = [known for known in objects if isinstance(known, ModuleType)]  # with all that is in them

    def is_there(package: ModuleType, name: str) -> bool:
        public = getattr(package, name)
        whole = any(getattr(module, name, None) is public for module in modules)
        return whole or any(public is known for known in objects) or f"{package.__name__}.{name}" in listed

    packages = public_packages(checkout)
    every = [(package, name) for package in packages for name in package.__all__]
    missing = [f"{package.__name__}.{name}" for package, name in every if not is_there(package, name)]
    assert missing == ["dream_agents.registry", "dream_agents.zoo"]  # sections of their own


def resolved(name: str) -> object:
    """What a dotted name stands for, with whatever has to be imported on the way."""
    parent, _, last = name.rpartition(".")
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.import_module(name)
    return getattr(resolved(parent), last)


def public_packages(checkout: Path) -> list[ModuleType]:
    """The packages that say what is public; commands and what only makes them faster are not for import."""
    folders = [path.parent for path in (checkout / "dream_agents").rglob("__init__.py")]
    folders += [path.parent for name in BESIDE for path in (checkout / name).rglob("__init__.py")]
    dotted = [".".join(folder.relative_to(checkout).parts) for folder in folders]
    names = [name if name.startswith("dream_agents") else f"dream_agents.{name}" for name in dotted]
    packages = [
        importlib.import_module(name) for name in names if not re.search(r"\.(cli|fast|tasks)$", name)
    ]
    return [package for package in packages if hasattr(package, "__all__")]


def test_arm_of_the_environments_page_is_learned_in_by_key(checkout: Path) -> None:
    code = block_with(checkout / "docs/environments.md", "class Arm")
    made: list = []
    names = {
        "gymnasium": gymnasium,
        "np": np,
        "Box": Box,
        "Dict": Dict,
        "DreamMPC": partial(_make_tiny, made),
    }
    exec(code, names)
    (agent,) = made
    assert agent.obs_type == "pixels+state"
    assert agent.world_model.obs_shape == {"camera": (3, 64, 64), "joints": (7,), "wrist": (1, 48, 48)}
    assert agent.learn(4).predict(agent.env.reset())[0].shape == (1, 7)


def _make_tiny(made: list, env: gymnasium.Env) -> DreamMPC:
    size = TDMPCSize(16, 16, 16, 2, 2)
    made.append(DreamMPC(env, model_size=size, buffer_size=50, learning_starts=100, device="cpu"))
    return made[0]


@needs_gl
def test_environments_page_says_what_pixels_and_state_are(checkout: Path) -> None:
    code = block_with(checkout / "docs/environments.md", 'obs_type="pixels+state"')
    line = next(line for line in code.splitlines() if line.startswith("# Dict"))
    env = make_env("dmc_reacher-easy-v0", obs_type="pixels+state")
    assert str(env.observation_space).replace("'", '"') == line.removeprefix("# ")
    env.close()


@pytest.fixture
def robot_page(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"exporting needs {name}: pip install 'dream-agents[export]'")
    monkeypatch.chdir(tmp_path)
    return checkout / "docs/deploy.md"


def test_the_robot_pages_controllers_act(robot_page: Path) -> None:
    names: dict = {"__name__": __name__}
    names["SIZE"] = TDMPCSize(16, 16, 16, 2, 2)
    for block in blocks(robot_page, "python"):
        quick = block.text.replace('"1M"', "SIZE, buffer_size=200, learning_starts=40")
        exec(
            quick.replace("learn(10_000)", "learn(50)").replace('planner="dream"', 'planner="policy"'), names
        )
    check_env(names["env"].unwrapped, skip_render_check=True)
    assert names["env"].unwrapped.dt == names["controller"].control_period
    assert names["exported"].largest_difference < 1e-4
    assert names["raised"].largest_difference < 1e-4
    assert names["action"].shape == (1,) and abs(names["action"][0]) <= 1


def test_tables_of_the_results_page_are_what_the_data_give(checkout: Path) -> None:
    script = checkout / "scripts/docs/results.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
