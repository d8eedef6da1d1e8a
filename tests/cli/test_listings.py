import json
import subprocess
import sys

import pytest

from dream_agents import __version__, registry
from dream_agents.cli.console import console


def test_help_names_every_command_and_imports_nothing_slow():
    code = "import sys; from dream_agents.cli import app; app(['--help'], standalone_mode=False); "
    code += "print(sorted({'torch', 'stable_baselines3', 'matplotlib', 'dm_control', 'mujoco'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("train", "eval", "demo", "envs", "planners", "agents", "bench", "plot"):
        assert f" {command} " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["train", "eval", "demo", "envs", "planners", "agents", "bench", "plot"])
def test_every_command_explains_itself(dream_agents_command, command):
    result = dream_agents_command(command, "--help")
    assert result.exit_code == 0
    assert f"dream-agents {command}" in result.stdout or f"{command} [OPTIONS]" in result.stdout


def test_version(dream_agents_command):
    assert dream_agents_command("--version").stdout.strip() == f"dream-agents {__version__}"


def test_environments_have_sizes_and_other_names(dream_agents_command):
    result = dream_agents_command("envs", "--suite", "dmc", "walker")
    (row,) = [line for line in result.stdout.splitlines() if "dmc_walker-walk-v0" in line]
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells[:5] == ["dmc_walker-walk-v0", "24", "6", "500", "2"]
    assert "walker-walk" in cells[5]
    assert "cartpole" not in result.stdout
    assert "target" not in result.stdout


def test_environments_are_listed_by_suite(dream_agents_command):
    listed = dream_agents_command("envs", "walk").stdout.splitlines()
    titles = [
        i for suite in ("dmc", "humanoid_bench") for i, line in enumerate(listed) if line.strip() == suite
    ]
    rows = [
        next(i for i, line in enumerate(listed) if id in line) for id in ("dmc_dog-walk", "humanoid_h1-walk")
    ]
    assert titles[0] < rows[0] < titles[1] < rows[1]
    row = next(
        line
        for line in dream_agents_command("envs", "mw-assembly").stdout.splitlines()
        if "assembly-v3" in line
    )
    assert [cell.strip() for cell in row.split("│")[1:6]] == ["metaworld_assembly-v3", "39", "4", "100", "2"]


def test_environments_of_a_benchmark_with_targets_show_them(dream_agents_command):
    result = dream_agents_command("envs", "--suite", "humanoid_bench", "h1-")
    assert "target" in result.stdout
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if "humanoid_h1-" in line]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:6]] for row in rows}
    assert cells["humanoid_h1-run-v0"] == ["51", "19", "1000", "1", "700"]
    assert cells["humanoid_h1-reach-v0"] == ["57", "19", "1000", "1", "12000"]


def test_a_narrow_terminal_shows_all_figures(dream_agents_command, monkeypatch):
    monkeypatch.setattr(console, "width", 80)
    listed = dream_agents_command("envs", "--suite", "humanoid_bench").stdout
    (heading,) = [line for line in listed.splitlines() if "target" in line]
    assert [cell.strip() for cell in heading.split("┃")[1:-1]] == [
        "id",
        "obs",
        "act",
        "length",
        "repeat",
        "target",
    ]
    assert "│ humanoid_h1hand-balance_simple-v0 │ 164 │  61 │   1000 │      1 │    800 │" in listed


def test_targets_and_random_returns_as_json(dream_agents_command):
    def returns(*arguments):
        entry = json.loads(dream_agents_command("envs", *arguments, "--json").stdout)[0]
        return entry["target_return"], entry["random_return"]

    assert returns("humanoid_h1hand-walk-v0") == (700, 2.505)
    assert returns("--suite", "humanoid_bench", "h1hand-sit") == (750, 10.768)
    assert returns("--suite", "dmc") == (None, None)
    assert returns("Pendulum-v1") == (None, None)


def test_environments_as_json(dream_agents_command):
    listed = json.loads(dream_agents_command("envs", "--suite", "dmc", "--json").stdout)
    assert [entry["id"] for entry in listed] == list(registry.suites.get("dmc").ids())
    assert listed[0].keys() >= {
        "observation_size",
        "action_size",
        "max_episode_steps",
        "action_repeat",
        "aliases",
    }


@pytest.mark.parametrize("name", ["Pendulum-v1", "gymnasium.envs.classic_control:Pendulum-v1"])
def test_one_environment_is_described_in_full(dream_agents_command, name):
    (entry,) = json.loads(dream_agents_command("envs", name, "--json").stdout)
    assert (entry["id"], entry["observation_size"], entry["action_size"]) == ("Pendulum-v1", 3, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dmc_walker-wlk-v0"], 'did you mean "dmc_walker-walk-v0"'),
        (["--suite", "dcm"], 'did you mean "dmc"'),
        (["--suite", "dmc", "Pendulum-v1"], 'no environment of the suite "dmc" fits "Pendulum-v1"'),
    ],
)
def test_environments_that_are_not_there(dream_agents_command, arguments, message):
    result = dream_agents_command("envs", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_files_of_a_benchmark_that_are_not_there(dream_agents_command, monkeypatch, tmp_path):
    monkeypatch.setenv("DREAM_AGENTS_HUMANOID_BENCH", str(tmp_path / "nowhere"))
    options = ("--set", "env_kwargs.geometry=official", "--out", tmp_path / "run")
    result = dream_agents_command("train", "humanoid_h1-run-v0", *options)
    assert result.exit_code == 2
    assert "error: DREAM_AGENTS_HUMANOID_BENCH=" in result.stderr
    assert "nowhere is not a folder" in "".join(result.stderr.splitlines())


@pytest.mark.parametrize(("agent", "batch"), [("dreamer", "16"), ("tdmpc2", "256")])
def test_agents_show_the_defaults_of_their_backbone(dream_agents_command, agent, batch):
    explained = dream_agents_command("agents", agent).stdout
    (row,) = [line for line in explained.splitlines() if "│ batch_size " in line]
    assert [cell.strip() for cell in row.split("│")][2] == batch


def test_planners_with_their_defaults(dream_agents_command):
    listed = " ".join(dream_agents_command("planners").stdout.split())
    for name in registry.planners.names():
        assert f"│ {name} " in listed
    assert "candidates=5" in listed
    explained = dream_agents_command("planners", "dream").stdout
    (row,) = [line for line in explained.splitlines() if "│ candidates " in line]
    assert [cell.strip() for cell in row.split("│")[1:4]] == ["candidates", "5", "int"]
    assert dream_agents_command("planners", "drem").exit_code == 2


def test_agents_with_their_options(dream_agents_command):
    listed = dream_agents_command("agents").stdout
    for name in registry.agents.names():
        assert f"│ {name} " in listed
    explained = dream_agents_command("agents", "dream_mpc").stdout
    for option in ("batch_size", "planner_kwargs", "learner_kwargs.horizon"):
        assert f"│ {option} " in explained
    assert "sub-sequences an update" in explained


def test_plot_draws_a_run_beside_published_results(trained, dream_agents_command, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k)))
    published = tmp_path / "published.csv"
    published.write_text("task,env_step,seed,return,success\ntests/CliPendulum-v0,0,1,-70,\n")
    out = tmp_path / "curve.png"
    result = dream_agents_command(
        "plot", trained, trained / "episodes.csv", "--published", published, "--out", out
    )
    assert result.exit_code == 0, result.output
    assert out.read_bytes().startswith(b"\x89PNG")
    labels = [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()]
    assert {str(trained), f"{trained / 'episodes.csv'} (while learning)"} < set(labels)
    missing = dream_agents_command("plot", tmp_path, "--out", out)
    assert missing.exit_code == 2
    assert "there is no run in" in missing.stderr
