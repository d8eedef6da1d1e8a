"""Acting: ``predict`` with Stable-Baselines3's state, and the planner behind it."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

from dream_agents import SAC, make_planner
from dream_agents.planners.mppi import MPPIPlanner


def weights(agent):
    return torch.nn.utils.parameters_to_vector(agent.policy.parameters()).detach().clone()


class TestShapes:
    def test_single_observation(self, trained, observations):
        action, state = trained.predict(observations(1)[0], deterministic=True)
        assert action.shape == (1,)
        assert trained.action_space.contains(action)
        batched, _ = trained.predict(observations(1), deterministic=True)
        np.testing.assert_array_equal(batched[0], action)
        action, _ = trained.predict(observations(1)[0], state, deterministic=True)
        assert action.shape == (1,)

    def test_many_environments(self, trained, observations):
        actions, state = trained.predict(observations(5))
        assert actions.shape == (5, 1)
        assert actions.dtype == np.float32
        assert all(isinstance(array, np.ndarray) and len(array) == 5 for array in state)
        starts = np.array([True, False, False, True, False])
        actions, state = trained.predict(observations(5, 1), state, starts)
        assert actions.shape == (5, 1)
        assert np.all(np.abs(actions) <= 2)

    def test_double_precision_observations(self, trained, observations):
        single, _ = trained.predict(observations(2), deterministic=True)
        double, _ = trained.predict(observations(2).astype(np.float64), deterministic=True)
        np.testing.assert_array_equal(single, double)

    def test_wrong_shape(self, trained):
        with pytest.raises(ValueError, match="shape"):
            trained.predict(np.zeros((2, 7), np.float32))


class TestPurity:
    def test_deterministic_predict_is_a_pure_function(self, trained, observations):
        before = weights(trained)
        generators = {name: g.get_state() for name, g in trained.generators.items()}
        first, state = trained.predict(observations(3), deterministic=True)
        arguments = observations(3, 1), state, np.array([False, True, False])
        second = trained.predict(*arguments, deterministic=True)
        torch.manual_seed(1)
        trained.predict(observations(4, 2))
        global_state = torch.get_rng_state()
        again, _ = trained.predict(observations(3), deterministic=True)
        np.testing.assert_array_equal(first, again)
        actions, new_state = trained.predict(*arguments, deterministic=True)
        np.testing.assert_array_equal(actions, second[0])
        for array, same in zip(new_state, second[1], strict=True):
            np.testing.assert_array_equal(array, same)
        assert torch.equal(torch.get_rng_state(), global_state)
        assert torch.equal(weights(trained), before)
        assert all(torch.equal(g.get_state(), generators[name]) for name, g in trained.generators.items())
        assert all(p.grad is None for p in trained.policy.parameters())

    def test_state_is_not_changed(self, trained, observations):
        _, state = trained.predict(observations(2), deterministic=True)
        copies = [array.copy() for array in state]
        trained.predict(observations(2), state)
        for array, copy in zip(state, copies, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_global_seed_decides_exploration(self, trained, observations):
        def explore(seed):
            torch.manual_seed(seed)
            return trained.predict(observations(4))[0]

        np.testing.assert_array_equal(explore(1), explore(1))
        assert not np.array_equal(explore(1), explore(2))

    @pytest.mark.parametrize("training", [True, False])
    def test_training_mode_is_kept_and_dropout_left_out(self, trained, observations, training):
        expected, _ = trained.predict(observations(3), deterministic=True)
        trained.policy.set_training_mode(training)
        for module in trained.world_model.modules():
            if hasattr(module, "dropout"):
                module.dropout = 0.5
        actions, _ = trained.predict(observations(3), deterministic=True)
        np.testing.assert_array_equal(actions, expected)
        assert trained.policy.training == trained.world_model.training == training

    def test_gradients_may_be_off(self, trained, observations):
        expected, _ = trained.predict(observations(3), deterministic=True)
        with torch.no_grad():
            actions, _ = trained.predict(observations(3), deterministic=True)
        np.testing.assert_array_equal(actions, expected)


class TestState:
    def test_plan_is_reused_only_through_the_state(self, trained_dream, observations):
        """With all weight on the previous plan, its second action comes next."""
        trained_dream.planner = make_planner("dream", reuse=1.0, step_size=0.0, candidates=1)
        obs = observations(1)
        _, state = trained_dream.predict(obs, deterministic=True)
        (plan,) = (array for array in state if array.ndim == 4)  # [B, H, N, A]
        assert plan.shape == (1, 3, 1, 1)
        carried, _ = trained_dream.predict(observations(1, 1), state, deterministic=True)
        np.testing.assert_allclose(carried, 2 * plan[:, 1, 0], atol=1e-6)
        afresh, _ = trained_dream.predict(observations(1, 1), deterministic=True)
        assert not np.allclose(afresh, carried, atol=1e-4)

    def test_episode_start_forgets_the_state(self, trained, observations):
        state = None
        for step in range(3):
            _, state = trained.predict(observations(1, step), state, deterministic=True)
        restarted, _ = trained.predict(observations(1, 9), state, np.array([True]), deterministic=True)
        afresh, _ = trained.predict(observations(1, 9), deterministic=True)
        np.testing.assert_array_equal(restarted, afresh)

    def test_episode_start_of_other_environments(self, trained, observations):
        _, state = trained.predict(observations(2), deterministic=True)
        for starts in ([True], np.zeros(3, bool), True):
            with pytest.raises(ValueError, match=r"episode_start has shape .* and there are 2 observations"):
                trained.predict(observations(2), state, starts, deterministic=True)
        alone = observations(1)[0]
        _, state = trained.predict(alone, deterministic=True)
        again = trained.predict(alone, state, True, deterministic=True)[0]
        np.testing.assert_array_equal(again, trained.predict(alone, deterministic=True)[0])

    def test_missing_episode_start_means_that_episodes_go_on(self, trained, observations):
        _, state = trained.predict(observations(2), deterministic=True)
        implied, _ = trained.predict(observations(2, 1), state, deterministic=True)
        told, _ = trained.predict(observations(2, 1), state, np.zeros(2, bool), deterministic=True)
        np.testing.assert_array_equal(implied, told)

    def test_random_numbers_change_from_decision_to_decision(self, trained_dream, observations):
        trained_dream.planner = make_planner("dream", reuse=0.0)
        obs, state, actions = observations(1), None, []
        for _ in range(3):
            action, state = trained_dream.predict(obs, state, deterministic=True)
            actions.append(float(action[0, 0]))
        assert len(set(actions)) == 3

    def test_another_number_of_environments(self, trained, observations):
        _, state = trained.predict(observations(3))
        with pytest.raises(ValueError, match=r"state .* has shape .*state=None"):
            trained.predict(observations(2), state)

    def test_runs_in_evaluate_policy(self, trained):
        from dream_agents import make_vec_env

        envs = make_vec_env("Pendulum-v1", 2, seed=3, max_episode_steps=12)
        once = evaluate_policy(trained, envs, n_eval_episodes=3, return_episode_rewards=True)
        envs.seed(3)
        again = evaluate_policy(trained, envs, n_eval_episodes=3, return_episode_rewards=True)
        assert once == again
        assert once[1] == [12] * 3


class TestPlanner:
    def test_by_name(self, trained, observations):
        trained.planner = "policy"
        actions, _ = trained.predict(observations(4), deterministic=True)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(trained.policy.seed)
            z, _ = trained.world_model.observe(torch.from_numpy(observations(4)), generator=generator)
            expected = trained.world_model.policy(z).mean
        np.testing.assert_allclose(actions, 2 * expected, atol=1e-6)

    def test_by_object(self, trained, observations):
        planner = MPPIPlanner(samples=30, elites=5, iterations=1)
        trained.planner = planner
        assert trained.planner is trained.policy.planner is planner
        asked = []
        planner.score = lambda model, z, actions, *_: asked.append(1) or actions.sum((0, -1))
        trained.predict(observations(1))
        assert len(asked) == 2  # policy roll-outs, and one iteration

    @pytest.mark.parametrize("name", ["policy", "mppi", "dream"])
    def test_every_planner_acts_for_every_agent(self, trained, observations, name):
        trained.planner, state = name, None
        for step in range(3):
            actions, state = trained.predict(observations(2, step), state, deterministic=True)
            assert np.isfinite(actions).all()
            assert np.all(np.abs(actions) <= 2)

    @pytest.mark.parametrize("name", ["policy", "mppi"])
    def test_state_of_another_planner(self, trained_dream, observations, name):
        _, state = trained_dream.predict(observations(2))
        trained_dream.planner = name
        trained_dream.predict(observations(2))
        with pytest.raises(ValueError, match="pass state=None after switching the planner"):
            trained_dream.predict(observations(2), state)

    def test_unknown_name_changes_nothing(self, trained_dream):
        planner = trained_dream.planner
        with pytest.raises(ValueError, match='"mpp" is not a planner; did you mean "mppi"'):
            trained_dream.planner = "mpp"
        assert trained_dream.planner is trained_dream.policy.planner is planner

    def test_switching_while_learning(self, make_dream):
        agent = make_dream().learn(25)
        agent.planner = make_planner("mppi", samples=24, elites=6, policy_samples=4, iterations=1)
        agent.learn(10, reset_num_timesteps=False)
        agent.planner = "policy"
        agent.learn(10, reset_num_timesteps=False)
        assert agent.num_timesteps == 45

    def test_one_planner_learns_and_another_acts(self, make_dream):
        agent = make_dream(
            planner="policy", training_planner="mppi", training_planner_kwargs={"samples": 30, "elites": 5}
        )
        asked = []
        for name, planner in [("predict", agent.planner), ("learn", agent.training_planner)]:
            plan = planner.plan
            planner.plan = lambda *a, name=name, plan=plan, **k: asked.append(name) or plan(*a, **k)
        agent.learn(23)
        assert asked == ["learn"] * 3
        agent.predict(np.zeros((1, 3), np.float32))
        assert asked[-1] == "predict"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_named(make_dream, bad):
    seen = np.array([[0, 1, 0], [0, bad, 0]], np.float32)
    sac = SAC("Pendulum-v1", device="cpu", buffer_size=10, learning_starts=5)
    for model in (make_dream(), sac):
        with pytest.raises(ValueError, match=rf"observation\[1, 1\]={bad} is not finite.*mend what observes"):
            model.predict(seen)
        with pytest.raises(ValueError, match=r"observation\[.*1\]="):
            model.predict(seen[1])
        model.predict(seen[0])
