import dataclasses

import pytest

from dream_agents.evaluation import EvaluationSettings, compare, evaluate
from dream_agents.evaluation.settings import EvaluationKeywords

WAYS = {
    "evaluate": lambda model, env, **keywords: evaluate(model, env, **keywords),
    "compare": lambda model, env, **keywords: compare(model, {"policy": None}, env, **keywords)[0],
}


def test_keywords_are_the_fields():
    fields = [field.name for field in dataclasses.fields(EvaluationSettings)]
    assert list(EvaluationKeywords.__annotations__) == fields


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_settings_mean_what_their_keywords_mean(way, walk, forward):
    keywords = {"episodes": 3, "seed": 2, "n_envs": 2}
    result = way(forward, walk, settings=EvaluationSettings(**keywords))
    assert (result.episodes, result.seed, result.n_envs) == (3, 2, 2)
    assert result.returns == way(forward, walk, **keywords).returns


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_keywords_come_before_settings(way, walk, forward):
    settings = EvaluationSettings(episodes=3, seed=2)
    result = way(forward, walk, settings=settings, seed=5)
    assert (result.episodes, result.seed) == (3, 5)
    assert settings.seed == 2


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"episodes": 0}, ValueError, "episodes=0: at least one episode is needed"),
        ({"n_envs": 0}, ValueError, "n_envs=0: at least one environment is needed"),
        ({"episode": 3}, TypeError, "unexpected keyword argument 'episode'"),
        ({"vec_env_cls": "thread"}, ValueError, "vec_env_cls='thread' is not supported"),
    ],
)
def test_mistakes_are_named(way, walk, forward, keywords, error, message):
    with pytest.raises(error, match=message):
        way(forward, walk, **keywords)


def test_as_many_environments_as_episodes_ten_at_most():
    counts = {(1, None): 1, (7, None): 7, (30, None): 10, (30, 16): 16, (4, 16): 4}
    for (episodes, n_envs), expected in counts.items():
        assert EvaluationSettings(episodes=episodes, n_envs=n_envs).side_by_side == expected
