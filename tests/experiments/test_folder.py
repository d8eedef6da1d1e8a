"""What goes on in an experiment's folder, with runs that only pretend to train and to evaluate."""

import csv
import json
import zipfile

import pytest

from dream_agents.experiments import Engine, read_experiment

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
            with zipfile.ZipFile(job.run / "final.zip", "w") as file:
                file.writestr("data", json.dumps({"num_timesteps": job.settings.decisions}))
        else:
            folder = job.evaluation_folder(job.planners[0])
            folder.mkdir(parents=True)
            result = {"returns": [-float(job.settings.decisions)] * 2, "successes": None, "latency_ms": 1.0}
            (folder / "results.json").write_text(json.dumps({"results": [result]}))

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
