"""A planner's name means the agent's own planner where it has that name, whichever function is asked."""

import dataclasses

import pytest

from dream_agents import SAC, DreamerV3, make_planner, registry
from dream_agents.evaluation import compare, evaluate
from dream_agents.evaluation.planners import acting_with, changed_options, planner_for, planner_name
from dream_agents.models.dreamer import DreamerSize
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
    assert policy.planner_options == {"exploration_std": 0.0}
    assert dream.planner_options["candidates"] == 2
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


@pytest.fixture
def latent_dreamer(short_pendulum):
    """DreamerV3, whose backbone has options for Dream-MPC's planner."""
    size = DreamerSize(16, 16, 4, 4, 16, 2)
    return DreamerV3(short_pendulum, model_size=size, buffer_size=100, seed=3, device="cpu")


def test_name_of_a_new_planner_means_what_the_backbone_wants(latent_dreamer):
    wanted = latent_dreamer.make_planner("dream")
    assert wanted.horizon == 15
    assert planner_for(latent_dreamer, "dream") == wanted
    assert planner_for(latent_dreamer, "dream", horizon=2) == dataclasses.replace(wanted, horizon=2)
    policy, dream = compare(latent_dreamer, ["policy", "dream"], episodes=1, n_envs=1)
    assert (policy.planner, dream.planner_options["horizon"]) == ("policy", 15)
    assert (dream.changed_options, dream.planner_label) == ({}, "dream")
    with acting_with(latent_dreamer, "dream"):
        assert latent_dreamer.planner == wanted
    assert planner_name(latent_dreamer.planner) == "policy"


def test_result_tells_what_the_backbone_does_not_want(latent_dreamer):
    short = latent_dreamer.make_planner("dream", horizon=2)
    assert evaluate(latent_dreamer, planner=short, episodes=1, n_envs=1).changed_options == {"horizon": 2}
    plain = evaluate(latent_dreamer, planner=DreamPlanner(horizon=2), episodes=1, n_envs=1)
    assert plain.changed_options.keys() >= {
        "horizon",
        "proposal_noise",
        "return_lambda",
        "uncertainty_coef",
    }


def test_agent_without_a_world_model_has_no_planners(short_pendulum):
    agent = SAC(short_pendulum, buffer_size=100, device="cpu")
    for ask in (planner_for, changed_options):
        with pytest.raises(ValueError, match="SAC has no world model to plan in"):
            ask(agent, DreamPlanner())


def test_planner_of_another_package_has_the_name_that_it_is_registered_under(dreamer, monkeypatch):
    class Shooting(DreamPlanner):
        pass

    monkeypatch.setitem(registry.planners._registered, "shooting-star", Shooting)
    assert planner_name(Shooting()) == "shooting-star"
    dreamer.planner = Shooting()
    assert evaluate(dreamer, episodes=1).planner == "shooting-star"
    assert planner_for(dreamer, "shooting-star") is dreamer.planner
