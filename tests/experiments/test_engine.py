"""Running an experiment: once, again, interrupted, and with a run that fails."""

import csv
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from dream_agents.experiments import Engine, read_experiment, status_of

FILE = """
title = "Quick"
tasks = ["Pendulum-v1"]
seeds = [1]
frames = 400
checkpoint_frames = 200  # whole episodes, after which a run goes on with the same numbers

[agents.quick]
agent = "tdmpc2"
model_size = "1M"
planner = "policy"
options = { learning_starts = 24, batch_size = 4 }

[planners.policy]
planner = "policy"

[evaluation]
episodes = 1
"""
BROKEN = """
[agents.broken]
agent = "tdmpc2"
options = { "planner_kwargs.horizon" = -1 }
"""


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.toml"
    path.write_text(FILE)
    return path


def rows(folder):
    """Results without times."""
    with (folder / "results.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "ms"} for row in csv.DictReader(file)]


def commands(folder):
    return [
        line
        for log in folder.glob("logs/**/*.log")
        for line in log.read_text().splitlines()
        if line.startswith("$ ")
    ]


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory):
    """The results of the experiment, run without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "quick.toml"
    path.write_text(FILE)
    engine = Engine(read_experiment(path), folder / "out", workers=1)
    assert engine.run() == []
    return engine


def test_results_are_a_row_an_episode(in_one_go):
    (row,) = rows(in_one_go.folder)
    assert (row["agent"], row["task"], row["seed"], row["planner"]) == ("quick", "Pendulum-v1", "1", "policy")
    assert (row["frames"], row["episode"], row["success"]) == ("400", "0", "")
    assert -2000 < float(row["return"]) < 0
    (status,) = status_of(in_one_go.jobs, in_one_go.folder)
    assert (status.state, status.decisions) == ("done", 400)


def test_nothing_is_done_twice(in_one_go):
    before = commands(in_one_go.folder)
    assert len(before) == 2
    assert Engine(in_one_go.experiment, in_one_go.folder).run() == []
    assert commands(in_one_go.folder) == before


def test_another_experiment_is_not_written_over_it(in_one_go, quick):
    quick.write_text(quick.read_text().replace("batch_size = 4", "batch_size = 8"))
    with pytest.raises(ValueError, match="holds the experiment 'quick' with another agents"):
        Engine(read_experiment(quick), in_one_go.folder).run()


def test_a_run_that_fails_is_reported_and_ends_no_other(quick, tmp_path):
    quick.write_text(quick.read_text().replace("[planners.policy]", BROKEN + "\n[planners.policy]"))
    engine = Engine(read_experiment(quick), tmp_path / "out", workers=2)
    (failure,) = engine.run()
    assert failure.job == "broken/Pendulum-v1/1"
    assert "horizon" in failure.error
    assert [row["agent"] for row in rows(tmp_path / "out")] == ["quick"]
    states = {status.name: status.state for status in status_of(engine.jobs, engine.folder)}
    assert states == {"quick/Pendulum-v1/1": "done", "broken/Pendulum-v1/1": "failed"}


def start(path, folder, **options):
    command = ["experiment", "run", str(path), "--out", str(folder), "--workers", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", "from dream_agents.cli import main; main()", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,
    )


def children(pid):
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in listed.stdout.split()]


def kill_somewhere(path, folder, seconds, worker):
    """Kill the engine, or its worker, after so long; return once nothing of it is left."""
    engine = start(path, folder)
    time.sleep(seconds)
    workers = children(engine.pid)
    for pid in workers if worker else [engine.pid]:
        os.kill(pid, signal.SIGKILL)
    engine.wait(120)
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers), "a worker outlived its engine"


def check_interrupted(path, folder, moments, in_one_go):
    for seconds, worker in moments:
        kill_somewhere(path, folder, seconds, worker)
    engine = Engine(read_experiment(path), folder, workers=1)
    assert engine.run() == []
    assert rows(folder) == rows(in_one_go.folder)
    (status,) = status_of(engine.jobs, folder)
    assert status.state == "done"


def test_killed_once_it_ends_as_in_one_go(quick, tmp_path, in_one_go):
    check_interrupted(quick, tmp_path / "out", [(12.0, False)], in_one_go)


def test_asked_to_end_it_writes_a_checkpoint(quick, tmp_path):
    folder = tmp_path / "out"
    engine = start(
        quick, folder, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )  # as with &
    log, deadline = folder / "logs/quick/Pendulum-v1/1.log", time.monotonic() + 60
    while not (log.exists() and "updates/s" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = children(engine.pid)
    engine.terminate()
    assert engine.wait(60) == 130
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
    assert "stopped at decision" in log.read_text()
    assert list((folder / "runs/quick/Pendulum-v1/1/checkpoints").iterdir())


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_as_in_one_go(quick, tmp_path, in_one_go):
    draw = random.Random(0)
    for number in range(10):
        moments = [(draw.uniform(1, 20), draw.random() < 0.5) for _ in range(2)]
        check_interrupted(quick, tmp_path / f"out-{number}", moments, in_one_go)


@pytest.mark.slow
def test_on_ray_a_lost_node_costs_nothing(quick, tmp_path, in_one_go):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from dream_agents.experiments.on_ray import run_on_ray

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=1)
    lost = cluster.add_node(num_cpus=1)
    engine = Engine(read_experiment(quick), tmp_path / "out")
    began, removed = time.monotonic(), False

    def tick():
        nonlocal removed
        if not removed and time.monotonic() - began > 8:
            removed = True
            cluster.remove_node(lost)

    assert run_on_ray(engine, cluster.address, tick) == []
    assert rows(tmp_path / "out") == rows(in_one_go.folder)
