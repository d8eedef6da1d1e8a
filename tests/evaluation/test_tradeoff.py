"""The picture of what planners return against what they take."""

import pytest

from dream_agents.evaluation import EvaluationResult, plot_tradeoff


def result(model, planner, latency, returns, **changed):
    return EvaluationResult(
        planner=planner,
        planner_options=changed,
        changed_options=changed,
        env="dmc_walker-walk-v0",
        seed=0,
        returns=tuple(returns),
        lengths=(500,) * len(returns),
        successes=None,
        n_envs=1,
        ms_per_decision=latency,
        latency_ms=latency,
        decisions_per_second=1.0,
        seconds=1.0,
        deterministic=True,
        device="cpu",
        hardware="a processor",
        threads=1,
        model=model,
    )


@pytest.fixture
def results():
    """Four models, one more than a row of panels holds, with two planners each; the last has an episode only."""
    found = [
        result(model, planner, latency, (900.0 + i, 950.0, 970.0))
        for i, model in enumerate("abc")
        for planner, latency in (("policy", 0.3), ("dream", 4.0))
    ]
    return [*found, result("d", "mppi", 60.0, (800.0,), samples=128)]


def test_a_panel_a_model_and_a_marker_a_planner(results, tmp_path):
    out = tmp_path / "pictures" / "tradeoff.svg"
    plot_tradeoff(results, out)
    drawn = out.read_text()
    for text in ("policy", "dream", "mppi (samples=128)", "milliseconds a decision", "mean return"):
        assert f"<!-- {text} -->" in drawn
    assert all(f"<!-- {model} -->" in drawn for model in "abcd")


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="no result to draw"):
        plot_tradeoff([], tmp_path / "empty.png")
