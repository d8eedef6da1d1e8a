"""Results that are written as they come, and comparisons that go on from them."""

import csv
import dataclasses
import json

import pytest
import torch

from dream_agents import make_planner
from dream_agents.evaluation import EvaluationRecord, EvaluationResult, compare, evaluate


class StopError(Exception):
    pass


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "results.json"


def stop_after(record, writes):
    """A record that is interrupted after so many writes."""
    keep, count = record.keep, iter(range(writes - 1))

    def keep_and_stop(result):
        keep(result)
        if next(count, None) is None:
            raise StopError

    record.keep = keep_and_stop
    return record


@pytest.mark.parametrize("n_envs", [1, 2, 3])
def test_episodes_that_follow_start_from_the_states_that_they_would_have_started_from(
    walk, walker, path, n_envs
):
    expected = compare(walker, ["mppi"], walk, episodes=7)[0].returns  # the start decides the Walk's return
    with pytest.raises(StopError):
        compare(
            walker, ["mppi"], walk, episodes=7, n_envs=n_envs, record=stop_after(EvaluationRecord(path), 2)
        )
    begun = EvaluationRecord(path).results[0]
    assert 1 < begun.episodes < 7
    assert begun.returns == expected[: begun.episodes]
    (result,) = compare(walker, ["mppi"], walk, episodes=7, n_envs=2, record=EvaluationRecord(path))
    assert result.returns == expected
    assert result.lengths[: begun.episodes] == begun.lengths
    assert result.successes is not None and len(result.successes) == 7


def test_first_episode_is_a_number_like_any_other(walk, forward):
    whole = evaluate(forward, walk, episodes=6)
    part = evaluate(forward, walk, episodes=3, first_episode=3, n_envs=2)
    assert part.returns == whole.returns[3:]
    assert part.lengths == whole.lengths[3:]


def test_added_episodes_do_not_meet_the_noise_of_the_first_ones_again(swinger):
    first, second = (
        evaluate(swinger, episodes=1, deterministic=False, first_episode=i, planner="policy") for i in (0, 1)
    )
    again = evaluate(swinger, episodes=1, deterministic=False, first_episode=1, planner="policy")
    assert second.returns == again.returns != first.returns


def test_finished_episodes_are_told_in_order_as_they_come(walk, forward):
    seen = []
    result = evaluate(forward, walk, episodes=6, n_envs=3, finished=seen.append)
    counts = [one.episodes for one in seen]
    assert counts == sorted(set(counts)) and counts[-1] == 6 and len(counts) > 1
    assert all(one.returns == result.returns[: one.episodes] for one in seen)


def test_rows_are_added_for_other_planners_options_and_models(swinger, path):
    record = EvaluationRecord(path, path.with_suffix(".csv"))
    compare(swinger, ["policy", "dream"], episodes=2, record=record, name="a")
    compare(swinger, {"dream": make_planner("dream", candidates=2)}, episodes=1, record=record, name="a")
    compare(swinger, ["policy"], episodes=1, record=record, name="b")
    read = EvaluationRecord(path).results
    assert [(one.model, one.planner, one.episodes) for one in read] == [
        ("a", "policy", 2),
        ("a", "dream", 2),
        ("a", "dream", 1),
        ("b", "policy", 1),
    ]
    with path.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["return"]) for row in rows] == [value for one in read for value in one.returns]
    assert [row["episode"] for row in rows] == ["0", "1", "0", "1", "0", "0"]
    assert [json.loads(row["options"]).get("candidates") for row in rows] == [None, None, 5, 5, 2, None]
    assert (rows[0]["seed"], rows[0]["deterministic"], rows[0]["success"]) == ("0", "True", "")


def test_other_weights_under_the_same_name_are_refused(swinger, path):
    compare(swinger, ["policy"], episodes=1, record=EvaluationRecord(path), name="mine")
    with torch.no_grad():
        next(swinger.policy.parameters()).add_(1)
    with pytest.raises(ValueError, match='holds results of "mine" with policy for the weights'):
        compare(swinger, ["policy"], episodes=1, record=EvaluationRecord(path), name="mine")


def test_results_come_back_as_they_were(swinger, walk, walker):
    for model, env in ((swinger, None), (walker, walk)):
        result = evaluate(model, env, episodes=2)
        again = EvaluationResult.from_dict(json.loads(json.dumps(result.to_dict())))
        assert again.to_dict() == result.to_dict()
        assert (again.returns, again.successes) == (result.returns, result.successes)


@pytest.mark.parametrize("content", ["", "[]", '{"results": [{"planner": "dream"}]}'])
def test_files_with_something_else_are_left_alone(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="does not hold results that can be continued"):
        EvaluationRecord(path)
    assert path.read_text() == content


def test_interrupted_write_leaves_whole_files(swinger, path, monkeypatch):
    record = EvaluationRecord(path, path.with_suffix(".csv"))
    compare(swinger, ["policy"], episodes=1, record=record)
    before = path.read_text(), path.with_suffix(".csv").read_text()
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare(swinger, ["policy"], episodes=2, record=record)
    assert (path.read_text(), path.with_suffix(".csv").read_text()) == before


def test_returns_that_are_not_finite_are_named(swinger, path):
    (result,) = compare(swinger, ["policy"], episodes=2)
    result = dataclasses.replace(result, returns=(1.0, float("nan")))
    with pytest.raises(ValueError, match=r"episode 1 of .* returned nan.*mend the environment's rewards"):
        EvaluationRecord(path).keep(result)
