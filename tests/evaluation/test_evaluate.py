import dataclasses
import sys
from functools import partial
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dream_agents import make_planner
from dream_agents.evaluation import bootstrap_interval, compare, evaluate, make_evaluation_env

TIMINGS = {"ms_per_decision": 0, "latency_ms": 0, "decisions_per_second": 0, "seconds": 0}


def without_timings(result):
    return dataclasses.replace(result, **TIMINGS)


@pytest.mark.parametrize("n_envs", [1, 2, 3, 7, None])
def test_episode_i_starts_from_the_same_state_however_many_run_side_by_side(walk, make_forward, n_envs):
    result = evaluate(make_forward(), walk, episodes=7, n_envs=n_envs)
    one_by_one = evaluate(make_forward(), walk, episodes=7, n_envs=1)
    assert result.returns == one_by_one.returns
    assert result.lengths == one_by_one.lengths
    assert len(set(result.returns)) == result.episodes == 7
    assert result.n_envs == (n_envs or 7)


def test_ready_environment_plays_the_same_episodes_one_by_one(walk, forward):
    env = walk()
    result = evaluate(forward, env, episodes=3)
    assert result.returns == evaluate(forward, walk, episodes=3).returns
    assert evaluate(forward, env, episodes=3).returns == result.returns  # it is still open
    for options in ({"n_envs": 2}, {"vec_env_cls": "subproc"}):
        with pytest.raises(
            ValueError, match="a ready environment can't be copied; give its id or a function"
        ):
            evaluate(forward, env, episodes=3, **options)


@pytest.mark.parametrize("place", ["class", "ready"])
def test_observations_are_normalized_as_they_were_learned_from(walk, make_forward, place):
    learned = VecNormalize(DummyVecEnv([walk]), clip_obs=3.0)
    learned.obs_rms.mean[:], learned.obs_rms.var[:] = (0.5, -4.0), (4.0, 1.0)
    agent, plain = make_forward(), make_forward()
    agent._vec_normalize_env = learned
    seen = []
    predict = agent.predict
    agent.predict = lambda obs, *rest, **options: (seen.append(obs.copy()), predict(obs, *rest, **options))[1]
    result = evaluate(agent, walk if place == "class" else walk(), episodes=2, n_envs=1)
    assert result.returns == evaluate(plain, walk, episodes=2, n_envs=1).returns  # rewards stay
    expected = learned.normalize_obs(np.array([[result.returns[0]] * 2], np.float32))
    np.testing.assert_allclose(seen[0], expected, atol=1e-6)
    assert seen[0][0, 1] == 3  # clipped
    assert (learned.obs_rms.mean == [0.5, -4.0]).all()


def test_more_episodes_begin_with_the_same_ones(walk, forward):
    assert evaluate(forward, walk, episodes=5).returns[:3] == evaluate(forward, walk, episodes=3).returns


def test_another_seed_gives_other_episodes(walk, forward):
    first, second = (evaluate(forward, walk, episodes=5, seed=seed).returns for seed in (0, 1))
    assert not set(first) & set(second)


def test_planners_meet_the_same_episodes(walk, walker):
    results = compare(walker, ["policy", "mppi", "dream"], walk, episodes=5, n_envs=2)
    assert [result.planner for result in results] == ["policy", "mppi", "dream"]
    assert results[0].returns == results[1].returns == results[2].returns
    assert len({result.lengths for result in results}) > 1, "the planners act differently"


@pytest.mark.parametrize("deterministic", [True, False])
def test_evaluation_is_reproducible_and_leaves_the_global_generator_alone(swinger, deterministic):
    before = torch.get_rng_state()
    first = evaluate(swinger, episodes=3, deterministic=deterministic)
    torch.rand(1)
    second = evaluate(swinger, episodes=3, deterministic=deterministic)
    assert without_timings(first) == without_timings(second)
    torch.set_rng_state(before)
    evaluate(swinger, episodes=1, deterministic=deterministic)
    assert torch.equal(torch.get_rng_state(), before)


def test_exploration_noise_changes_what_is_done(swinger):
    quiet, noisy = (evaluate(swinger, episodes=2, deterministic=value) for value in (True, False))
    assert quiet.returns != noisy.returns


def test_planner_is_told_where_episodes_start(walk, forward):
    evaluate(forward, walk, episodes=2, n_envs=1)
    lengths = evaluate(forward, walk, episodes=2, n_envs=1).lengths
    expected = [[True], *[[False]] * (lengths[0] - 1), [True], *[[False]] * (lengths[1] - 1)]
    assert forward.starts[: sum(lengths)] == expected


def test_lengths_and_success(walk, make_forward):
    forward, still = (evaluate(make_forward(action), walk, episodes=6) for action in (1.0, -1.0))
    assert max(forward.lengths) <= 7  # 0.3 a decision from -1 or more
    assert forward.successes == (True,) * 6
    assert forward.success_rate == 1
    assert max(still.lengths) == 12
    assert still.successes == tuple(length < 12 for length in still.lengths)


def test_planner_by_object_name_or_not_at_all(swinger):
    own = swinger.planner
    mine = make_planner("dream", iterations=2)
    result = evaluate(swinger, planner=mine, episodes=1)
    assert (result.planner, result.planner_options["iterations"]) == ("dream", 2)
    assert evaluate(swinger, planner="policy", episodes=1).planner == "policy"
    assert evaluate(swinger, episodes=1).planner_options["iterations"] is None
    assert swinger.planner is own


def test_agent_keeps_its_planner_when_an_evaluation_fails(swinger, monkeypatch):
    own = swinger.planner
    monkeypatch.setattr(swinger.policy, "predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(swinger, planner="mppi", episodes=1)
    assert swinger.planner is own


def test_vec_env_can_be_used_again(walk, forward):
    env = make_evaluation_env(walk, 3)
    first = evaluate(forward, env, episodes=5)
    assert evaluate(forward, env, episodes=5).returns == first.returns
    assert first.returns == evaluate(forward, walk, episodes=5).returns
    env.close()


def test_environments_in_processes_play_the_same_episodes(swinger):
    env = partial(gym.make, "Pendulum-v1", max_episode_steps=8)
    here = evaluate(swinger, env, "policy", episodes=3, n_envs=2)
    there = evaluate(swinger, env, "policy", episodes=3, n_envs=2, vec_env_cls="subproc")
    assert there.returns == here.returns


def test_times_are_those_of_a_decision(walk, make_forward, monkeypatch):
    clock = iter(np.arange(1e6) / 8)  # every look at the clock is 125 ms after the last one
    module = sys.modules["dream_agents.evaluation.evaluate"]
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    alone, together = (evaluate(make_forward(), walk, episodes=4, n_envs=n) for n in (1, 4))
    assert (alone.ms_per_decision, alone.latency_ms) == (125, 125)
    assert (together.ms_per_decision, together.latency_ms) == (125 / 4, 125)


def test_progress_rises_to_one(swinger):
    seen = []
    evaluate(swinger, planner="policy", episodes=3, n_envs=2, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[0] == pytest.approx(2 / 24)
    assert seen[-1] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episodes": 0}, "at least one episode"),
        ({"env": None}, "was not made with an environment's id"),
        ({"env": "tests/ShortPendulum-v0"}, r"observations have shape \(3,\), the model's \(2,\)"),
        ({"planner": "dream"}, "has no world model to plan in"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(walk, forward, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(forward, **{"env": walk, **options})


def test_comparison_needs_planners_that_exist(walk, walker):
    with pytest.raises(ValueError, match='did you mean "policy"'):
        compare(walker, ["polcy"], walk)
    with pytest.raises(ValueError, match="no planner"):
        compare(walker, [], walk)


def test_interval_of_two_values_is_known():
    assert bootstrap_interval([0.0, 1.0]) == (0, 1)  # the mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4
    assert bootstrap_interval([0.0, 1.0], confidence=0.4) == (0.5, 0.5)


def test_interval_is_that_of_scipy():
    values = np.random.default_rng(0).normal(500, 100, 40)
    theirs = bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(bootstrap_interval(values), theirs, atol=2)
    half_width = 1.96 * values.std() / np.sqrt(40)
    np.testing.assert_allclose(
        bootstrap_interval(values), values.mean() + half_width * np.array([-1, 1]), atol=3
    )


def test_one_value_has_no_interval():
    assert bootstrap_interval([3.0]) is None
    assert bootstrap_interval([3.0] * 5) == (3, 3)


def test_named_or_not_the_trained_environment_has_the_options_of_training(swinger):
    swinger.task = dataclasses.replace(swinger.task, env_kwargs={"g": 0.0})
    ways = ({}, {"env": swinger.task.env}, {"env": swinger.task.env, "env_kwargs": {"g": 10.0}})
    returns = [evaluate(swinger, planner="policy", episodes=2, **way).returns for way in ways]
    assert returns[0] == returns[1] != returns[2]
