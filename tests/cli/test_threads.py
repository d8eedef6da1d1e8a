"""Threads are chosen by what is free, and what the user has set stays."""

import subprocess
import sys

import pytest

from dream_agents.cli import threads
from dream_agents.cli.threads import free_processors, set_threads


@pytest.fixture
def machine(monkeypatch):
    """A machine of 4 processors, so many of which are free."""

    def make(free):
        monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(4), raising=False)
        monkeypatch.setattr(threads, "free_processors", lambda processors: free)

    return make


@pytest.mark.parametrize(("free", "number"), [(0.0, "1"), (1.2, "1"), (1.8, "2"), (2.9, "3")])
def test_a_busy_machine_gets_fewer_threads_that_sleep(machine, free, number):
    machine(free)
    environment = {}
    line = set_threads(["train", "Pendulum-v1"], environment)
    assert environment == {"OMP_NUM_THREADS": number, "OMP_WAIT_POLICY": "passive"}
    assert line == (
        f"threads: {number}, which wait asleep, since {free} of 4 processors are free "
        "(OMP_NUM_THREADS sets another number)"
    )


def test_a_quiet_machine_is_left_to_pytorch(machine):
    machine(3.9)
    environment = {}
    assert set_threads(["eval"], environment) == "threads: PyTorch's choice, since all 4 processors are free"
    assert environment == {}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_users_number_stays(machine, name):
    machine(0.0)
    environment = {name: "3"}
    assert set_threads(["bench"], environment) == f"threads: 3, by {name}"
    assert environment == {name: "3"}


def test_the_users_way_of_waiting_stays(machine):
    machine(0.0)
    environment = {"OMP_WAIT_POLICY": "active"}
    assert "asleep" not in set_threads(["train"], environment)
    assert environment == {"OMP_WAIT_POLICY": "active", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("arguments", [[], ["envs"], ["train", "--help"], ["bench", "--threads", "2"]])
def test_other_commands_choose_nothing(machine, arguments):
    machine(0.0)
    environment = {}
    assert set_threads(arguments, environment) is None
    assert environment == {}


def test_unknown_machines_are_left_alone(machine):
    machine(None)
    environment = {}
    assert set_threads(["train"], environment) is None
    assert environment == {}


def test_free_processors_are_what_is_idle(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text("cpu 100 0 100 1000 0 0 0 0 0 0\n")
    later = "cpu 110 10 110 1065 5 0 0 0 0 0\n"  # 30 of 100 ticks busy
    monkeypatch.setattr(threads.time, "sleep", lambda _: stat.write_text(later))
    assert free_processors(4, stat) == pytest.approx(2.8)


def test_nobody_can_tell_without_the_systems_counts(tmp_path):
    assert free_processors(4, tmp_path / "none") is None


def test_the_command_line_does_not_load_pytorch_first():
    code = "import sys, dream_agents.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
