import io
import json

import pytest
from rich.console import Console

from dream_agents.evaluation import compare, evaluate, results_table, write_json, write_results


def text_of(table) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_table_shows_return_interval_and_times(swinger):
    results = compare(swinger, ["policy", "dream"], episodes=3, seed=5)
    text = text_of(results_table(results))
    assert "tests/ShortPendulum-v0: 3 episodes, seed 5" in text
    for result in results:
        (row,) = [line for line in text.splitlines() if f"│ {result.planner} " in line]
        low, high = result.interval
        assert f"{result.mean:.1f}" in row
        assert f"{low:.1f} to {high:.1f}" in row
        assert f"{result.latency_ms:.2f}" in row
        assert f"{result.ms_per_decision:.2f}" in row
    assert "3 at once" in text
    assert "success" not in text


def test_table_shows_success_where_there_is_one(walk, make_forward):
    text = text_of(results_table([evaluate(make_forward(), walk, episodes=2, n_envs=1)]))
    assert "success" in text
    assert "100%" in text
    assert "at once" not in text


def test_json_holds_every_episode(swinger, tmp_path):
    results = compare(swinger, ["policy", "dream"], episodes=2, seed=5)
    write_results(tmp_path / "new" / "results.json", results, model="mine")
    read = json.loads((tmp_path / "new" / "results.json").read_text())
    assert read["model"] == "mine"
    assert "torch" in read["versions"]
    for entry, result in zip(read["results"], results, strict=True):
        assert entry == result.to_dict()
        assert entry["returns"] == list(result.returns)
        assert entry["mean"] == pytest.approx(sum(result.returns) / 2)
        assert entry["interval_95"] == [min(result.returns), max(result.returns)]
        assert entry["env"] == "tests/ShortPendulum-v0"
        assert (entry["seed"], entry["episodes"], entry["lengths"]) == (5, 2, [8, 8])
    assert read["results"][1]["planner_options"]["candidates"] == 5


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"mean": 1})
    with pytest.raises(ValueError):
        write_json(path, {"mean": float("nan")})
    assert json.loads(path.read_text()) == {"mean": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]
