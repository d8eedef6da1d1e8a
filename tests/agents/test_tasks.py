"""Tasks that end, and tasks that these agents cannot do."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv


class TestEpisodicTasks:
    def test_tasks_that_end_have_a_termination_head_that_learns(self, make_agent, walk):
        agent = make_agent(walk(), learning_starts=60)
        assert agent.world_model.episodic
        before = agent.world_model.termination_head[-1].bias.detach().clone()
        agent.learn(200)
        assert agent.replay_buffer.terminated.sum() > 0
        assert not torch.equal(agent.world_model.termination_head[-1].bias, before)

    def test_endless_tasks_have_none(self, make_agent):
        agent = make_agent("dmc_cartpole-balance-v0")
        assert not agent.world_model.episodic
        assert agent.world_model.termination_head is None

    def test_environments_may_say_that_they_do_not_end(self, make_dream, walk):
        assert make_dream(walk(metadata={"episodic": False})).world_model.termination_head is None

    @pytest.mark.parametrize("episodic", [True, False])
    def test_the_user_decides(self, make_dream, episodic):
        agent = make_dream(episodic=episodic)
        assert agent.world_model.episodic == episodic
        assert (agent.world_model.termination_head is not None) == episodic

    @pytest.mark.parametrize("n_envs", [1, 3])
    def test_what_is_learned_from_is_what_happened(self, make_dream, walk, n_envs):
        """Every step of every sub-sequence follows the environment's dynamics, those that end the task too."""
        envs = DummyVecEnv([lambda: walk(steps=15) for _ in range(n_envs)])
        agent = make_dream(envs, learning_starts=1000).learn(120 * n_envs)  # at random
        batch = agent.replay_buffer.sample(800)
        position, episode = batch.observations.unbind(-1)
        torch.testing.assert_close(
            position[1:] - position[:-1], 0.2 * batch.actions[..., 0], atol=1e-5, rtol=0
        )
        assert torch.all(episode == episode[0])
        assert torch.equal(batch.terminated.bool(), position[1:].abs() > 0.7)
        assert batch.terminated.sum() > 0
        assert torch.all(batch.rewards == 1)

    def test_time_limits_are_no_ends(self, make_dream, walk):
        agent = make_dream(walk(steps=3)).learn(60)
        batch = agent.replay_buffer.sample(300)
        assert torch.equal(batch.terminated.bool(), batch.observations[1:, :, 0].abs() > 0.7)

    @pytest.mark.slow
    def test_agents_learn_to_stay_alive(self, make_agent, walk):
        options = {"learning_starts": 400, "learning_rate": 1e-3, "tau": 0.05, "gamma": 0.9, "batch_size": 64}
        agent = make_agent(walk(steps=40, numbered=False), **options).learn(1500)
        env = walk(steps=40, numbered=False)
        for seed in range(5):
            obs, _ = env.reset(seed=seed)
            state, start, truncated = None, np.array([True]), False
            while not truncated:
                action, state = agent.predict(obs, state, start, deterministic=True)
                obs, _, terminated, truncated, _ = env.step(action)
                start = np.array([False])
                assert not terminated


class Discrete(gym.Env):
    observation_space, action_space = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)


class Dictionary(gym.Env):
    observation_space = spaces.Dict({"a": spaces.Box(-1, 1, (3,)), "b": spaces.Box(-1, 1, (2,))})
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


class Images(gym.Env):
    observation_space = spaces.Box(0, 255, (9, 64, 64), np.uint8)
    action_space = spaces.Box(-1, 1, (1,))


class TestErrors:
    @pytest.mark.parametrize(
        "wrap", [lambda env: env, lambda env: DummyVecEnv([lambda: env])], ids=["Env", "VecEnv"]
    )
    def test_discrete_actions(self, make_agent, wrap):
        with pytest.raises(ValueError, match=r"Discrete\(2\).*continuous actions"):
            make_agent(wrap(Discrete()))

    @pytest.mark.parametrize("wrap", [lambda env: env, lambda env: DummyVecEnv([lambda: env])])
    def test_dictionaries_are_vectors_to_the_world_model(self, make_dream, wrap):
        agent = make_dream(wrap(Dictionary())).learn(25)
        assert agent.observation_space == Dictionary.observation_space
        assert agent.replay_buffer.observations.shape[2:] == (5,)
        observation = Dictionary.observation_space.sample()
        action, _ = agent.predict(observation, deterministic=True)
        flat = np.concatenate([observation["a"], observation["b"]])
        np.testing.assert_array_equal(agent.predict(flat, deterministic=True)[0], action)
        many = {name: np.stack([value] * 3) for name, value in observation.items()}
        assert agent.predict(many)[0].shape == (3, 1)

    def test_images_of_a_vec_env(self, make_dream):
        with pytest.raises(
            ValueError, match=r'(?s)obs_type="state" .* observes images.*pass obs_type="pixels"'
        ):
            make_dream(DummyVecEnv([Images]), obs_type="state")

    def test_numbers_of_a_vec_env(self, make_dream, walk):
        with pytest.raises(
            ValueError, match=r'obs_type="pixels" .* observes no images.*pass obs_type="state"'
        ):
            make_dream(DummyVecEnv([walk]), obs_type="pixels")

    def test_unknown_environment(self, make_dream):
        with pytest.raises(ValueError, match='did you mean "dmc_cartpole-balance-v0"'):
            make_dream("dmc_cartpole-balence-v0")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"model_size": "6M"}, '"6M" is not a size; choose one of 1M, 5M'),
            ({"backbone": "tdmpc"}, '"tdmpc" is not a backbone; did you mean "tdmpc2"'),
            ({"planner": "drem"}, '"drem" is not a planner; did you mean "dream"'),
            ({"planner_kwargs": {"step_sise": 1}}, "step_sise.*its options are horizon, candidates"),
            ({"planner_kwargs": {"candidates": 0}}, "candidates must be above 0"),
            ({"planner": "policy", "training_planner_kwargs": {"horizon": 2}}, "without a training_planner"),
            ({"learner_kwargs": {"horizn": 5}}, "has no horizn; its options are horizon"),
            ({"learner_kwargs": {"autocast": "float16"}}, "autocast='float16'"),
            ({"n_steps": 3}, "n_steps=3"),
            ({"batch_size": 0}, "batch_size=0 must be above 0"),
            ({"learning_rate": -1.0}, r"learning_rate=-1\.0 must be above 0"),
            ({"train_freq": (0, "step")}, "train_freq=0 must be above 0"),
            ({"tau": 7}, "tau=7 must be from 0 to 1"),
            ({"learning_starts": -5}, "learning_starts=-5 must be at least 0"),
            ({"obs_type": "pixel"}, "obs_type='pixel' is not supported"),
            ({"replay_buffer_class": ReplayBuffer}, "must be a SequenceReplayBuffer"),
            ({"buffer_size": 4}, "buffer_size=4 over 1 environments leaves 4 slots each"),
            ({"vec_env_cls": "thread"}, "vec_env_cls='thread' is not supported"),
            ({"policy": "LstmPolicy"}, "Policy LstmPolicy unknown"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_senseless_options(self, make_dream, options, message):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            make_dream(**options)


def test_longer_sub_sequences_can_be_learned_from(make_dream):
    agent = make_dream(learner_kwargs={"horizon": 5}, planner_kwargs={"horizon": 2}).learn(25)
    assert agent.replay_buffer.sample(3).rewards.shape == (5, 3)
    assert np.isfinite(agent.predict(np.zeros((1, 3), np.float32))[0]).all()


@pytest.mark.gpu
def test_learns_on_cuda(make_agent, tmp_path):
    agent = make_agent(device="cuda", n_envs=2).learn(40)
    assert agent.world_model.encoder[0].weight.is_cuda
    agent.save(tmp_path / "agent")
    loaded = type(agent).load(tmp_path / "agent", device="cpu")
    obs = np.zeros((2, 3), np.float32)
    for one, other in zip(
        agent.policy.state_dict().values(), loaded.policy.state_dict().values(), strict=True
    ):
        assert torch.equal(one.cpu(), other)
    assert agent.predict(obs)[0].shape == loaded.predict(obs)[0].shape == (2, 1)
