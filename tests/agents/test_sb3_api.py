"""What Stable-Baselines3 users know works."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from dream_agents import TDMPC2, DreamMPC, make_env, make_vec_env
from dream_agents.agents.policy import WorldModelPolicy


def assert_same_weights(one, other):
    states = one.policy.state_dict(), other.policy.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


class TestConstruction:
    def test_first_argument_is_the_environment(self, make_agent):
        assert make_agent("Pendulum-v1").env.num_envs == 1
        assert make_agent(gym.make("Pendulum-v1")).action_space.high == 2
        assert make_agent(make_vec_env("Pendulum-v1", 3)).n_envs == 3

    @pytest.mark.parametrize("agent_class", [TDMPC2, DreamMPC])
    def test_order_of_stable_baselines3(self, agent_class):
        for arguments in [("MlpPolicy", "Pendulum-v1"), ("MlpPolicy", gym.make("Pendulum-v1"))]:
            agent = agent_class(*arguments, model_size="1M", device="cpu")
            assert isinstance(agent.policy, WorldModelPolicy)
            assert agent.observation_space.shape == (3,)

    @pytest.mark.parametrize("agent_class", [TDMPC2, DreamMPC])
    def test_keywords_of_rl_zoo(self, agent_class, tmp_path):
        hyperparameters = {
            "learning_rate": 1e-3,
            "buffer_size": 500,
            "learning_starts": 5,
            "batch_size": 8,
            "tau": 0.02,
            "gamma": 0.98,
            "train_freq": 2,
            "gradient_steps": 1,
            "model_size": "1M",
        }
        env = DummyVecEnv([lambda: gym.make("Pendulum-v1")])
        agent = agent_class(
            env=env,
            policy="MlpPolicy",
            tensorboard_log=None,
            seed=0,
            verbose=0,
            device="cpu",
            **hyperparameters,
        )
        agent.learn(8)
        assert (agent.gamma, agent.tau, agent.batch_size) == (0.98, 0.02, 8)
        assert agent.world_model.discount == 0.98

    def test_policy_class(self, make_dream):
        assert isinstance(make_dream(policy=WorldModelPolicy).policy, WorldModelPolicy)

    def test_environment_options(self, make_dream):
        agent = make_dream(env_kwargs={"g": 3.5}, n_envs=2)
        assert agent.env.get_attr("g") == [3.5, 3.5]


class TestLearn:
    @pytest.mark.parametrize("env", ["Pendulum-v1", "dmc_cartpole-balance-v0"])
    def test_learns(self, make_agent, env):
        agent = make_agent(env)
        before = agent.world_model.encoder[0].weight.detach().clone()
        assert agent.learn(30) is agent
        assert agent.num_timesteps == 30
        assert not torch.equal(agent.world_model.encoder[0].weight, before)
        action, _ = agent.predict(agent.env.reset())
        assert agent.action_space.contains(action[0])
        assert all(torch.isfinite(p).all() for p in agent.policy.parameters())

    @pytest.mark.parametrize("vec_env_cls", ["dummy", "subproc"])
    def test_several_environments(self, make_agent, vec_env_cls):
        agent = make_agent(n_envs=2, vec_env_cls=vec_env_cls)
        assert isinstance(agent.env, {"dummy": DummyVecEnv, "subproc": SubprocVecEnv}[vec_env_cls])
        agent.learn(40)
        assert agent.num_timesteps == 40
        assert agent.replay_buffer.size() == 40
        mean, _ = evaluate_policy(agent, make_vec_env("Pendulum-v1", max_episode_steps=5), 2)
        assert -100 < mean < 0
        agent.env.close()

    def test_more_learning_goes_on_where_it_was(self, make_dream):
        agent = make_dream().learn(30)
        agent.learn(12, reset_num_timesteps=False)
        assert agent.num_timesteps == 42
        assert agent._n_updates == 42
        assert agent.replay_buffer.size() == 42

    def test_second_call_starts_counting_anew(self, make_dream):
        agent = make_dream().learn(30)
        agent.learn(25)
        assert agent.num_timesteps == 25
        assert agent.replay_buffer.size() == 55

    def test_progress_bar(self, make_dream, capsys):
        make_dream().learn(23, progress_bar=True)
        out, err = capsys.readouterr()
        assert "23/23" in out + err

    def test_callback_may_stop(self, make_dream):
        class Stop(BaseCallback):
            def _on_step(self):
                return self.num_timesteps < 22

        assert make_dream().learn(100, callback=Stop()).num_timesteps == 22

    def test_action_noise(self, make_dream):
        noise = NormalActionNoise(np.zeros(1), 5 * np.ones(1))
        agent = make_dream(action_noise=noise, n_envs=2, gradient_steps=0)
        agent.learn(60)
        stored = agent.replay_buffer.actions[:30]
        assert (np.abs(stored) == 1).mean() > 0.7  # clipped
        assert np.abs(stored).max() == 1

    def test_schedule_of_the_learning_rate(self, make_dream):
        agent = make_dream(learning_rate=lambda remaining: 1e-3 * remaining).learn(40)
        (policy_group,) = agent.learner.optimizers["policy"].param_groups
        assert policy_group["lr"] == pytest.approx(0, abs=1e-4)
        assert policy_group["lr"] != 1e-3

    def test_normalised_observations_and_rewards(self, make_dream):
        envs = VecNormalize(make_vec_env("Pendulum-v1", max_episode_steps=12))
        agent = make_dream(envs).learn(40)
        stored = agent.replay_buffer.observations[:30, 0]
        np.testing.assert_allclose(np.hypot(stored[:, 0], stored[:, 1]), 1, atol=1e-5)  # as they were
        batch = agent.replay_buffer.sample(50, env=envs)
        assert abs(batch.rewards).max() <= 10
        assert batch.rewards.dtype == torch.float32

    def test_memory_efficient_buffer(self, make_dream, tmp_path):
        """Observations are stored once in any case, so the option changes nothing."""
        agent = make_dream(optimize_memory_usage=True).learn(25)
        agent.learn(25)
        assert agent.replay_buffer.size() == 50
        agent.save(tmp_path / "agent")
        loaded = DreamMPC.load(tmp_path / "agent", "Pendulum-v1", device="cpu", optimize_memory_usage=True)
        loaded.learn(25).learn(25)
        assert loaded.replay_buffer.size() == 50

    @pytest.mark.parametrize("learning_starts", [0, 2])
    def test_learning_may_start_at_once(self, make_dream, learning_starts):
        agent = make_dream(learning_starts=learning_starts).learn(12)
        assert agent.num_timesteps == 12
        assert agent._n_updates > 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))])
@pytest.mark.parametrize("decisions", [0, 40])
def test_copies_and_pickles_learn_by_themselves(make_agent, copied, decisions):
    agent = make_agent()
    if decisions:
        agent.learn(decisions)
    other, same = copied(agent), copied(agent)
    assert_same_weights(other, agent)
    other.learn(30, reset_num_timesteps=False)
    assert other.num_timesteps == decisions + 30
    assert_same_weights(same, agent)


class TestSaveAndLoad:
    def test_actions_stay_the_same(self, make_agent, observations, tmp_path):
        agent = make_agent().learn(30)
        agent.save(tmp_path / "agent")
        loaded = type(agent).load(tmp_path / "agent", device="cpu")
        assert_same_weights(agent, loaded)
        state = own_state = None
        for step in range(3):
            own, own_state = agent.predict(observations(2, step), own_state, deterministic=True)
            action, state = loaded.predict(observations(2, step), state, deterministic=True)
            np.testing.assert_array_equal(own, action)

    def test_optimizers_and_scale_are_kept(self, make_dream, tmp_path):
        agent = make_dream(learning_rate=2e-3).learn(30)
        agent.learner.scale.value.fill_(7.5)
        agent.save(tmp_path / "agent")
        loaded = DreamMPC.load(tmp_path / "agent", device="cpu")
        assert loaded.learner.scale.value == 7.5
        for name, optimizer in agent.learner.optimizers.items():
            own, other = optimizer.state_dict(), loaded.learner.optimizers[name].state_dict()
            assert own["param_groups"] == other["param_groups"]
            for index, moments in own["state"].items():
                for key, value in moments.items():
                    assert torch.equal(value, other["state"][index][key])
        assert (loaded.num_timesteps, loaded._n_updates) == (30, 30)

    @pytest.mark.parametrize(
        "env",
        [
            "Pendulum-v1",
            lambda: gym.make("Pendulum-v1"),
            lambda: make_env("Pendulum-v1"),
            lambda: make_vec_env("Pendulum-v1", 2),
        ],
        ids=["id", "gymnasium.Env", "make_env", "VecEnv"],
    )
    def test_learning_goes_on_in_any_environment(self, load, env):
        agent = load(env if isinstance(env, str) else env())
        agent.learn(30)
        assert agent.num_timesteps == 30
        assert agent._n_updates > 40

    def test_learning_goes_on_without_the_replay_buffer(self, load):
        """As for Stable-Baselines3's own agents."""
        agent = load("Pendulum-v1")
        agent.learn(10, reset_num_timesteps=False)
        assert agent.num_timesteps == 50

    def test_other_options(self, load):
        agent = load("Pendulum-v1", learning_rate=0.5, batch_size=4)
        assert (agent.learning_rate, agent.batch_size) == (0.5, 4)

    def test_wrong_environment(self, load):
        with pytest.raises(ValueError, match="spaces do not match"):
            load("dmc_cartpole-balance-v0")

    def test_planner_is_kept(self, trained_dream, observations, tmp_path):
        trained_dream.planner = "policy"
        trained_dream.save(tmp_path / "agent")
        loaded = DreamMPC.load(tmp_path / "agent", device="cpu")
        assert type(loaded.planner).__name__ == "PolicyPlanner"
        assert loaded.policy.planner is loaded.planner

    def test_replay_buffer(self, make_dream, tmp_path):
        agent = make_dream().learn(30)
        agent.save(tmp_path / "agent")
        agent.save_replay_buffer(tmp_path / "replay")
        loaded = DreamMPC.load(tmp_path / "agent", "Pendulum-v1", device="cpu")
        loaded.load_replay_buffer(tmp_path / "replay")
        loaded.learn(10, reset_num_timesteps=False)
        assert loaded.replay_buffer.size() == 40

    def test_parameters(self, make_dream, trained_dream):
        agent = make_dream(seed=5)
        agent.set_parameters(trained_dream.get_parameters())
        assert_same_weights(agent, trained_dream)

    def test_policy_alone(self, trained_dream, observations, tmp_path):
        trained_dream.policy.save(tmp_path / "policy")
        policy = WorldModelPolicy.load(tmp_path / "policy", device="cpu")
        expected, _ = trained_dream.predict(observations(3), deterministic=True)
        np.testing.assert_array_equal(policy.predict(observations(3), deterministic=True)[0], expected)

    def test_learned_targets_travel_along(self, trained):
        online = torch.cat([p.flatten() for p in trained.world_model.value_heads.parameters()])
        target = torch.cat([p.flatten() for p in trained.world_model.target_value_heads.parameters()])
        assert 0 < (online - target).abs().max() < 0.1


class TestSetEnv:
    @pytest.mark.parametrize(
        "env",
        ["Pendulum-v1", lambda: gym.make("Pendulum-v1"), lambda: make_vec_env("Pendulum-v1")],
        ids=["id", "gymnasium.Env", "VecEnv"],
    )
    def test_learning_goes_on_there(self, make_dream, env):
        agent = make_dream().learn(25)
        first = agent.get_env()
        agent.set_env(env if isinstance(env, str) else env())
        assert agent.get_env() is not first
        agent.learn(10, reset_num_timesteps=False)
        assert agent.replay_buffer.size() == 35
        agent.replay_buffer.sample(50)

    def test_episodes_of_two_environments_are_not_joined(self, make_dream, walk):
        agent = make_dream(walk()).learn(25)
        agent.set_env(walk())
        agent.learn(10, reset_num_timesteps=False)
        batch = agent.replay_buffer.sample(400)
        moved = batch.observations[1:, :, 0] - batch.observations[:-1, :, 0]
        torch.testing.assert_close(moved, 0.2 * batch.actions[..., 0], atol=1e-5, rtol=0)

    def test_other_spaces(self, make_dream):
        with pytest.raises(ValueError, match="spaces do not match"):
            make_dream().set_env("dmc_cartpole-balance-v0")

    def test_after_loading_without_one(self, load):
        agent = load()
        assert agent.get_env() is None
        agent.set_env("Pendulum-v1")
        agent.learn(25)
        assert agent.num_timesteps == 25


class TestCallbacks:
    def test_eval_callback(self, make_agent, tmp_path):
        evaluation = make_vec_env("Pendulum-v1", max_episode_steps=6)
        callback = EvalCallback(
            evaluation,
            eval_freq=15,
            n_eval_episodes=2,
            best_model_save_path=tmp_path,
            log_path=tmp_path,
            verbose=0,
        )
        agent = make_agent()
        agent.learn(32, callback=callback)
        results = np.load(tmp_path / "evaluations.npz")
        assert results["timesteps"].tolist() == [15, 30]
        assert results["results"].shape == (2, 2)
        assert np.all(results["results"] < 0)
        type(agent).load(tmp_path / "best_model", device="cpu")

    def test_checkpoint_callback(self, make_agent, tmp_path):
        callback = CheckpointCallback(15, tmp_path, name_prefix="agent", save_replay_buffer=True)
        agent = make_agent()
        agent.learn(31, callback=callback)
        loaded = type(agent).load(tmp_path / "agent_30_steps", "Pendulum-v1", device="cpu")
        loaded.load_replay_buffer(tmp_path / "agent_replay_buffer_30_steps")
        assert loaded.num_timesteps == 30
        assert loaded.replay_buffer.size() == 30  # a step is stored before callbacks
        loaded.learn(5, reset_num_timesteps=False)


class TestActionSpaces:
    @pytest.mark.parametrize(
        ("low", "high"),
        [(-2.0, 2.0), (0.0, 10.0), ([-1.0, 3.0], [0.5, 4.0])],
        ids=["wide", "one-sided", "two"],
    )
    @pytest.mark.parametrize("ready", ["gymnasium.Env", "VecEnv"])
    def test_other_bounds(self, make_agent, walk, low, high, ready):
        """However the environment is given, it gets actions of its own, and so says the agent's action space."""
        env = walk(low=low, high=high)
        agent = make_agent(env if ready == "gymnasium.Env" else DummyVecEnv([lambda: env]), gradient_steps=0)
        agent.learn(60)
        received, size = np.stack(env.unwrapped.actions), np.size(low)
        assert received.shape == (60, size)
        span = np.subtract(high, low)
        assert np.all(received.max(0) > low + 0.8 * span)
        assert np.all(received.min(0) < low + 0.2 * span)
        batch = agent.replay_buffer.sample(200)
        assert batch.actions.abs().max() <= 1
        moved = batch.observations[1:, :, 0] - batch.observations[:-1, :, 0]
        stored = batch.actions[-len(moved) :, :, 0]
        # DreamerV3 draws across the ends of episodes.
        same_episode = 1 - batch.is_first[1:] if hasattr(batch, "is_first") else torch.ones_like(moved)
        torch.testing.assert_close(same_episode * moved, same_episode * 0.2 * stored, atol=1e-5, rtol=0)
        assert agent.action_space == env.action_space
        for deterministic in (True, False):
            action, _ = agent.predict(np.zeros(2, np.float32), deterministic=deterministic)
            assert agent.action_space.contains(action)

    def test_policys_action_is_unscaled(self, make_dream, walk):
        env = walk(low=0.0, high=10.0)
        agent = make_dream(DummyVecEnv([lambda: env]), planner="policy")
        agent.world_model.policy_head[-1].bias.data.fill_(100.0)
        action, _ = agent.predict(np.zeros(2, np.float32), deterministic=True)
        np.testing.assert_allclose(action, [10.0])

    def test_actions_of_more_than_one_dimension(self, make_dream, walk):
        env = walk(low=-np.ones((2, 2)), high=np.ones((2, 2)))
        agent = make_dream(DummyVecEnv([lambda: env])).learn(30)
        assert agent.predict(np.zeros((4, 2), np.float32))[0].shape == (4, 2, 2)
        assert agent.world_model.action_dim == 4
