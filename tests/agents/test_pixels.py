"""Agents that observe images."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize, VecTransposeImage

from dream_agents import SAC, SACAE, TDMPC2, DreamerV3, DreamMPC, make_vec_env, zoo
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


@pytest.mark.parametrize(
    "form",
    [lambda: make_light(), lambda: make_light, lambda: DummyVecEnv([make_light]), lambda: "Light-v0"],
    ids=["gymnasium.Env", "function", "VecEnv", "id"],
)
def test_an_image_alone_is_learned_from_as_one_without_asking(make_dream, tmp_path, form):
    gym.register("Light-v0", make_light)
    try:
        model = make_dream(form(), **TINY)
        assert model.obs_type == "pixels"
        assert isinstance(model.world_model.encoder, PixelEncoder)
        model.save(tmp_path / "light")
        assert DreamMPC.load(tmp_path / "light", env=form(), device="cpu").task.obs_type == "pixels"
    finally:
        gym.registry.pop("Light-v0")


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


class Camera(gym.Env):
    """Observes images that are as bright as the action was, in any dtype, range and order.

    :param space: of the images
    """

    action_space = Box(0, 1, (1,))

    def __init__(self, space):
        self.observation_space = space

    def image(self, brightness):
        space = self.observation_space
        return np.full(space.shape, brightness * space.high.max(), space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.image(0.5), {}

    def step(self, action):
        return self.image(float(action[0])), 0.0, False, False, {}


FIRST, LAST = Box(0, 255, (3, 48, 48), np.uint8), Box(0, 255, (48, 48, 3), np.uint8)


def transposed(envs):
    return envs if envs.observation_space == FIRST else VecTransposeImage(envs)


FORMS = {
    "gymnasium.Env": lambda make: make(),
    "VecEnv": lambda make: DummyVecEnv([make]),
    "VecFrameStack": lambda make: VecFrameStack(DummyVecEnv([make]), 2),
    "VecNormalize": lambda make: VecNormalize(transposed(DummyVecEnv([make])), norm_obs=False),
    "make_vec_env": lambda make: make_vec_env(make, obs_type="pixels"),
}


class TestAnyImages:
    @pytest.mark.parametrize("form", FORMS)
    def test_channels_may_be_first_or_last(self, make_dream, form):
        latents, actions = [], []
        for space in (FIRST, LAST):
            env = FORMS[form](lambda space=space: gym.wrappers.TimeLimit(Camera(space), 10))
            model = make_dream(env, obs_type="pixels", **TINY).learn(30)
            given = model.env.reset()
            assert given.dtype == np.uint8
            latents.append(model.world_model.observe(model.policy.observations_to_tensor(given))[0])
            actions.append(model.predict(given, deterministic=True)[0])
            last = np.moveaxis(given, 1, -1)
            np.testing.assert_array_equal(model.predict(last, deterministic=True)[0], actions[-1])
        torch.testing.assert_close(*latents)
        np.testing.assert_array_equal(*actions)

    @pytest.mark.parametrize(
        "space", [FIRST, LAST, Box(0, 255, (3, 64, 64), np.uint8)], ids=["first", "last", "64"]
    )
    def test_black_and_white_are_not_the_same(self, make_dream, space):
        model = make_dream(Camera(space), obs_type="pixels", **TINY)
        obs = model.policy.observations_to_tensor(np.stack([Camera(space).image(b) for b in (0.0, 1.0)]))
        z, _ = model.world_model.observe(obs)
        assert (z[0] - z[1]).abs().max() > 1e-3

    @pytest.mark.parametrize(
        ("space", "named"),
        [
            (Box(0, 1, (3, 48, 48), np.float32), r"float32 from 0 to 1"),
            (Box(0, 255, (48, 48, 3), np.float64), r"float64 from 0 to 255"),
            (Box(0, 1, (3, 48, 48), np.uint8), r"uint8 from 0 to 1"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("agent", [TDMPC2, DreamerV3, SAC, SACAE])
    @pytest.mark.parametrize("wrap", [lambda env: env, lambda env: DummyVecEnv([lambda: env])])
    def test_other_images_are_refused(self, space, named, agent, wrap):
        with pytest.raises(ValueError, match=f"images of dtype {named}"):
            agent(wrap(Camera(space)), obs_type="pixels", device="cpu")

    @pytest.mark.parametrize("agent", [TDMPC2, SAC, SACAE])
    def test_normalized_images_are_refused(self, agent):
        env = VecNormalize(DummyVecEnv([lambda: Camera(FIRST)]))
        with pytest.raises(ValueError, match="dtype uint8 from 0 to 255"):
            agent(env, obs_type="pixels", device="cpu")

    @pytest.mark.parametrize("agent", [TDMPC2, SACAE])
    def test_channels_that_come_last_within_vec_normalize_are_refused(self, agent):
        env = VecNormalize(DummyVecEnv([lambda: Camera(LAST)]), norm_obs=False)
        with pytest.raises(ValueError, match=r"dtype uint8 from 0 to 255 .*VecTransposeImage\(envs\)"):
            agent(env, obs_type="pixels", device="cpu")

    def test_other_images_are_refused_by_predict(self, make_dream):
        model = make_dream(Camera(FIRST), obs_type="pixels", **TINY)
        with pytest.raises(ValueError, match=r"float32 from 0\.5 to 0\.5 .* uint8 from 0 to 255"):
            model.predict(np.full(FIRST.shape, 0.5, np.float32))

    @pytest.mark.parametrize("space", [FIRST, Box(0, 1, (48, 48, 3), np.float32)], ids=["uint8", "float"])
    def test_vectors_of_images_are_told(self, make_dream, space):
        both = gym.spaces.Dict({"camera": space, "joints": Box(-1, 1, (2,))})
        with pytest.warns(
            UserWarning, match=r'observes images \("camera"\); each becomes a vector of 6912 numbers'
        ):
            model = make_dream(Camera(both), obs_type="state", buffer_size=100)
        assert model.observation_space.shape == (6914,)
        assert model.predict(both.sample())[0].shape == (1,)
