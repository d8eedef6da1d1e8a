"""What users of Stable-Baselines3 rely on in its off-policy agents, of an agent with a world model and of SAC alike."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dream_agents import SAC
from dream_agents.models.tdmpc import TDMPCSize

UNIT = spaces.Box(-1, 1, (2,), np.float32)


class Echo(gym.Env):
    """Observes samples of a space; the reward is how near the action is to 0.

    :param observation_space: what is observed
    :param action_space: what is done
    """

    def __init__(self, observation_space=UNIT, action_space=UNIT):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self.observation_space.sample(), -float(np.abs(action).sum()), False, False, {}


def echo(*arguments):
    return TimeLimit(Echo(*arguments), 10)


def vec(count, *arguments):
    return DummyVecEnv([lambda: Monitor(echo(*arguments))] * count)


def make_tiny(dream, env, policy="MlpPolicy", **options):
    small = {"model_size": TDMPCSize(8, 8, 8, 2, 2), "planner": "policy", "batch_size": 4, "buffer_size": 200}
    return dream(env, policy=policy, **small | {"learning_starts": 10} | options)


def make_small_sac(dream, env, *policy, **options):
    small = {"learning_starts": 10, "batch_size": 8, "buffer_size": 200, "seed": 0, "device": "cpu"}
    return SAC(env, *policy, **small | options)


@pytest.fixture(params=[make_tiny, make_small_sac], ids=["world model", "SAC"])
def make(request, make_dream):
    """Make an agent with a world model, and one without."""
    return lambda env, *policy, **options: request.param(make_dream, env, *policy, **options)


class TestEnvironments:
    def test_they_are_changed_and_kept(self, make, tmp_path):
        model = make(vec(1), train_freq=4).learn(20)
        model.set_env(vec(1))
        assert model._last_obs is None
        model.learn(20)
        assert model.num_timesteps == 20
        model.set_env(echo())
        model.learn(20)
        with pytest.raises(AssertionError):
            model.set_env(vec(2))
        model.set_env(model.get_env(), force_reset=False)
        assert model._last_obs is not None
        assert model.learn(20, reset_num_timesteps=False).num_timesteps == 40

    def test_a_loaded_agent_goes_on_in_the_middle_of_an_episode(self, make, tmp_path):
        model = make(vec(1)).learn(16)
        env, observed = model.get_env(), model._last_obs
        model.save(tmp_path / "model")
        loaded = type(model).load(tmp_path / "model", env, force_reset=False)
        np.testing.assert_array_equal(loaded._last_obs, observed)
        loaded.learn(6, reset_num_timesteps=False)
        assert loaded.num_timesteps == 22
        assert [episode["l"] for episode in loaded.ep_info_buffer] == [10, 10]

    def test_a_loaded_agent_begins_in_another_one(self, make, tmp_path):
        make(vec(1)).learn(16).save(tmp_path / "model")
        load = type(make(vec(1))).load
        loaded = load(tmp_path / "model", vec(1))
        assert loaded._last_obs is None
        assert loaded.learn(6, reset_num_timesteps=False).num_timesteps == 22
        assert load(tmp_path / "model", vec(3)).learn(15).num_timesteps == 15

    def test_normalizers_take_turns(self, make):
        one, other = VecNormalize(vec(1)), VecNormalize(vec(1), training=False, norm_reward=False)
        model = make(one)
        assert model.get_vec_normalize_env() is one
        model.set_env(other)
        assert model.get_vec_normalize_env() is other
        model.learn(8)
        model.set_env(one)
        model.learn(30)
        assert model.get_vec_normalize_env() is one

    def test_updates_are_as_many_as_transitions(self, make):
        noise = NormalActionNoise(np.zeros(2), 0.1 * np.ones(2))
        model = make(vec(2), learning_starts=0, train_freq=5, gradient_steps=-1, action_noise=noise).learn(10)
        assert model.logger.name_to_value["train/n_updates"] == 10


class TestSpaces:
    @pytest.mark.parametrize(
        "observed",
        [
            spaces.MultiDiscrete([4, 3]),
            spaces.MultiBinary(8),
            spaces.MultiBinary((3, 2)),
            spaces.Box(-1, 1, (2, 3), np.float64),
            spaces.Dict(a=UNIT, b=spaces.Box(-1, 1, (2,), np.float64)),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_what_is_observed_may_be_anything(self, make, observed, dtype):
        env = echo(observed, spaces.Box(-1, 1, (2,), dtype))
        model = make(env, "MultiInputPolicy" if isinstance(observed, spaces.Dict) else "MlpPolicy").learn(14)
        evaluate_policy(model, env, 1, warn=False)
        action, _ = model.predict(env.reset()[0], deterministic=False)
        assert (action.dtype, action.shape) == (dtype, (2,))

    def test_actions_may_have_two_dimensions(self, make):
        env = echo(UNIT, spaces.Box(-1, 1, (2, 2)))
        model = make(env).learn(14)
        assert model.predict(env.reset()[0])[0].shape == (2, 2)

    def test_discrete_actions_are_refused(self, make):
        with pytest.raises(ValueError, match=r"Discrete\(2\), but all agents .* need a floating-point Box"):
            make("CartPole-v1")
        with pytest.raises(AssertionError):  # as of Stable-Baselines3's agents
            make("CartPole-v1")

    def test_subclasses_of_spaces_are_spaces(self, make):
        class MyBox(spaces.Box):
            pass

        env = echo(MyBox(-1, 1, (2,)), MyBox(-1, 1, (2,)))
        assert make(env).learn(14).predict(env.reset()[0])[0].shape == (2,)

    @pytest.mark.parametrize("shape", [(2, 40, 40), (40, 40, 2)])
    def test_its_name_of_a_policy_for_images_is_enough(self, make, shape, tmp_path):
        env = echo(spaces.Box(0, 255, shape, np.uint8), UNIT)
        model = make(env, "CnnPolicy").learn(14)
        assert model.predict(env.reset()[0])[0].shape == (2,)
        model.save(tmp_path / "model")
        assert type(model).load(tmp_path / "model", env).learn(12).num_timesteps == 12


class TestFiles:
    def test_what_is_saved_can_be_chosen(self, make, tmp_path):
        model = make(vec(1), verbose=2)
        load = type(model).load
        model.save(tmp_path / "model", exclude=["verbose"])
        assert load(tmp_path / "model").verbose == 0
        model.save(tmp_path / "model", exclude=["verbose"], include=["verbose"])
        loaded = load(tmp_path / "model", custom_objects={"learning_rate": 2e-5, "nosuch": 1})
        assert (loaded.verbose, loaded.learning_rate) == (2, 2e-5)
        assert not hasattr(loaded, "nosuch")

    def test_replay_travels_apart(self, make, tmp_path):
        model = make(vec(1)).learn(16)
        before = model.replay_buffer
        model.save_replay_buffer(tmp_path / "replay")
        model.replay_buffer = None
        model.load_replay_buffer(tmp_path / "replay")
        assert model.replay_buffer.device == model.device
        for name in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(before, name), getattr(model.replay_buffer, name))
        model.learn(10, reset_num_timesteps=False)

    def test_parameters_are_set_as_a_whole_or_in_part(self, make):
        model, other = make(vec(1)).learn(14), make(vec(1), seed=7)
        parameters = model.get_parameters()
        other.set_parameters(parameters, exact_match=True)
        observed = np.zeros(2, np.float32)
        for one in (model, other):
            one.policy.set_training_mode(False)
        np.testing.assert_allclose(*(one.predict(observed, deterministic=True)[0] for one in (model, other)))
        other.set_parameters({"policy": parameters["policy"]}, exact_match=False)
        with pytest.raises(ValueError, match="nosuch"):
            other.set_parameters(parameters | {"nosuch": {}})
        with pytest.raises(ValueError):
            other.set_parameters({"policy": parameters["policy"]}, exact_match=True)

    def test_a_compiled_policy_is_saved(self, make, tmp_path):
        model = make(vec(1))
        expected, _ = model.predict(np.zeros(2, np.float32), deterministic=True)
        model.policy = torch.compile(model.policy)
        model.save(tmp_path / "model")
        loaded = type(model).load(tmp_path / "model", device="cpu")
        np.testing.assert_allclose(loaded.predict(np.zeros(2, np.float32), deterministic=True)[0], expected)

    @pytest.mark.parametrize("train_freq", [4, (4, "step"), (1, "episode")], ids=str)
    def test_rounds_may_be_counted_in_other_ways_later(self, make, tmp_path, train_freq):
        model = make(vec(1), train_freq=train_freq).learn(20)
        model.save(tmp_path / "model")
        env = model.get_env()
        assert type(model).load(tmp_path / "model", env).learn(20).num_timesteps >= 20
        assert type(model).load(tmp_path / "model", env, train_freq=train_freq).learn(20).num_timesteps >= 20

    @pytest.mark.parametrize("train_freq", ["4", ("1", "episode"), "nonsense", (1, "close")], ids=str)
    def test_rounds_that_are_none_are_refused(self, make, train_freq):
        with pytest.raises(ValueError, match="train_freq"):
            make(vec(1), train_freq=train_freq)


class TestCallbacks:
    @pytest.mark.parametrize(
        "answer", [False, np.bool_(False), torch.tensor(False)], ids=lambda a: type(a).__name__
    )
    def test_any_kind_of_no_stops(self, make, answer):
        class No(BaseCallback):
            def _on_step(self):
                return answer

        callback = No()
        make(vec(1), learning_starts=1, buffer_size=20).learn(10, callback)
        assert callback.n_calls == 1

    def test_all_of_them_together(self, make, tmp_path):
        evaluation = EvalCallback(
            echo(),
            callback_on_new_best=StopTrainingOnRewardThreshold(0, verbose=0),
            callback_after_eval=StopTrainingOnNoModelImprovement(9, min_evals=1),
            best_model_save_path=str(tmp_path),
            log_path=str(tmp_path),
            eval_freq=12,
            n_eval_episodes=1,
            warn=False,
            verbose=0,
        )
        each = EveryNTimesteps(16, CheckpointCallback(1, str(tmp_path), name_prefix="event"))
        others = [
            LogEveryNTimesteps(8),
            StopTrainingOnMaxEpisodes(100),
            CheckpointCallback(20, str(tmp_path)),
        ]
        model = make(echo()).learn(32, [evaluation, each, *others])
        assert model.num_timesteps == 32
        names = {path.name for path in tmp_path.iterdir()}
        assert {"best_model.zip", "evaluations.npz", "event_32_steps.zip", "rl_model_20_steps.zip"} <= names
        type(model).load(tmp_path / "best_model", echo(), device="cpu").learn(12)

    def test_episodes_end_it(self, make):
        assert make(echo()).learn(100, StopTrainingOnMaxEpisodes(2)).num_timesteps == 20


class TestDeterminism:
    def test_a_seed_decides_all(self, make):
        noise = NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))
        found = []
        for _ in range(2):
            model = make("Pendulum-v1", seed=3, train_freq=4, action_noise=noise).learn(24)
            env, actions = model.get_env(), []
            observed = env.reset()
            for _ in range(10):
                action, _ = model.predict(observed, deterministic=False)
                observed, *_ = env.step(action)
                actions.append(np.asarray(action))
            found.append(np.stack(actions))
        np.testing.assert_array_equal(*found)
