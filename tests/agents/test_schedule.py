"""When random actions end, and how many updates a decision gets."""

import itertools

import numpy as np
import pytest

from dream_agents.agents.task import discount_from_episode_length
from dream_agents.planners.dream import DreamPlanner


class Recording(DreamPlanner):
    """Keeps where episodes started."""

    def __post_init__(self):
        super().__post_init__()
        self.starts = []

    def plan(self, model, z, memory, episode_start, *args, **kwargs):
        self.starts.append(episode_start.tolist())
        return super().plan(model, z, memory, episode_start, *args, **kwargs)


@pytest.fixture
def counted(make_dream):
    """Learn, counting updates by decision without doing them, and planned decisions."""

    def learn(decisions, **kwargs):
        agent = make_dream(**{"planner": "policy", **kwargs})
        updates, planned = {}, []

        def update(batch):
            updates[agent.num_timesteps] = updates.get(agent.num_timesteps, 0) + 1
            return {}

        plan = agent.planner.plan
        agent.learner.update = update
        agent.planner.plan = lambda *a, **k: planned.append(agent.num_timesteps) or plan(*a, **k)
        agent.learn(decisions)
        assert agent._n_updates == sum(updates.values())
        return updates, planned, agent

    return learn


class TestUpdates:
    def test_one_a_decision_after_making_up_for_the_random_ones(self, counted):
        updates, _, _ = counted(30)
        assert updates == {21: 21, **dict.fromkeys(range(22, 31), 1)}

    def test_train_freq(self, counted):
        updates, _, _ = counted(36, train_freq=4)
        assert updates == {24: 24, 28: 4, 32: 4, 36: 4}

    def test_gradient_steps(self, counted):
        updates, _, _ = counted(25, gradient_steps=3)
        assert updates == {21: 3 * 20 + 3, 22: 3, 23: 3, 24: 3, 25: 3}

    def test_no_gradient_steps(self, counted):
        updates, _, _ = counted(30, gradient_steps=0)
        assert updates == {}

    def test_as_many_updates_as_decisions_of_all_environments(self, counted):
        updates, _, _ = counted(40, n_envs=4)
        assert updates == {24: 24, 28: 4, 32: 4, 36: 4, 40: 4}

    def test_whole_episodes(self, counted, walk):
        updates, _, agent = counted(70, env=walk(steps=5), train_freq=(2, "episode"))
        rounds = list(updates)
        assert len(rounds) > 2
        assert updates[rounds[0]] == 20 + min(rounds[0], 10)
        for before, now in itertools.pairwise(rounds):
            assert updates[now] == now - before  # one a decision, whatever the episodes' lengths
        assert agent.num_timesteps == rounds[-1]

    def test_random_decisions_are_made_up_for_only_once(self, counted):
        updates, _, agent = counted(25)
        updates.clear()
        agent.learn(25)  # counts decisions from 0, with random ones first
        assert updates == dict.fromkeys(range(21, 26), 1)


class TestSeedPhase:
    def test_planner_is_not_asked_before(self, counted):
        _, planned, agent = counted(30)
        assert planned == list(range(20, 30))
        stored = agent.replay_buffer.actions[:20, 0, 0]
        assert stored.min() < -0.5 < 0.5 < stored.max()

    def test_planning_starts_without_a_previous_plan(self, make_dream):
        """The first plan is not mixed with one that was never made, even in the middle of an episode."""
        planner = Recording(reuse=1.0)
        make_dream(planner=planner).learn(23)
        assert planner.starts == [[True], [False], [False]]

    def test_plan_is_reset_with_each_episode(self, make_dream, walk):
        planner = Recording()
        agent = make_dream(walk(steps=4), n_envs=1, planner=planner).learn(40)
        ends = np.flatnonzero(
            agent.replay_buffer.episode_ids[1:, 0] != agent.replay_buffer.episode_ids[:-1, 0]
        )
        episodes = len(set(agent.replay_buffer.episode_ids[: agent.replay_buffer.size(), 0]))
        assert len(ends) > 3
        assert 2 < sum(start for (start,) in planner.starts) <= episodes

    @pytest.mark.parametrize(
        ("env", "learning_starts", "gamma"),
        [("Pendulum-v1", 1000, 0.975), ("dmc_cartpole-balance-v0", 2500, 0.99)],
    )
    def test_defaults_follow_from_the_episodes_length(self, make_dream, env, learning_starts, gamma):
        agent = make_dream(env, learning_starts=None)
        assert agent.learning_starts == learning_starts
        assert agent.gamma == agent.world_model.discount == pytest.approx(gamma)

    @pytest.mark.parametrize(
        ("decisions", "expected"),
        [(500, 0.99), (100, 0.95), (1000, 0.995), (10, 0.95), (250, 0.98), (None, 0.99)],
    )
    def test_discount(self, decisions, expected):
        assert discount_from_episode_length(decisions) == pytest.approx(expected)

    def test_given_values_win(self, make_dream):
        agent = make_dream(gamma=0.7, learning_starts=33)
        assert (agent.gamma, agent.world_model.discount, agent.learning_starts) == (0.7, 0.7, 33)
