"""A planner's name means the agent's own planner where it has that name, whichever function is asked."""

import pytest

from dream_agents import make_planner, registry
from dream_agents.evaluation import compare, evaluate
from dream_agents.evaluation.planners import acting_with, planner_for, planner_name
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.mppi import MPPIPlanner


@pytest.fixture
def dreamer(swinger):
    """An agent whose own planner has options of its own."""
    swinger.planner = DreamPlanner(candidates=2, iterations=3)
    return swinger


def test_own_name_means_the_own_planner(dreamer):
    own = dreamer.planner
    assert evaluate(dreamer, planner="dream", episodes=1).planner_options["candidates"] == 2
    policy, dream = compare(dreamer, ["policy", "dream"], episodes=1)
    assert (policy.planner_options, dream.planner_options["candidates"]) == ({}, 2)
    with acting_with(dreamer, "dream"):
        assert dreamer.planner is own
    assert dreamer.planner is own


def test_other_names_mean_planners_with_their_defaults(dreamer):
    assert planner_for(dreamer, "mppi") == MPPIPlanner()
    assert planner_for(dreamer, "mppi", samples=100) == MPPIPlanner(samples=100)


def test_planner_is_taken_as_it_is(dreamer):
    mine = DreamPlanner()
    assert planner_for(dreamer, mine) is mine
    assert compare(dreamer, {"mine": mine}, episodes=1)[0].planner_options["candidates"] == 5


def test_options_change_the_own_planner_in_a_copy(dreamer):
    assert planner_for(dreamer, "dream", iterations=1) == DreamPlanner(candidates=2, iterations=1)
    assert dreamer.planner == DreamPlanner(candidates=2, iterations=3)
    with pytest.raises(ValueError, match="its options are horizon, candidates"):
        planner_for(dreamer, "dream", candidate=1)


@pytest.mark.parametrize(
    ("planner", "label"),
    [
        (None, "dream"),
        ("dream", "dream"),
        ("policy", "policy"),
        (DreamPlanner(candidates=2, iterations=3), "dream"),
        (DreamPlanner(candidates=2), "dream (iterations=None)"),
        (DreamPlanner(), "dream (candidates=5, iterations=None)"),
        (make_planner("policy"), "policy"),
        (
            MPPIPlanner(samples=20, policy_samples=2, elites=4),
            "mppi (samples=20, policy_samples=2, elites=4)",
        ),
    ],
)
def test_result_tells_what_the_name_alone_does_not(dreamer, planner, label):
    result = evaluate(dreamer, planner=planner, episodes=1, n_envs=1)
    assert result.planner_label == label
    assert result.to_dict()["changed_options"].items() <= result.planner_options.items()


def test_planner_of_another_package_has_the_name_that_it_is_registered_under(dreamer, monkeypatch):
    class Shooting(DreamPlanner):
        pass

    monkeypatch.setitem(registry.planners._registered, "shooting-star", Shooting)
    assert planner_name(Shooting()) == "shooting-star"
    dreamer.planner = Shooting()
    assert evaluate(dreamer, episodes=1).planner == "shooting-star"
    assert planner_for(dreamer, "shooting-star") is dreamer.planner
