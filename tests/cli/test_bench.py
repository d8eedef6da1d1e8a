"""``dream-agents bench``: every figure that the project is measured by, with what is asked of it."""

import json
from importlib.util import find_spec

import pytest

from dream_agents.annex import can_compile
from dream_agents.evaluation import batch_benchmark, benchmark, deploy_benchmark, device_benchmark
from dream_agents.evaluation.deploy_benchmark import Latency
from dream_agents.models.bmpc import BMPC_SIZES
from dream_agents.models.tdmpc import TDMPC_SIZES, TDMPCSize

needs_export = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason='exporting needs onnx: pip install "dream-agents[export]"',
)

ASKED = {
    ("x", 35): "MPPI time / {dream} time, 5M, 1 environment",
    ("x", 10): "MPPI time / {adaptive} time, 5M, 1 environment",
    ("x", 2): "{adaptive} time / {dream} time, 5M, 1 environment",
    ("matrix products", 5): "{dream} plan, 5M",
    ("matrix products", 190): "MPPI plan, 5M",
    ("decisions/s", 300): "{dream}, 1M, 1 environment",
    ("x", 4): "16 Dream-MPC plans one by one / in one call, 1M",
    ("matrix products", 170): "TD-MPC2 update, 5M, batch 256, float32",
    ("matrix products", 200): "a decision of the default agent while learning, 5M",
    ("matrix products", 115): "TD-MPC2 update, 5M, batch 256, bfloat16",
    ("%", 1): "drawing 256 sub-sequences of {steps:,} steps, share of a bfloat16 update",
}


@pytest.fixture
def small(monkeypatch):
    """Networks and a buffer that are measured in a moment."""
    for size in ("1M", "5M"):
        monkeypatch.setitem(TDMPC_SIZES, size, TDMPCSize(16, 16, 16, 2, 2))
    monkeypatch.setitem(BMPC_SIZES, "5M", TDMPCSize(16, 16, 16, 2, 2))
    monkeypatch.setattr(benchmark, "BUFFER_STEPS", 5_000)


def bench(run, path):
    result = run("bench", "--repeats", 1, "--json", path)
    assert result.exit_code == 0, result.output
    return result.output, json.loads(path.read_text())


def assert_complete(measured, dream):
    adaptive = dream.replace("Dream-MPC", "adaptive")
    assert {"processor", "threads", "python", "versions"} <= measured["machine"].keys()
    rows = measured["measurements"]
    assert all(row["value"] > 0 for row in rows)
    asked = {(row["unit"], row["target"]): row for row in rows if row["target"] is not None}
    names = {
        key: name.format(dream=dream, adaptive=adaptive, steps=benchmark.BUFFER_STEPS)
        for key, name in ASKED.items()
    }
    assert {key: row["name"] for key, row in asked.items()} == names
    for row in asked.values():
        assert row["reached"] == (
            row["value"] >= row["target"] if row["at_least"] else row["value"] <= row["target"]
        )
    assert {unit for unit, _ in asked if asked[unit, _]["at_least"]} == {"x", "decisions/s"}


def test_without_a_compiler(dream_agents_command, small, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "can_compile", lambda: False)
    output, measured = bench(dream_agents_command, tmp_path / "new" / "bench.json")
    assert_complete(measured, "Dream-MPC")
    assert "at most 190" in output


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="no C++ compiler, or no dream_agents.fast")
def test_compiled(dream_agents_command, small, tmp_path):
    _, measured = bench(dream_agents_command, tmp_path / "bench.json")
    assert_complete(measured, "compiled Dream-MPC")


def test_bulk_evaluation(dream_agents_command, tmp_path, monkeypatch):
    for sizes in (TDMPC_SIZES, BMPC_SIZES):
        monkeypatch.setitem(sizes, "5M", TDMPCSize(16, 16, 16, 2, 2))
    monkeypatch.setattr(batch_benchmark, "ENVIRONMENT", "Pendulum-v1")
    monkeypatch.setattr(batch_benchmark, "N_ENVS", 3)
    result = dream_agents_command("bench", "--bulk", "--repeats", 1, "--json", tmp_path / "bulk.json")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "bulk.json").read_text())["measurements"]
    asked = [row for row in rows if row["target"] is not None]
    assert [(row["name"], row["target"]) for row in asked] == [
        ("3 environments in one batch / one after another, bmpc, 5M", 3)
    ]
    alone, together = [row["value"] for row in rows if row["unit"] == "decisions/s"][:2]
    assert asked[0]["value"] == pytest.approx(together / alone)
    milliseconds = [row["value"] for row in rows if row["unit"] == "ms"]
    assert sum(milliseconds[:2]) == pytest.approx(1e3 / alone)
    assert sum(milliseconds[2:4]) == pytest.approx(3e3 / together)


def test_a_place_that_cannot_be_written_costs_no_measuring(dream_agents_command, tmp_path):
    result = dream_agents_command("bench", "--json", tmp_path)
    assert result.exit_code != 0
    assert "is a folder" in result.output


@pytest.mark.usefixtures("small")
def test_on_a_device(dream_agents_command, tmp_path, monkeypatch):
    monkeypatch.setattr(device_benchmark, "N_ENVS", 3)
    path = tmp_path / "device.json"
    result = dream_agents_command("bench", "--device", "cpu", "--repeats", 1, "--json", path)
    assert result.exit_code == 0, result.output
    rows = json.loads(path.read_text())["measurements"]
    named = {row["name"] for row in rows}
    assert {"dream plan, 5M, 1 environment", "mppi plan, 5M, 3 environments"} <= named
    assert {f"TD-MPC2 update, 5M, batch 256, {name}" for name in ("float32", "bfloat16")} <= named
    bulk = [row for row in rows if row["unit"] == "plans/s"]
    alone = {row["name"]: row["value"] for row in rows if row["unit"] == "ms"}
    assert bulk[0]["value"] == pytest.approx(3e3 / alone["dream plan, 5M, 3 environments"])


def test_launching_is_what_the_device_does_not_compute():
    assert device_benchmark.launching_share(0.010, 0.004) == pytest.approx(60)
    assert device_benchmark.launching_share(0.010, 0.012) == 0


def test_bulk_and_device_are_two_benchmarks(dream_agents_command):
    result = dream_agents_command("bench", "--bulk", "--device", "cpu")
    assert result.exit_code == 2
    assert "give --bulk or --device cpu, not both" in result.output


@needs_export
def test_deploy_measures_a_decision_in_every_way(small, monkeypatch):
    monkeypatch.setattr(deploy_benchmark, "_TURN", 3)
    monkeypatch.setattr(deploy_benchmark, "can_compile", lambda: False)
    rows = deploy_benchmark.run_deploy_benchmark(2, cases=[("1M", 1)], planners=["policy"])
    assert [row.name for row in rows] == ["policy, 1M, 1 thread, eager", "policy, 1M, 1 thread, ONNX Runtime"]
    assert all(0 < row.p50 <= row.p99 <= row.largest for row in rows)


def test_deploy_shows_latencies_with_what_is_asked(dream_agents_command, monkeypatch, tmp_path):
    slow = Latency("dream, 1M", 2000, "decisions/s", 1000, True, 0.5, 4.0, 6.0, 3.0)
    monkeypatch.setattr(deploy_benchmark, "run_deploy_benchmark", lambda *args, **kwargs: [slow])
    path = tmp_path / "deploy.json"
    result = dream_agents_command("bench", "--deploy", "--json", path)
    assert result.exit_code == 0, result.output
    (measured,) = json.loads(path.read_text())["measurements"]
    assert measured["p99"] == 4 and not measured["reached"]  # fast enough, and now and then too late
    for shown in ("0.50", "4.00", "6.00", "at least 1000, 99% in 3 ms"):
        assert shown in " ".join(result.output.split())
    assert dream_agents_command("bench", "--deploy", "--bulk").exit_code != 0
