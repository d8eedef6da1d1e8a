"""Another package adds a planner, a backbone, an agent and a suite through entry points; see docs/plugins.md."""

import ast
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "example_plugin"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run Python code in a fresh process in which the example plug-in is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(SOURCE, folder / "source")  # building leaves files there
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    install += ["--disable-pip-version-check", "--target", str(folder / "site"), str(folder / "source")]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    env = os.environ | {"PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}

    def run_code(code):
        command = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(
            command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_code


def test_name_is_listed_imported_when_asked_for_and_takes_options(run):
    out = run("""
        import sys
        from dream_agents import make_planner, registry
        print("shooting" in registry.planners.names(), "example_plugin" in sys.modules)
        print(make_planner("shooting", samples=7))
        for options in ({"sample": 7}, {"samples": 0}):
            try:
                make_planner("shooting", **options)
            except ValueError as error:
                print(error)
    """)
    names, made, unknown, senseless = out.splitlines()
    assert names == "True False"
    assert made == "ShootingPlanner(horizon=3, samples=7)"
    assert "its options are horizon, samples" in unknown
    assert "samples must be above 0" in senseless


def test_agents_learn_and_act_with_it_and_keep_it(run):
    out = run("""
        import numpy as np
        from dream_agents import TDMPC2
        from dream_agents.models.tdmpc import TDMPCSize
        agent = TDMPC2("Pendulum-v1", planner="shooting", planner_kwargs={"samples": 20}, seed=0, device="cpu",
                       model_size=TDMPCSize(16, 16, 16, 2, 2), learning_starts=20, batch_size=8)
        agent.learn(25)
        agent.save("agent")
        loaded = TDMPC2.load("agent", device="cpu")
        print(loaded.planner)
        obs = np.zeros((2, 3), np.float32)
        print((agent.predict(obs, deterministic=True)[0] == loaded.predict(obs, deterministic=True)[0]).all())
    """)
    assert out.splitlines() == ["ShootingPlanner(horizon=3, samples=20)", "True"]


def test_every_kind_of_name_is_listed_and_nothing_is_imported(run):
    out = run("""
        import sys
        from dream_agents import registry
        print("linear" in registry.backbones.names(), "shooter" in registry.agents.names())
        print("points" in registry.suites.names(), "example_plugin" in sys.modules)
    """)
    assert out.split() == ["True", "True", "True", "False"]


def test_its_model_goes_through_the_zoo(run):
    out = run("""
        import numpy as np
        from dream_agents import registry, zoo
        agent = registry.agents.get("shooter")("points-home", model_size="large", learning_starts=20, seed=0,
                                               model_kwargs={"log_std": -2.0}, device="cpu")
        agent.learn(60)
        zoo.save(agent, "entry")
        card = zoo.verify("entry")
        print(card.agent, card.backbone, card.planner, card.environment, card.network.model_size)
        loaded = zoo.load("entry", device="cpu", seed=0)
        print(type(loaded).__name__, loaded.world_model.size, loaded.world_model.log_std)
        obs = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
        same = agent.predict(obs, deterministic=True)[0] == loaded.predict(obs, deterministic=True)[0]
        print(same.all(), loaded.learn(30).num_timesteps)
        print(zoo.load("entry", device="cpu", planner="dream").planner.horizon)
    """)
    card, loaded, acts, horizon = out.splitlines()
    assert card == "shooter linear shooting points_home-v0 {'latent_dim': 16}"
    assert loaded == "Shooter LinearSize(latent_dim=16) -2.0"
    assert (acts, horizon) == ("True 30", "2")


def test_built_in_agents_take_what_its_backbone_wants(run):
    out = run("""
        from dream_agents import DreamMPC
        agent = DreamMPC("points_home-v0", backbone="linear", device="cpu")
        print(agent.planner.horizon, agent.planner.uncertainty_coef, agent.training_planner)
        print(agent.batch_size, agent.world_model.size, agent.replay_buffer.sequence_length)
        own = {"model_size": "large", "batch_size": 16, "training_planner": "policy"}
        agent = DreamMPC("points_home-v0", backbone="linear", planner_kwargs={"horizon": 4}, device="cpu", **own)
        print(agent.planner.horizon, agent.planner.uncertainty_coef, agent.training_planner)
        print(agent.batch_size, agent.world_model.size)
    """)
    wanted, sizes, own_planners, own_sizes = out.splitlines()
    assert wanted == "2 0.0 ShootingPlanner(horizon=3, samples=100)"
    assert sizes == "8 LinearSize(latent_dim=4) 3"
    assert own_planners == "4 0.0 PolicyPlanner(exploration_std=0.0)"
    assert own_sizes == "16 LinearSize(latent_dim=16)"


def test_command_line_knows_its_options(run):
    out = run("""
        from dream_agents.cli.options import agent_keywords
        print(agent_keywords("shooter", ["samples=7", "reward_coef=0.5", "log_std=-2.0"]))
        print(agent_keywords("dream_mpc", ["backbone=linear", "samples=7"]))
    """)
    first, second = map(ast.literal_eval, out.splitlines())
    assert first == {
        "planner_kwargs": {"samples": 7},
        "learner_kwargs": {"reward_coef": 0.5},
        "model_kwargs": {"log_std": -2.0},
    }
    assert second == {"backbone": "linear", "training_planner_kwargs": {"samples": 7}}


def test_nobody_else_sees_it():
    from dream_agents import registry

    assert "shooting" not in registry.planners.names()
    assert "linear" not in registry.backbones.names()
