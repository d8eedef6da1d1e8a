"""SAC is Stable-Baselines3's, with environments by id, presets and checkpoints."""

import itertools
import json
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from dream_agents import SAC, DreamMPC, make_vec_env
from dream_agents.agents.checkpoint import CheckpointCallback
from dream_agents.agents.task import TrainingTask
from dream_agents.evaluation import compare, evaluate

POINT = "Pendulum-v1"
#: what SAC("Pendulum-v1", env_kwargs={"g": 3.0}, n_envs=2) of version 0.1 saved as its task
TASK_OF_0_1 = (
    "gAWVlgAAAAAAAACMF2RyZWFtX2FnZW50cy5hZ2VudHMuc2FjlIwJUGxhaW5UYXNrlJOUKYGUfZQojANlbnaUjAtQZW5kdWx1bS12MZSMCG9i"
    "c190eXBllIwFc3RhdGWUjAplbnZfa3dhcmdzlH2UjAFnlEdACAAAAAAAAHOMBm5fZW52c5RLAowLdmVjX2Vudl9jbHOUjAVkdW1teZR1Yi4="
)
SMALL = {"learning_starts": 20, "batch_size": 16, "buffer_size": 500, "policy_kwargs": {"net_arch": [16]}}


def make(env=POINT, **options):
    return SAC(env, **{"seed": 0, "device": "cpu"} | SMALL | options)


def same_weights(one, other):
    pairs = zip(one.policy.state_dict().values(), other.policy.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("made_by", ["gymnasium", "dream_agents"])
def test_numbers_are_those_of_stable_baselines3(made_by):
    """Over the end of an episode; Gymnasium's environment acts in [-2, 2], that of ``make_vec_env`` in [-1, 1]."""
    env = POINT if made_by == "gymnasium" else make_vec_env(POINT)
    theirs = stable_baselines3.SAC("MlpPolicy", env, seed=3, batch_size=16, device="cpu").learn(240)
    ours = SAC(POINT, seed=3, batch_size=16, device="cpu").learn(240)
    assert same_weights(ours, theirs)
    assert torch.equal(ours.log_ent_coef, theirs.log_ent_coef)
    returns = [[episode["r"] for episode in model.ep_info_buffer] for model in (ours, theirs)]
    assert len(returns[0]) == 1
    assert returns[0] == returns[1]
    obs = np.zeros((1, 3), np.float32)
    np.testing.assert_array_equal(ours.predict(obs, deterministic=True)[0], _torque(theirs, obs))


def _torque(model, obs):
    return model.predict(obs, deterministic=True)[0] * (2 / model.action_space.high)


def test_defaults_are_those_of_stable_baselines3():
    ours, theirs = SAC(POINT), stable_baselines3.SAC("MlpPolicy", POINT)
    for name in ("learning_rate", "batch_size", "tau", "gamma", "learning_starts", "ent_coef", "buffer_size"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.train_freq, ours.gradient_steps) == (theirs.train_freq, theirs.gradient_steps)
    assert ours.target_update_interval == theirs.target_update_interval
    assert ours.policy_kwargs == theirs.policy_kwargs
    assert type(ours.policy) is type(theirs.policy)


class TestPaperPreset:
    def test_is_the_papers(self):
        model = SAC("dmc_cartpole-balance-v0", preset="paper", buffer_size=1000)
        assert (model.learning_rate, model.batch_size, model.tau) == (1e-4, 1024, 0.005)
        assert torch.exp(model.log_ent_coef).item() == pytest.approx(0.1)
        assert (model.train_freq.frequency, model.gradient_steps) == (1, 1), "an update each decision"
        assert model.learning_starts == 5000
        widths = [layer.out_features for layer in model.actor.latent_pi if isinstance(layer, torch.nn.Linear)]
        assert widths == [1024, 1024]

    def test_targets_move_at_every_second_update(self):
        model = make(preset="paper", tau=1.0, learning_starts=10)
        moves, update = [], model.critic.optimizer.step

        def step(*args):
            moves.append([target.clone() for target in model.critic_target.parameters()])
            return update(*args)

        model.critic.optimizer.step = step
        model.learn(30)
        assert len(moves) >= 18
        moved = [
            any(not torch.equal(a, b) for a, b in zip(*pair, strict=True))
            for pair in itertools.pairwise(moves)
        ]
        assert moved == [i % 2 == 0 for i in range(len(moved))]

    def test_keywords_stand_above_it(self):
        model = SAC(POINT, preset="paper", batch_size=8, buffer_size=99, policy_kwargs={"n_critics": 3})
        assert (model.batch_size, model.learning_rate) == (8, 1e-4)
        assert model.policy.net_arch == [1024, 1024]
        assert len(model.critic.q_networks) == 3
        assert SAC(POINT, preset="paper", learning_starts=7, buffer_size=99).learning_starts == 7

    def test_unknown_one_gives_the_nearest(self):
        with pytest.raises(ValueError, match='"papr" is not a preset of SAC; did you mean "paper"'):
            SAC(POINT, preset="papr")


class TestEnvironments:
    def test_policy_may_come_first_as_in_stable_baselines3(self):
        assert isinstance(SAC("MlpPolicy", POINT, buffer_size=99).env, VecEnv)
        assert SAC(policy="MlpPolicy", env=gym.make(POINT), buffer_size=99).task.env is None

    def test_several_side_by_side(self):
        model = make(n_envs=3).learn(60)
        assert model.n_envs == 3
        assert model.num_timesteps == 60

    def test_options_of_the_environment(self):
        assert make(env_kwargs={"g": 3.0}).env.get_attr("g") == [3.0]

    def test_discrete_actions_are_refused(self):
        with pytest.raises(ValueError, match="continuous actions"):
            SAC("CartPole-v1")

    def test_another_one_with_the_same_spaces(self):
        model = make(env_kwargs={"g": 3.0})
        model.set_env(POINT)
        assert model.env.get_attr("g") == [3.0], "the same id keeps its options"
        model.set_env(gym.make(POINT))
        assert model.env.get_attr("g") == [10.0]
        model.learn(30)

    def test_frames_are_decisions_times_action_repeat(self):
        model = make("dmc_cartpole-balance-v0").learn(30)
        assert model.env_frames == 60


class TestSaving:
    def test_loaded_agent_acts_the_same_and_learns_on(self, tmp_path):
        model = make(env_kwargs={"g": 4.0}, preset="paper").learn(60)
        model.save(tmp_path / "model")
        obs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
        loaded = SAC.load(tmp_path / "model", POINT, device="cpu")
        assert loaded.env.get_attr("g") == [4.0]
        assert loaded.preset == "paper"
        for model_without_env in (loaded, SAC.load(tmp_path / "model", device="cpu")):
            np.testing.assert_array_equal(
                model_without_env.predict(obs, deterministic=True)[0],
                model.predict(obs, deterministic=True)[0],
            )
        loaded.learn(40, reset_num_timesteps=False)
        assert loaded.num_timesteps == 100

    def test_files_of_other_agents_are_refused(self, tmp_path):
        DreamMPC(POINT, model_size="1M", buffer_size=99).save(tmp_path / "dream")
        stable_baselines3.SAC("MlpPolicy", POINT, buffer_size=99).save(tmp_path / "sb3")
        with pytest.raises(ValueError, match="saved by DreamMPC, not by SAC"):
            SAC.load(tmp_path / "dream")
        with pytest.raises(ValueError, match="not written by save"):
            SAC.load(tmp_path / "sb3")

    def test_files_of_version_0_1_load(self, tmp_path):
        model = make()
        model.save(tmp_path / "new")
        with zipfile.ZipFile(tmp_path / "new.zip") as new, zipfile.ZipFile(tmp_path / "old.zip", "w") as old:
            for name in new.namelist():
                content = new.read(name)
                if name == "data":
                    content = json.dumps(
                        json.loads(content) | {"task": {":type:": "", ":serialized:": TASK_OF_0_1}}
                    )
                old.writestr(name, content)
        loaded = SAC.load(tmp_path / "old", POINT, device="cpu")
        assert loaded.task == TrainingTask(
            POINT, env_kwargs={"g": 3.0}, n_envs=2, seeds_episodes=False, normalized=True
        )
        assert loaded.env.get_attr("g") == [3.0, 3.0]
        assert not loaded.env.has_attr("episode_seeding_state"), "episodes go on in one random stream"
        assert same_weights(loaded, model)

    @pytest.mark.parametrize("options", [{}, {"n_steps": 3}, {"buffer_size": 40}], ids=str)
    def test_checkpoint_holds_all_but_the_environment(self, tmp_path, options):
        model = make(**options).learn(60)
        model.save_checkpoint(tmp_path)
        drawn = torch.rand(())
        batch = model.replay_buffer.sample(20)
        resumed = SAC.load_checkpoint(tmp_path, device="cpu")
        assert torch.rand(()) == drawn
        for field, value in resumed.replay_buffer.sample(20)._asdict().items():
            if value is not None:
                assert torch.equal(value, getattr(batch, field)), field
        assert same_weights(resumed, model)
        assert resumed.log_ent_coef.item() == model.log_ent_coef.item()
        for name in ("actor", "critic"):
            state, expected = (getattr(m, name).optimizer.state_dict()["state"] for m in (resumed, model))
            assert torch.equal(state[0]["exp_avg"], expected[0]["exp_avg"])
        resumed.learn(30, reset_num_timesteps=False)
        assert resumed.num_timesteps == 90

    def test_resumed_episodes_start_elsewhere(self, tmp_path):
        model = make().learn(30)
        model.save_checkpoint(tmp_path)
        one, again = (SAC.load_checkpoint(tmp_path, device="cpu").env.reset() for _ in range(2))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, make().env.reset())

    def test_replay_of_another_size_is_refused(self, tmp_path):
        make(buffer_size=40).learn(60).save_checkpoint(tmp_path)
        with pytest.raises(ValueError, match="continue with the buffer_size"):
            SAC.load_checkpoint(tmp_path, device="cpu", buffer_size=30)

    def test_checkpoints_wait_for_the_end_of_an_episode(self, tmp_path):
        make(train_freq=20).learn(420, CheckpointCallback(tmp_path, save_freq=150))
        assert sorted(path.name for path in tmp_path.glob("checkpoint_*")) == [
            "checkpoint_0000000200",
            "checkpoint_0000000400",
        ]


class TestEvaluation:
    def test_by_this_package_and_by_stable_baselines3(self):
        model = make()
        result = evaluate(model, episodes=2)
        assert result.planner == "policy"
        assert len(result.returns) == 2
        (row,) = compare(model, {"policy": None}, episodes=2)
        assert row.returns == result.returns
        assert np.isfinite(evaluate_policy(model, model.get_env(), 1)[0])

    def test_there_is_no_planner(self):
        with pytest.raises(ValueError, match="SAC has no world model to plan in"):
            evaluate(make(), planner="dream", episodes=1)
