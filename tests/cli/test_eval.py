import itertools
import json
import re
import shutil
import sys

import pytest
from gymnasium.envs.classic_control import PendulumEnv

from dream_agents import TDMPC2, files, zoo
from dream_agents.cli import demo
from dream_agents.planners.dream import DreamPlanner


def planners_in(output):
    """First cells of the table's rows."""
    return [line.split()[1] for line in output.splitlines() if line.startswith("│")]


@pytest.fixture(scope="module")
def entry(trained, tmp_path_factory):
    """A zoo entry with the run's weights."""
    model = TDMPC2.load(trained / "final.zip", device="cpu")
    folder = tmp_path_factory.mktemp("zoo") / "tdmpc2-pendulum"
    zoo.save(model, folder)
    return folder


def test_planners_are_compared_in_one_table(trained, dream_agents_command, tmp_path):
    out = tmp_path / "results.json"
    planners = ["--planner", "dream,mppi,policy", "--set", "samples=16", "--set", "mppi.elites=4"]
    counts = ["--episodes", 3, "--n-envs", 2, "--seed", 4]
    result = dream_agents_command(
        "eval", trained, *planners, "--set", "mppi.policy_samples=4", *counts, "--json", out
    )
    assert result.exit_code == 0, result.output
    assert planners_in(result.stdout) == ["dream", "mppi", "policy"]
    assert "95% interval" in result.stdout
    assert result.stdout.startswith(str(trained))
    assert "tests/CliPendulum-v0: 3 episodes, seed 4" in result.stdout
    written = json.loads(out.read_text())
    assert {entry["model"] for entry in written["results"]} == {str(trained)}
    assert [entry["planner"] for entry in written["results"]] == ["dream", "mppi", "policy"]
    assert written["results"][1]["planner_options"]["samples"] == 16
    for one in written["results"]:
        assert (one["episodes"], one["n_envs"], one["seed"], one["lengths"]) == (3, 2, 4, [12] * 3)
        assert f"{one['mean']:.1f}" in result.stdout
        assert one["interval_95"][0] <= one["mean"] <= one["interval_95"][1]
        assert one["ms_per_decision"] > 0 and one["latency_ms"] > 0


def test_every_way_to_name_a_model_leads_to_the_same_one(trained, entry, dream_agents_command, tmp_path):
    unfinished = shutil.copytree(trained, tmp_path / "run")
    (unfinished / "final.zip").unlink()
    alone = shutil.copy(trained / "final.zip", tmp_path / "alone.zip")
    checkpoints = trained / "checkpoints"
    sources = [
        trained,
        trained / "final.zip",
        alone,
        unfinished,
        checkpoints,
        checkpoints / "checkpoint_0000000060",
    ]
    means = []
    for source in [*sources, entry]:
        out = tmp_path / f"{len(means)}.json"
        result = dream_agents_command("eval", source, "--episodes", 2, "--planner", "policy", "--json", out)
        assert result.exit_code == 0, result.output
        means.append(json.loads(out.read_text())["results"][0]["mean"])
    assert means[:-1] == [means[0]] * len(sources)
    assert means[-1] == pytest.approx(means[0], rel=0.05)  # weights in half precision


@pytest.fixture
def killed(trained, dream_agents_command, tmp_path):
    """A run that was made longer and killed, so that its final model is an earlier one."""
    run = shutil.copytree(trained, tmp_path / "run")
    dream_agents_command("train", "--resume", "--out", run, "--decisions", 72)
    shutil.copy(trained / "final.zip", run / "final.zip")
    return run


def test_newer_checkpoint_is_taken_instead_of_the_final_model(trained, killed, dream_agents_command):
    assert "the run went on" not in dream_agents_command("eval", trained, "--episodes", 1).stderr
    result = dream_agents_command("eval", killed, "--episodes", 1)
    assert "the run went on after" in result.stderr
    assert "checkpoint_0000000072" in result.stderr


def test_name_of_the_models_own_planner_keeps_its_options(trained, dream_agents_command, tmp_path):
    model = TDMPC2.load(trained / "final.zip", device="cpu")
    model.planner = DreamPlanner(candidates=3)
    model.save(tmp_path / "mine.zip")
    out = tmp_path / "results.json"
    dream_agents_command(
        "eval", tmp_path / "mine.zip", "--episodes", 1, "--planner", "policy,dream", "--json", out
    )
    _, dream = json.loads(out.read_text())["results"]
    assert (dream["planner_options"]["candidates"], dream["changed_options"]) == (3, {})


def test_environment_options_reach_the_environment(trained, dream_agents_command, tmp_path):
    numbers = itertools.count()

    def returns(*options):
        out = tmp_path / f"{next(numbers)}.json"
        result = dream_agents_command(
            "eval", trained, "--planner", "policy", "--episodes", 2, *options, "--json", out
        )
        assert result.exit_code == 0, result.output
        return json.loads(out.read_text())["results"][0]["returns"]

    weightless = ("--set", "env_kwargs.g=0.0")
    assert returns(*weightless) == returns(*weightless) != returns()


def test_without_a_planner_it_is_the_models_own(trained, entry, dream_agents_command, tmp_path):
    assert planners_in(dream_agents_command("eval", trained, "--episodes", 1).stdout) == ["policy"]
    out = tmp_path / "results.json"
    model = TDMPC2.load(trained / "final.zip", device="cpu")
    model.planner = "dream"
    model.planner.candidates = 3
    model.save(tmp_path / "mine.zip")
    dream_agents_command(
        "eval", tmp_path / "mine.zip", "--episodes", 1, "--set", "dream.iterations=2", "--json", out
    )
    options = json.loads(out.read_text())["results"][0]["planner_options"]
    assert (options["candidates"], options["iterations"]) == (3, 2)


def test_results_go_into_the_model_card(entry, dream_agents_command):
    options = ["--planner", "policy,dream", "--episodes", 2, "--update-card"]
    result = dream_agents_command("eval", entry, *options, "--set", "dream.candidates=2")
    assert result.exit_code == 0, result.output
    results = {result.planner: result for result in zoo.card(entry).results}
    assert set(results) == {"policy", "dream (candidates=2)"}
    assert (results["policy"].episodes, results["policy"].measure) == (2, "return")


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("{trained}", [], "has no card; make it an entry of the zoo first"),
        ("{entry}", ["--set", "env_kwargs.g=1.0"], "a card has no place to say that"),
        ("{entry}", ["--stochastic"], "a card has no place to say that"),
        ("{entry}", ["--env", "Pendulum-v1"], "is about tests/CliPendulum-v0, not Pendulum-v1"),
        ("tdmpc2-official/walker-walk-1", [], "is not a file of yours"),
    ],
)
def test_card_that_could_not_take_the_results_stops_before_measuring(
    trained, entry, dream_agents_command, forbid_measuring, source, arguments, message
):
    forbid_measuring()
    source = source.format(trained=trained, entry=entry)
    result = dream_agents_command("eval", source, "--update-card", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_card_in_a_folder_that_cannot_be_written_to(dream_agents_command, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: "entries" not in str(path))
    result = dream_agents_command("eval", zoo.names("walker", offline=True)[0], "--update-card")
    assert result.exit_code == 2
    assert "nothing can be written to" in result.stderr
    assert "make a copy of that folder" in result.stderr


def test_video_of_the_first_planner(trained, dream_agents_command, tmp_path, monkeypatch):
    imageio = pytest.importorskip("imageio.v2")
    import numpy as np

    monkeypatch.setattr(PendulumEnv, "render", lambda self: np.zeros((20, 20, 3), np.uint8))
    video = tmp_path / "video.mp4"
    result = dream_agents_command(
        "eval", trained, "--episodes", 1, "--planner", "dream,policy", "--video", video
    )
    assert result.exit_code == 0, result.output
    assert f"video: {video} (dream" in result.stderr
    with imageio.get_reader(video) as reader:
        assert len(list(reader.iter_data())) == 13


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("no-such-model", [], '"no-such-model" is not a zoo entry'),
        ("{trained}", ["--planner", "polcy"], 'did you mean "policy"'),
        (
            "{trained}",
            ["--planner", "policy", "--set", "dream.iterations=2"],
            "dream is not one of the planners that act here, policy",
        ),
        ("{trained}", ["--set", "env_kwargs.foo=1"], "--set env_kwargs.foo=1 can't be used: PendulumEnv"),
        (
            "{trained}",
            ["--set", "env_kwargs.g=heavy"],
            "--set env_kwargs.g=heavy can't be used: unsupported operand",
        ),
        ("{trained}", ["--env", "dmc_walker-walk-v0"], "the environment's observations have shape (24,)"),
        ("{trained}", ["--device", "cuda:99"], "--device cuda:99 can't be used"),
        ("{trained}/args.json", [], "is neither a folder nor a .zip"),
        ("{trained}/tensorboard", [], "no good checkpoint in"),
        ("{tmp}/other.zip", [], "is not a file that an agent saved"),
        ("{tmp}/sac.zip", [], "does not say which agent saved it; name it with --agent"),
    ],
)
def test_mistakes_cost_one_line(trained, dream_agents_command, tmp_path, source, arguments, message):
    (tmp_path / "other.zip").write_text("not a zip")
    shutil.make_archive(str(tmp_path / "sac"), "zip", _saved_elsewhere(tmp_path / "saved"))
    result = dream_agents_command("eval", source.format(trained=trained, tmp=tmp_path), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--video", "{tmp}/x.gif"], "videos are written as .mp4"),
        (["--video", "{tmp}/file/x.mp4"], "file"),
        (["--json", "{tmp}/file/x.json"], "file"),
        (["--json", "{tmp}"], "is a folder; name a file in it"),
        (["--csv", "{tmp}/file/x.csv"], "file"),
        (["--out", "{tmp}/file"], "file"),
    ],
)
def test_results_that_could_not_be_written_are_not_measured(
    trained, dream_agents_command, tmp_path, forbid_measuring, arguments, message
):
    (tmp_path / "file").touch()
    forbid_measuring()
    result = dream_agents_command("eval", trained, *[text.format(tmp=tmp_path) for text in arguments])
    assert result.exit_code == 2
    assert message in result.stderr


def test_missing_video_package_is_named_before_anything_is_measured(
    trained, dream_agents_command, tmp_path, monkeypatch, forbid_measuring
):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    forbid_measuring()
    result = dream_agents_command("eval", trained, "--video", tmp_path / "x.mp4")
    assert result.exit_code == 2
    assert "pip install 'dream-agents[video]'" in result.stderr


def _saved_elsewhere(folder):
    folder.mkdir()
    (folder / "data").write_text('{"policy_class": "SACPolicy"}')
    return folder


def test_debug_shows_the_traceback(dream_agents_command):
    with pytest.raises(ValueError, match="is not a zoo entry"):
        dream_agents_command("--debug", "eval", "no-such-model")


class TestDemo:
    def test_shows_three_planners_and_what_to_do_next(
        self, entry, dream_agents_command, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
        result = dream_agents_command(
            "demo", "--name", entry, "--episodes", 2, "--video", tmp_path / "demo.mp4"
        )
        assert result.exit_code == 0, result.output
        assert planners_in(result.stdout) == ["policy", "mppi", "dream"]
        assert "pip install 'dream-agents[video]'" in result.stderr
        assert "dream-agents train tests/CliPendulum-v0" in result.stderr

    def test_shows_an_embedded_entry_unless_told_otherwise(self, dream_agents_command):
        (name,) = re.findall(r"\[default: +(\S+-walk)\]", dream_agents_command("demo", "--help").stdout)
        assert name in zoo.names(offline=True)

    def test_video_of_another_format_is_refused_at_once(self, entry, dream_agents_command, monkeypatch):
        monkeypatch.setattr("dream_agents.zoo.load", lambda *_, **__: pytest.fail("it was started"))
        result = dream_agents_command("demo", "--name", entry, "--video", "demo.gif")
        assert result.exit_code == 2
        assert result.stderr == "error: videos are written as .mp4; demo.gif has another suffix\n"

    def test_plays_as_many_episodes_as_the_machine_can(self, entry, monkeypatch):
        model = zoo.load(entry, device="cpu")
        assert demo._affordable_episodes(model) == 5
        monkeypatch.setattr(demo, "_BUDGET_SECONDS", 1e-6)
        assert demo._affordable_episodes(model) == 1

    def test_says_so_when_nothing_is_embedded(self, dream_agents_command, tmp_path, monkeypatch):
        monkeypatch.setattr("dream_agents.zoo.catalog.ENTRIES", tmp_path)
        result = dream_agents_command("demo")
        assert result.exit_code == 2
        assert "is not a zoo entry" in result.stderr


def test_two_evaluations_into_one_folder_are_refused(
    trained, dream_agents_command, forbid_measuring, tmp_path
):
    forbid_measuring()
    with files._lock(tmp_path):  # another process's, since this one could enter again
        result = dream_agents_command("eval", trained, "--out", tmp_path)
    assert result.exit_code == 2
    assert "another process writes to" in result.stderr
