"""Agents that observe images."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from dream_agents import DreamMPC, make_vec_env, zoo
from dream_agents.models.pixels import PixelEncoder

TINY = {"model_kwargs": {"num_channels": 8}, "buffer_size": 500, "batch_size": 8}


class Light(gym.Env):
    """A light of 8 x 8 pixels that moves along the middle of a dark image by 8 * action; observes two frames.

    The reward is its place, 0 to 1 from left to right.
    """

    metadata = {"render_modes": [], "frame_stack": 2, "episodic": False}  # noqa: RUF012

    observation_space = Box(0, 255, (2, 48, 48), np.uint8)
    action_space = Box(-1, 1, (1,), np.float32)

    def frame(self):
        image = np.zeros((48, 48), np.uint8)
        image[20:28, round(self.place) : round(self.place) + 8] = 255
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(0, 40)
        self.last = self.frame()
        return np.stack((self.last, self.last)), {}

    def step(self, action):
        self.place = float(np.clip(self.place + 8 * action[0], 0, 40))
        before, self.last = self.last, self.frame()
        return np.stack((before, self.last)), self.place / 40, False, False, {}


def make_light():
    return gym.wrappers.TimeLimit(Light(), 20)


@pytest.fixture
def make_agent(make_dream):
    def make(**kwargs):
        return make_dream(make_light(), **{"obs_type": "pixels", **TINY, **kwargs})

    return make


def test_the_buffer_stores_each_frame_once(make_agent):
    model = make_agent().learn(60)
    assert model.replay_buffer.frame_stack == 2
    assert model.replay_buffer.observations.shape == (500, 1, 1, 48, 48)
    batch = model.replay_buffer.sample(4)
    assert batch.observations.shape == (4, 4, 2, 48, 48) and batch.observations.dtype == torch.uint8
    assert torch.equal(batch.observations[1:, :, 0], batch.observations[:-1, :, 1])


def test_saved_and_loaded_it_acts_the_same(make_agent, tmp_path):
    model = make_agent().learn(40)
    model.save(tmp_path / "light")
    loaded = DreamMPC.load(tmp_path / "light", env=make_light(), device="cpu")
    assert isinstance(loaded.world_model.encoder, PixelEncoder)
    obs = model.get_env().reset()
    np.testing.assert_array_equal(
        loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0]
    )
    loaded.learn(30)
    assert loaded.replay_buffer.frame_stack == 2


def test_a_zoo_entry_keeps_the_networks_of_images(make_agent, tmp_path):
    model = make_agent().learn(30)
    card = zoo.save(model, tmp_path / "light", environment="Pendulum-v1", command="none")
    assert (card.obs_type, card.network.obs_shape) == ("pixels", (2, 48, 48))
    loaded = zoo.load(tmp_path / "light", env=make_light(), device="cpu")
    obs = np.random.default_rng(0).integers(0, 256, (3, 2, 48, 48), dtype=np.uint8)
    with torch.no_grad():
        z, expected = (agent.world_model.encode(torch.as_tensor(obs)) for agent in (loaded, model))
    torch.testing.assert_close(z, expected, atol=1e-3, rtol=0)  # stored in half precision


def test_images_are_shifted_while_learning_only(make_agent, monkeypatch):
    model = make_agent(learner_kwargs={"random_shift": 2}).learn(40)
    batch = model.replay_buffer.sample(8)
    seen = []
    encode = model.world_model.encode
    monkeypatch.setattr(model.world_model, "encode", lambda obs: seen.append(obs) or encode(obs))
    model.learner.update(batch)
    observed = batch.observations
    assert not any(torch.equal(obs, part) for obs in seen for part in (observed[0], observed[1:]))
    seen.clear()
    obs = observed[0].numpy()
    model.predict(obs, deterministic=True)
    model.predict(obs, deterministic=True)
    assert torch.equal(*(model.world_model.encode(torch.as_tensor(obs)) for _ in range(2)))


def test_channels_may_come_last_as_everywhere_in_sb3(make_dream):
    """Stable-Baselines3 puts them first."""

    class Last(Light):
        metadata = {"render_modes": [], "episodic": False}  # noqa: RUF012
        observation_space = Box(0, 255, (48, 48, 2), np.uint8)

        def reset(self, **kwargs):
            return super().reset(**kwargs)[0].transpose(1, 2, 0), {}

        def step(self, action):
            observation, *rest = super().step(action)
            return observation.transpose(1, 2, 0), *rest

    model = make_dream(gym.wrappers.TimeLimit(Last(), 20), obs_type="pixels", **TINY)
    assert model.observation_space.shape == (2, 48, 48)
    model.learn(30)


def test_a_ready_vec_env_of_images(make_dream):
    env = make_vec_env(make_light, 2, obs_type="pixels")
    model = make_dream(env, policy="CnnPolicy", obs_type="pixels", **TINY).learn(40)
    actions, _ = model.predict(env.reset(), deterministic=True)
    assert actions.shape == (2, 1)


@pytest.mark.slow
def test_learns_where_the_light_is(make_dream):
    """From images alone: random actions return 10 of 20 on average."""
    model = make_dream(
        make_light(),
        obs_type="pixels",
        model_size="1M",
        **TINY | {"buffer_size": 3000, "batch_size": 32, "learning_starts": 300},
    ).learn(900)
    env, returns = make_light(), []
    for seed in range(10):
        (obs, _), state, total, truncated = env.reset(seed=seed), None, 0.0, False
        while not truncated:
            action, state = model.predict(obs, state, deterministic=True)
            obs, reward, _, truncated, _ = env.step(action)
            total += reward
        returns.append(total)
    assert np.mean(returns) > 16, returns
