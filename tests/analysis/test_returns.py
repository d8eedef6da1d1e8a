"""Predicted against obtained returns."""

import itertools

import numpy as np
import pytest
import torch

from dream_agents import SAC, TDMPC2, make_planner
from dream_agents.analysis import (
    PendulumWorldModel,
    compare_returns,
    models_over_training,
    plot_returns,
    returns_over_training,
)
from dream_agents.analysis.playing import ModelActor, PlayedEpisode, play
from dream_agents.analysis.returns import discounted_returns, sums_of_rewards
from dream_agents.evaluation import EvaluationSettings, make_evaluation_env
from dream_agents.runs import CHECKPOINTS, RunSettings, write_settings
from dream_agents.runs.final import save_final

TWO = EvaluationSettings(episodes=2, seed=4)


def test_returns_by_hand():
    """Rewards 1, 2, 4 with a discount of 0.5, and a value of 8 where time is up."""
    episode = PlayedEpisode(rewards=[1.0, 2.0, 4.0], values=[10.0, 20.0, 40.0, 8.0])
    returns = discounted_returns(episode, 0.5, 2)
    assert [r[0] for r in returns] == [1 + 1 + 1 + 1, 2 + 2 + 2, 4 + 4]
    assert [r[1] for r in returns] == [0.125, 0.25, 0.5]
    assert [r[2] for r in returns] == [1 + 1 + 10, 2 + 2 + 2, 4 + 4]
    assert sums_of_rewards(episode, 2) == [(3, 0, 3), (6, 0, 6)]
    assert sums_of_rewards(episode, 4) == []


def test_nothing_follows_where_the_task_has_ended():
    episode = PlayedEpisode(rewards=[1.0, 2.0], values=[10.0, 20.0, 0.0], terminated=True)
    assert discounted_returns(episode, 0.5, 1) == [(2.0, 0.0, 11.0), (2.0, 0.0, 2.0)]


def test_predictions_in_the_true_dynamics_come_true(env_id):
    """Of a policy without noise, whose plan is what is done: nothing but the model's value can be wrong."""
    model = PendulumWorldModel(value=lambda obs: -obs[..., 0])
    planner = make_planner("cem", horizon=3, samples=64, elites=8, iterations=2, exploration_std=0.0)
    env = make_evaluation_env(env_id, 2)
    episodes = play(ModelActor(model, env), planner, env, TWO)
    env.close()
    assert [len(episode.rewards) for episode in episodes] == [12, 12]
    for episode in episodes:
        assert not episode.terminated and len(episode.values) == 13
        states, _ = model.observe(torch.from_numpy(np.stack(episode.observations)))
        np.testing.assert_allclose(episode.values[:-1], model.values(states, None)[0], rtol=1e-5)
        rewards = [sum(episode.rewards[t : t + 3]) for t in range(10)]
        # Plans are made again at every step, so what is done is a little better than what was planned.
        np.testing.assert_allclose(episode.predicted[:10], rewards, rtol=0.1, atol=0.05)


def test_every_decision_has_a_row(short_swinger):
    rows = compare_returns(short_swinger, settings=TWO, model="tiny")
    assert [(row.episode, row.step) for row in rows] == [(e, t) for e in range(2) for t in range(12)]
    first = rows[0]
    assert (first.model, first.seed, first.decisions, first.planner) == ("tiny", 3, 0, "policy")
    assert first.bootstrapped == pytest.approx(short_swinger.world_model.discount**12)
    for earlier, later in itertools.pairwise(rows[:12]):  # G_t = r_t + gamma G_{t+1}
        reward = earlier.actual - short_swinger.world_model.discount * later.actual
        assert -16.3 < reward < 0


def test_a_sum_of_rewards_is_compared_with_one(short_swinger):
    planner = make_planner("cem", samples=16, elites=4, iterations=1)
    rows = compare_returns(short_swinger, planner, settings=TWO)
    assert {row.step for row in rows} == {0}  # 12 decisions, a horizon of 12
    assert all(row.actual == row.over_horizon and row.bootstrapped == 0 for row in rows)


def test_evaluation_sees_the_same_episodes(short_swinger, env_id):
    """Rewards are those of `evaluate` with the same seed, planner and number of environments."""
    from dream_agents.evaluation import evaluate

    rows = compare_returns(short_swinger, settings=TWO)
    discount = short_swinger.world_model.discount
    result = evaluate(short_swinger, settings=TWO)
    for episode, total in enumerate(result.returns):
        actual = [row.actual for row in rows if row.episode == episode]
        rewards = [now - discount * later for now, later in itertools.pairwise(actual)]
        assert -16.3 < total - sum(rewards) < 0  # what is missing is the last reward


@pytest.fixture
def run(tmp_path, env_id):
    """A run with three checkpoints."""
    keywords = {"model_size": "tiny-analysis", "planner": "policy", "learning_starts": 20, "batch_size": 4}
    write_settings(tmp_path / "run", RunSettings(env_id, agent="tdmpc2", decisions=36), keywords)
    model = TDMPC2(env_id, device="cpu", seed=0, **keywords)
    for decisions in (24, 6, 6):
        model.learn(decisions, reset_num_timesteps=False)
        model.save_checkpoint(tmp_path / "run" / CHECKPOINTS, keep=10)
    save_final(model, tmp_path / "run")
    return tmp_path / "run"


def test_models_of_a_run_in_their_order(run, tmp_path):
    assert [agent.num_timesteps for agent in models_over_training(run, "cpu")] == [24, 30, 36]
    rows = returns_over_training(run, settings=TWO, device="cpu", model="run")
    assert {row.decisions for row in rows} == {24, 30, 36}
    assert {row.model for row in rows} == {"run"} and {row.planner for row in rows} == {"policy"}
    plot_returns(rows, tmp_path / "returns.png")
    assert (tmp_path / "returns.png").stat().st_size > 10_000


def test_damaged_checkpoint_is_passed_over(run):
    (run / CHECKPOINTS / "checkpoint_0000000030" / "agent.zip").write_bytes(b"")
    notices = []
    with pytest.warns(UserWarning, match="can't be used"):
        found = [agent.num_timesteps for agent in models_over_training(run, "cpu", notices.append)]
    assert found == [24, 36] and "checkpoint_0000000030" in notices[0]


def test_agents_without_a_world_model_are_refused(env_id):
    with pytest.raises(ValueError, match="SAC has no world model"):
        compare_returns(SAC(env_id, device="cpu"))
    with pytest.raises(ValueError, match="no returns to draw"):
        plot_returns([], "picture.png")
