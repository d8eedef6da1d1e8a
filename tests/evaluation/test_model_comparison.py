"""Several models with the same settings, from Python."""

import pytest

from dream_agents import make_planner
from dream_agents.evaluation import EvaluationRecord, EvaluationSettings, ModelComparison, evaluate
from dream_agents.runs import load_model

SETTINGS = EvaluationSettings(episodes=2, seed=4)


@pytest.fixture
def saved(swinger, tmp_path):
    """Names of two saved models that act differently."""
    swinger.planner = "policy"
    swinger.save(tmp_path / "first.zip")
    for parameter in swinger.policy.parameters():
        parameter.data.mul_(-1.5)
    swinger.save(tmp_path / "second.zip")
    return [str(tmp_path / "first.zip"), str(tmp_path / "second.zip")]


def test_every_model_plays_the_same_episodes_with_its_own_planner(saved):
    comparison, seen = ModelComparison(SETTINGS), []
    results = comparison.evaluate(comparison.check(saved), lambda *progress: seen.append(progress))
    assert [(one.model, one.planner, one.seed) for one in results] == [(name, "policy", 4) for name in saved]
    for one in results:
        assert one.returns == evaluate(load_model(one.model, device="cpu"), settings=SETTINGS).returns
        assert (one.model, "policy", 1.0) in seen
    assert results[0].returns != results[1].returns


def test_planners_are_chosen_for_each_model(saved):
    few = {"few": make_planner("dream", candidates=2)}
    comparison = ModelComparison(SETTINGS, planners=lambda model: {"policy": None, **few})
    results = comparison.evaluate(comparison.check(saved[:1]))
    assert [one.planner for one in results] == ["policy", "few"]
    assert results[1].planner_options["candidates"] == 2


def test_mistake_in_the_last_model_is_found_before_anything_is_measured(saved):
    with pytest.raises(ValueError, match='"no-such-model" is not a zoo entry'):
        ModelComparison(SETTINGS).check([*saved, "no-such-model"])
    with pytest.raises(ValueError, match=r"observations have shape \(2,\), the model's \(3,\)"):
        ModelComparison(SETTINGS, env="MountainCarContinuous-v0").check(saved)


def test_record_with_another_seed_is_refused_before_anything_is_measured(saved, tmp_path):
    path = tmp_path / "results.json"
    comparison = ModelComparison(SETTINGS, record=EvaluationRecord(path))
    comparison.evaluate(comparison.check(saved[:1]))
    with pytest.raises(ValueError, match="for --seed 4, not 5"):
        ModelComparison(SETTINGS.but(seed=5), record=EvaluationRecord(path)).check(saved)


def test_one_model_is_loaded_once_and_several_when_it_is_their_turn(saved):
    loaded = []

    def load(source, env):
        loaded.append(source)
        return load_model(source, env, device="cpu")

    comparison = ModelComparison(SETTINGS, load=load)
    comparison.evaluate(comparison.check(saved[:1] * 2))
    assert loaded == saved[:1]
    comparison.evaluate(comparison.check(saved))
    assert loaded[1:] == saved * 2


@pytest.mark.parametrize(
    ("in_processes", "pays", "expected"),
    [(None, True, "subproc"), (None, False, "dummy"), (False, True, "dummy"), (True, False, "subproc")],
)
def test_processes_are_used_where_they_pay_or_when_asked_for(
    saved, monkeypatch, in_processes, pays, expected
):
    monkeypatch.setattr("dream_agents.evaluation.model_comparison.processes_pay", lambda *_: pays)
    told = []
    comparison = ModelComparison(SETTINGS, in_processes=in_processes, notice=told.append)
    assert [one.settings.vec_env_cls for one in comparison.check(saved[:1])] == [expected]
    assert [text.partition(":")[2] for text in told] == (
        [" 2 of them are stepped in 2 processes"] if in_processes is None and pays else []
    )
