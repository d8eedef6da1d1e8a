"""What goes on in an experiment's folder, with runs that only pretend to train and to evaluate."""

import csv
import json
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

from dream_agents.experiments import Engine, narrowed, read_experiment, status_of
from dream_agents.experiments.about import read_about
from dream_agents.files import only_writer, write_json

FILE = """
title = "Two agents"
tasks = ["Pendulum-v1"]
seeds = [1]
frames = 400

[agents.first]
agent = "tdmpc2"

[agents.second]
agent = "bmpc"

[planners.dream]
planner = "dream"

[evaluation]
episodes = 2
"""


@pytest.fixture
def experiment(tmp_path):
    """Read the file with changes: pairs of an old text and a new one."""

    def read(*changes):
        text = FILE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "two.toml"
        path.write_text(text)
        return read_experiment(path)

    return read


@pytest.fixture
def done(monkeypatch):
    """The commands that engines have run, which leave the files that the real ones leave."""
    commands = []

    def pretend(engine, job, words):
        commands.append((job.variant.name, words[0]))
        if words[0] == "train":
            job.run.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(job.run / "unfinished", "w") as file:
                file.writestr("data", json.dumps({"num_timesteps": job.settings.decisions}))
            (job.run / "unfinished").replace(job.run / "final.zip")  # whole whenever another thread reads it
        else:
            folder = Path(words[words.index("--out") + 1])
            folder.mkdir(parents=True)
            result = {"returns": [-float(job.settings.decisions)] * 2, "successes": None, "latency_ms": 1.0}
            write_json(folder / "results.json", {"results": [result]})

    monkeypatch.setattr(Engine, "_run", pretend)
    return commands


def rows(folder):
    with (folder / "results.csv").open() as file:
        return [(row["agent"], row["frames"], row["return"]) for row in csv.DictReader(file)]


def test_an_error_in_one_job_ends_no_other(experiment, done, tmp_path, monkeypatch):
    run = Engine._run

    def full_disk(engine, job, words):
        if job.variant.name == "first":
            raise OSError(28, "No space left on device")
        return run(engine, job, words)

    monkeypatch.setattr(Engine, "_run", full_disk)
    engine = Engine(experiment(), tmp_path / "out", workers=1)
    (failure,) = engine.run()
    assert (failure.job, failure.error) == (
        "first/Pendulum-v1/1",
        "OSError: [Errno 28] No space left on device",
    )
    assert {agent for agent, *_ in rows(engine.folder)} == {"second"}


def test_results_that_cannot_be_written_for_a_moment_end_nothing(experiment, done, tmp_path, monkeypatch):
    from dream_agents.experiments import engine as module

    write, calls = module.write_results, []

    def full_once(jobs, folder):
        calls.append(folder)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return write(jobs, folder)

    monkeypatch.setattr(module, "write_results", full_once)
    with pytest.warns(UserWarning, match=r"results in .*out can't be written .*No space left"):
        assert Engine(experiment(), tmp_path / "out", workers=1).run() == []
    assert len(rows(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('planner = "dream"', 'planner = "mppi"', r"planners\.dream\.planner: 'dream', not 'mppi'"),
        ("[evaluation]", "options = { horizon = 5 }\n\n[evaluation]", r"planners\.dream\.options: {}, not"),
        ("episodes = 2", "episodes = 2\nseed = 7", r"evaluation\.seed: 0, not 7"),
        (
            'agent = "bmpc"',
            'agent = "bmpc"\nmodel_size = "1M"',
            r"agents\.second\.model_size: None, not '1M'",
        ),
    ],
)
def test_what_would_change_results_is_another_experiment(experiment, done, tmp_path, old, new, message):
    Engine(experiment(), tmp_path / "out").run()
    with pytest.raises(ValueError, match=message):
        Engine(experiment((old, new)), tmp_path / "out").run()


def test_what_changes_no_result_goes_on_in_the_folder(experiment, done, tmp_path):
    Engine(narrowed(experiment(), agents=["first"]), tmp_path / "out").run()
    more = experiment(
        ('agent = "tdmpc2"', 'agent = "tdmpc2"\nlabel = "TD-MPC2"\nplanners = ["dream"]'),
        ("[evaluation]", '[planners.policy]\nplanner = "policy"\n\n[evaluation]'),
    )
    assert Engine(more, tmp_path / "out", workers=1).run() == []
    assert done == [
        ("first", "train"),
        ("first", "eval"),
        ("second", "train"),
        ("second", "eval"),
        ("second", "eval"),
    ]


def test_an_agent_that_was_left_out_for_a_time_is_remembered(experiment, done, tmp_path):
    Engine(experiment(), tmp_path / "out").run()
    Engine(narrowed(experiment(), agents=["first"]), tmp_path / "out").run()
    with pytest.raises(ValueError, match=r"agents\.second\.agent: 'bmpc', not 'tdmpc2'"):
        Engine(experiment(('agent = "bmpc"', 'agent = "tdmpc2"')), tmp_path / "out").run()


def test_a_folder_of_the_first_version_goes_on(experiment, done, tmp_path):
    Engine(narrowed(experiment(), agents=["first"]), tmp_path / "out").run()
    about = read_about(tmp_path / "out")
    first = {"experiment": about["experiment"], **about["invocations"][0]}
    del first["workers"], first["threads"]
    (tmp_path / "out" / "experiment.json").write_text(json.dumps(first))
    assert Engine(experiment(), tmp_path / "out").run() == []
    assert done[2:] == [("second", "train"), ("second", "eval")]
    assert len(read_about(tmp_path / "out")["invocations"]) == 2


def test_every_invocation_that_did_something_is_written_down(experiment, done, tmp_path):
    Engine(experiment(), tmp_path / "out", workers=2, threads=3).run()
    Engine(experiment(("seeds = [1]", "seeds = [1, 2]")), tmp_path / "out", workers=1).run()
    Engine(experiment(("seeds = [1]", "seeds = [1, 2]")), tmp_path / "out", workers=5).run()
    invocations = read_about(tmp_path / "out")["invocations"]
    assert [(one["workers"], one["threads"]) for one in invocations] == [(2, 3), (1, 1)]


def test_results_of_a_shorter_run_do_not_pass_for_a_longer_ones(experiment, done, tmp_path):
    Engine(experiment(), tmp_path / "out").run()
    engine = Engine(experiment(("frames = 400", "frames = 800")), tmp_path / "out", workers=1)
    engine.begin()
    assert rows(engine.folder) == []
    assert engine.run() == []
    assert rows(engine.folder) == [
        (agent, "800", "-800.0") for agent in ("first", "second") for _ in range(2)
    ]


def test_fewer_frames_than_runs_have_are_refused(experiment, done, tmp_path):
    Engine(experiment(), tmp_path / "out").run()
    with pytest.raises(ValueError, match="has made 400 decisions, more than those of 200 frames"):
        Engine(experiment(("frames = 400", "frames = 200")), tmp_path / "out").run()


def test_failures_of_an_earlier_attempt_are_not_said_of_a_new_one(experiment, done, tmp_path, monkeypatch):
    engine = Engine(narrowed(experiment(), agents=["first"]), tmp_path / "out")
    with monkeypatch.context() as failing:
        failing.setattr(Engine, "_run", lambda *_: 1 / 0)
        assert [failure.error for failure in engine.run()] == ["ZeroDivisionError: division by zero"]
    assert [status.state for status in status_of(engine.jobs, engine.folder)] == ["failed"]
    engine.begin()
    assert [status.state for status in status_of(engine.jobs, engine.folder)] == ["waiting"]
    assert engine.run() == []


def test_a_command_that_says_nothing_is_not_given_the_words_of_the_one_before(tmp_path):
    from dream_agents.experiments.engine import _last_words

    log = tmp_path / "1.log"
    log.write_text("$ dream-agents train\nerror: it costs 5 $ a day\n$ dream-agents train --resume\n")
    assert _last_words(log, 1) == "exit code 1"
    log.write_text(log.read_text() + "error: no room\n")
    assert _last_words(log, 1) == "error: no room (exit code 1)"


def test_a_process_that_starts_while_all_are_stopped_is_interrupted(experiment, tmp_path, monkeypatch):
    engine = Engine(experiment(), tmp_path / "out", workers=1)
    popen, started = subprocess.Popen, []

    def start(words, **options):
        engine._stopping.set()  # Ctrl-C, after the engine has looked for it
        started.append(popen([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    assert engine.work(engine.jobs[0]) is None
    assert started[0].returncode != 0


@pytest.fixture
def ray(monkeypatch):
    """Ray as far as it is used here: jobs are done when they are waited for."""

    class RayError(Exception):
        pass

    fake = types.SimpleNamespace(
        exceptions=types.SimpleNamespace(RayError=RayError),
        init=lambda **_: None,
        remote=lambda **_: (
            lambda function: types.SimpleNamespace(remote=lambda *arguments: lambda: function(*arguments))
        ),
        wait=lambda references, timeout: (references[:1], references[1:]),
        get=lambda reference: reference(),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def test_on_ray_a_lost_worker_ends_no_other_job(experiment, done, ray, tmp_path, monkeypatch):
    from dream_agents.experiments.on_ray import run_on_ray

    run = Engine._run

    def lost(engine, job, words):
        assert job.folder.is_absolute()
        if job.variant.name == "first":
            raise ray.exceptions.RayError("the node died")
        return run(engine, job, words)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Engine, "_run", lost)
    monkeypatch.setattr(Engine, "work", Engine._work)  # what dies does not return
    engine = Engine(experiment(), "out")
    (failure,) = run_on_ray(engine)
    assert (failure.job, failure.error) == ("first/Pendulum-v1/1", "RayError: the node died")
    states = {status.name: status.state for status in status_of(engine.jobs, engine.folder)}
    assert states == {"first/Pendulum-v1/1": "failed", "second/Pendulum-v1/1": "done"}


def test_a_run_that_nobody_runs_is_interrupted(experiment, done, tmp_path):
    engine = Engine(experiment(), tmp_path / "out")
    engine.begin()
    engine.jobs[0].run.mkdir(parents=True)
    states = [status.state for status in status_of(engine.jobs, engine.folder)]
    with only_writer(engine.folder):
        while_running = [status.state for status in status_of(engine.jobs, engine.folder)]
    assert (states, while_running) == (["interrupted", "waiting"], ["training", "waiting"])


def test_a_damaged_file_of_results_is_one_failure(experiment, done, tmp_path):
    engine = Engine(experiment(), tmp_path / "out", workers=1)
    engine.run()
    results = engine.folder / "evaluations/first/Pendulum-v1/1/dream/results.json"
    results.write_text('{"results": [')
    assert [failure.job for failure in engine.run(lambda: status_of(engine.jobs, engine.folder))] == [
        "first/Pendulum-v1/1"
    ]
    assert {agent for agent, *_ in rows(engine.folder)} == {"second"}


def test_a_folder_that_was_moved_while_it_was_evaluated_can_be_done(experiment, done, tmp_path):
    engine = Engine(experiment(), tmp_path / "out", workers=1)
    engine.run()
    results = engine.folder / "evaluations/first/Pendulum-v1/1/dream/results.json"
    (whole,) = json.loads(results.read_text())["results"]
    begun = {**whole, "returns": whole["returns"][:1]}  # under the run's name of before
    results.write_text(json.dumps({"results": [begun, whole]}))
    assert engine.jobs[0].is_done()
    assert len(rows(engine.folder)) == 4
