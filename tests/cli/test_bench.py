import json
import platform

import pytest

from dream_agents.evaluation.benchmark import Measurement

LONG = "drawing 256 sub-sequences of 1,000,000 steps, share of a bfloat16 update"


@pytest.fixture
def measured(monkeypatch):
    """Repeats of each time that something was measured, which takes no time here."""
    calls = []
    rows = [Measurement(LONG, 0.5, "matrix products", 1, at_least=False), Measurement("plan", 2.0, "ms")]

    def run_benchmark(repeats, progress):
        calls.append(repeats)
        return rows

    monkeypatch.setattr("dream_agents.evaluation.benchmark.run_benchmark", run_benchmark)
    return calls


def test_rows_of_the_table_are_not_broken_in_a_pipe(measured, dream_agents_command):
    result = dream_agents_command("bench", "--repeats", 3)
    assert result.exit_code == 0, result.output
    assert measured == [3]
    (row,) = [line for line in result.stdout.splitlines() if LONG in line]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        LONG,
        "0.5",
        "matrix products",
        "at most 1",
        "yes",
    ]


def test_figures_go_into_a_file_whose_folder_is_made(measured, dream_agents_command, tmp_path):
    out = tmp_path / "missing" / "folder" / "bench.json"
    result = dream_agents_command("bench", "--json", out)
    assert result.exit_code == 0, result.output
    assert str(out) in result.stderr and str(out) not in result.stdout
    written = json.loads(out.read_text())
    assert [row["name"] for row in written["measurements"]] == [LONG, "plan"]
    assert written["machine"]["python"] == platform.python_version()
    assert {"dream-agents", "torch"} <= written["machine"]["versions"].keys()
    assert [path.name for path in out.parent.iterdir()] == ["bench.json"]


def test_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    measured, dream_agents_command, tmp_path
):
    (tmp_path / "file").touch()
    result = dream_agents_command("bench", "--json", tmp_path / "file" / "bench.json")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1
    assert measured == []
