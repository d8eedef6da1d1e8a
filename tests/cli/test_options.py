import pytest

from dream_agents.cli.options import agent_keywords, naming_unchecked_options, parse_value, planner_options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1", -1),
        ("1e-3", 1e-3),
        ("true", True),
        ("False", False),
        ("none", None),
        ("bfloat16", "bfloat16"),
        ("(1, 'episode')", (1, "episode")),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_values_get_the_type_that_they_look_like(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_names_lead_into_groups_of_options():
    given = ["learner_kwargs.autocast=bfloat16", "planner_kwargs.samples=128", "batch_size=64", "gamma=none"]
    assert agent_keywords("tdmpc2", given) == {
        "learner_kwargs": {"autocast": "bfloat16"},
        "planner_kwargs": {"samples": 128},
        "batch_size": 64,
        "gamma": None,
    }


class TestNamesWithoutGroup:
    def test_lead_to_the_only_part_that_has_them(self):
        given = ["samples=64", "consistency_coef=2", "value_dropout=0.1", "batch_size=64"]
        assert agent_keywords("tdmpc2", given) == {
            "planner_kwargs": {"samples": 64},
            "learner_kwargs": {"consistency_coef": 2},
            "model_kwargs": {"value_dropout": 0.1},
            "batch_size": 64,
        }

    def test_are_set_for_learner_and_planners_where_all_have_them(self):
        five = {"horizon": 5}
        assert agent_keywords("bmpc", ["horizon=5"]) == {"learner_kwargs": five, "planner_kwargs": five}
        assert agent_keywords("dream_mpc", ["horizon=5"]) == {
            "learner_kwargs": five,
            "planner_kwargs": five,
            "training_planner_kwargs": five,
        }

    def test_follow_the_planners_that_are_chosen(self):
        assert agent_keywords("tdmpc2", ["candidates=3"], planner="dream") == {
            "planner_kwargs": {"candidates": 3}
        }
        assert agent_keywords("dream_mpc", ["temperature=0.4"]) == {
            "training_planner_kwargs": {"temperature": 0.4}
        }
        given = ["uncertainty_coef=0", "backbone=tdmpc2"]
        assert agent_keywords("dream_mpc", given)["planner_kwargs"] == {"uncertainty_coef": 0}

    @pytest.mark.parametrize(
        ("agent", "assignments", "message"),
        [
            ("bmpc", ["horzon=5"], '"horzon" is not an option of the agent "bmpc"; did you mean "horizon"'),
            ("bmpc", ["horizon=5.5"], "--set learner_kwargs.horizon=5.5: horizon is int, not float"),
            (
                "dream_mpc",
                ["step_size=fast"],
                "--set planner_kwargs.step_size=fast: step_size is float, not str",
            ),
            (
                "tdmpc2",
                ["horizon=5", "learner_kwargs.horizon=4"],
                "given twice, also as learner_kwargs.horizon",
            ),
            (
                "dream_mpc",
                ["iterations=2"],
                'ambiguous; write planner_kwargs.iterations (the planner "dream") or '
                'training_planner_kwargs.iterations (the planner "adaptive")',
            ),
            ("sac", ["horizon=5"], '"horizon" is not an option of the agent "sac"'),
            ("sac", ["batch_size=many"], "batch_size is int, not str"),
        ],
    )
    def test_mistakes_are_explained(self, agent, assignments, message):
        with pytest.raises(ValueError) as error:
            agent_keywords(agent, assignments)
        assert message in str(error.value)


def test_planner_options_are_those_of_the_planner_that_acts():
    assert agent_keywords("tdmpc2", ["planner_kwargs.candidates=3"], planner="dream")
    with pytest.raises(ValueError, match='"candidates" is not an option of the planner "mppi"'):
        agent_keywords("tdmpc2", ["planner_kwargs.candidates=3"])
    training = ["training_planner=mppi", "training_planner_kwargs.samples=64"]
    assert agent_keywords("dream_mpc", training)["training_planner_kwargs"] == {"samples": 64}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("batch_size", "write name=value"),
        ("=3", "write name=value"),
        ("batchsize=3", 'did you mean "batch_size"'),
        ("batch_size=many", "batch_size is int, not str"),
        ("batch_size=2.5", "batch_size is int, not float"),
        ("batch_size=true", "batch_size is int, not bool"),
        ("gamma=high", "gamma is float | None, not str"),
        ("learning_starts=1e3", "learning_starts is int | None, not float"),
        ("batch_size.x=3", "batch_size has no options of its own"),
        ("learner_kwargs.horzon=3", 'did you mean "horizon"'),
        ("learner_kwargs.horizon=long", "horizon is int, not str"),
        ("planner_kwargs.samples=many", "samples is int, not str"),
        ("backbone=tdmpc", "backbone"),
        ("seed=3", "use --seed instead"),
        ("_init_setup_model=false", "is not an option"),
    ],
)
def test_mistakes_are_explained(assignment, message):
    with pytest.raises(ValueError) as error:
        agent_keywords(
            "tdmpc2", [assignment, "learner_kwargs.horizon=3"][: 1 + (assignment == "backbone=tdmpc")]
        )
    assert message in str(error.value)


def test_name_given_twice_is_refused():
    with pytest.raises(ValueError, match="given twice"):
        agent_keywords("tdmpc2", ["batch_size=3", "batch_size=4"])


def test_numbers_without_a_point_fit_where_fractions_do():
    assert agent_keywords("tdmpc2", ["gamma=1", "tau=0"]) == {"gamma": 1, "tau": 0}


def test_only_the_options_that_an_error_names_are_blamed():
    given = ["batch_size=4", "env_kwargs.g=3", "model_kwargs.foo=1"]
    message = r"^--set model_kwargs\.foo=1 can't be used: no argument 'foo'$"
    with pytest.raises(ValueError, match=message), naming_unchecked_options(given):
        raise TypeError("no argument 'foo'")
    message = r"^--set env_kwargs\.g=3, --set model_kwargs\.foo=1 can't be used: not a number$"
    with pytest.raises(ValueError, match=message), naming_unchecked_options(given):
        raise AssertionError("not a number")


@pytest.mark.parametrize("error", [TypeError, AssertionError])
def test_mistakes_in_the_code_are_not_blamed_on_options(error):
    with pytest.raises(error), naming_unchecked_options(["batch_size=4", "learner_kwargs.horizon=3"]):
        raise error("a bug")


def test_planners_of_a_comparison_get_their_own_options():
    assert planner_options(["dream.iterations=2", "mppi.samples=64"], ["dream", "mppi", "policy"]) == {
        "dream": {"iterations": 2},
        "mppi": {"samples": 64},
        "policy": {},
    }


def test_option_without_a_planner_is_that_of_every_planner_that_has_it():
    assert planner_options(["horizon=5", "samples=64"], ["dream", "mppi", "policy"]) == {
        "dream": {"horizon": 5},
        "mppi": {"horizon": 5, "samples": 64},
        "policy": {},
    }
    with pytest.raises(ValueError, match=r"mppi\.samples is given twice, also as samples"):
        planner_options(["samples=64", "mppi.samples=32"], ["mppi"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("mppi.samples=2", "mppi is not one of the planners that act here, dream, policy"),
        ("samples=2", '"samples" is not an option of the planners dream, policy'),
        ("iteratons=2", 'did you mean "iterations"'),
        ("iterations=two", "iterations is int | None, not str"),
        ("dream.iteratons=2", 'did you mean "iterations"'),
        ("dream.iterations=two", "iterations is int | None, not str"),
        ("policy.x=1", "is not an option"),
    ],
)
def test_mistakes_in_planner_options_are_explained(assignment, message):
    with pytest.raises(ValueError) as error:
        planner_options([assignment], ["dream", "policy"])
    assert message in str(error.value)
