"""Agents that observe images and numbers by key, each with its own encoder."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.spaces import Box
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize, VecTransposeImage

from dream_agents import BMPC, SAC, TDMPC2, DreamerV3, DreamMPC, make_vec_env, registry, zoo
from dream_agents.evaluation import evaluate
from dream_agents.learners.tdmpc2 import TDMPC2Backbone
from dream_agents.models.dreamer import DreamerSize
from dream_agents.models.pixels import PixelEncoder
from dream_agents.models.tdmpc import TDMPCSize

FIRST, LAST = Box(0, 255, (3, 48, 48), np.uint8), Box(0, 255, (48, 48, 3), np.uint8)
FRACTIONS = Box(0, 1, (48, 48, 3), np.float32)

COMMON = {"learning_starts": 12, "buffer_size": 200, "device": "cpu", "seed": 0}
TINY = {"model_size": TDMPCSize(16, 16, 16, 2, 2), "batch_size": 4, "model_kwargs": {"num_channels": 8}}
TINY_DREAMER = {
    "model_size": DreamerSize(16, 16, 4, 4, 16, 2),
    "batch_size": 2,
    "train_freq": 4,
    "gradient_steps": 1,
    "learner_kwargs": {"sequence_length": 8, "horizon": 3, "autocast": None},
}
MPPI = {
    "planner": "mppi",
    "planner_kwargs": {"samples": 8, "policy_samples": 2, "elites": 2, "iterations": 1},
}
AGENTS = {
    "TDMPC2": (TDMPC2, TINY | MPPI),
    "BMPC": (BMPC, TINY | MPPI | {"learner_kwargs": {"reanalyze_interval": 2, "reanalyze_batch": 2}}),
    "DreamMPC": (DreamMPC, TINY),
    "DreamerV3": (DreamerV3, TINY_DREAMER),
    "dreamer_gaussian": (DreamMPC, TINY_DREAMER | {"backbone": "dreamer_gaussian"}),
}


class Robot(gym.Env):
    """Sees whether a lamp is on, and feels where its arm is; the reward is the arm's place, with the lamp's sign.

    :param camera: space of its camera's images
    :param wrist: space of a second camera's
    """

    metadata = {"render_modes": [], "episodic": False}  # noqa: RUF012
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, camera=LAST, wrist=None):
        parts = {"camera": camera, "joints": Box(-np.inf, np.inf, (2,), np.float64)}
        self.observation_space = spaces.Dict(parts | ({} if wrist is None else {"wrist": wrist}))

    def observe(self):
        observation = {"joints": np.array([self.arm, self.broken])}
        for name in ("camera", "wrist"):
            if name in self.observation_space.spaces:
                space = self.observation_space[name]
                observation[name] = np.full(space.shape, self.lamp * space.high.max(), space.dtype)
        return observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.lamp, self.arm, self.broken = int(self.np_random.integers(2)), self.np_random.uniform(-1, 1), 0.0
        return self.observe(), {}

    def step(self, action):
        self.arm = float(np.clip(self.arm + 0.3 * action[0], -1, 1))
        return self.observe(), self.arm * (2 * self.lamp - 1), False, False, {}


def make_robot(**kwargs):
    return gym.wrappers.TimeLimit(Robot(**kwargs), 10)


def camera_of(name):
    """Dreamer with Gaussian states takes 64 x 64 pixels."""
    return Box(0, 255, (64, 64, 3), np.uint8) if name == "dreamer_gaussian" else LAST


def make(name="DreamMPC", env=None, **kwargs):
    agent, options = AGENTS[name]
    return agent(
        make_robot(camera=camera_of(name)) if env is None else env, **{**COMMON, **options, **kwargs}
    )


def latents(model, observations):
    """Latents of a list of observations, one row each."""
    batch = {name: np.stack([obs[name] for obs in observations]) for name in observations[0]}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        obs = model.policy.observations_to_tensor(batch)
        return model.world_model.observe(obs, generator=generator)[0]


def seen(lamp=0, arm=0.0, **kwargs):
    robot = Robot(**kwargs)
    robot.lamp, robot.arm, robot.broken = lamp, arm, 0.0
    return robot.observe()


@pytest.mark.parametrize("name", AGENTS)
class TestEveryAgent:
    def test_it_learns_acts_and_is_saved(self, name, tmp_path):
        model = make(name).learn(32)
        assert model.obs_type == "pixels+state" and model._n_updates > 0
        camera = camera_of(name)
        assert model.world_model.obs_shape == {"camera": (3, *camera.shape[:2]), "joints": (2,)}
        obs = seen(lamp=1, arm=0.3, camera=camera)
        action, _ = model.predict(obs, deterministic=True)
        assert model.action_space.contains(action)
        many = {key: np.stack([value] * 3) for key, value in obs.items()}
        assert model.predict(many)[0].shape == (3, 1)
        model.save(tmp_path / "robot")
        loaded = type(model).load(tmp_path / "robot", env=make_robot(camera=camera), device="cpu")
        np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], action)
        loaded.learn(loaded.learning_starts + 4)

    def test_images_and_numbers_both_count(self, name):
        model = make(name)
        dark, bright, moved = latents(
            model, [seen(**what, camera=camera_of(name)) for what in ({}, {"lamp": 1}, {"arm": 0.7})]
        )
        assert (dark - bright).abs().max() > 1e-4
        assert (dark - moved).abs().max() > 1e-4

    def test_several_cameras_count_each(self, name):
        small = Box(0, 255, (64, 64, 1), np.uint8)
        model = make(name, env=make_robot(camera=camera_of(name), wrist=small))
        assert model.world_model.obs_shape["wrist"] == (1, 64, 64)
        both, half = (seen(lamp=1, camera=camera_of(name), wrist=small) for _ in range(2))
        half["wrist"] = np.zeros_like(half["wrist"])
        one, other = latents(model, [both, half])
        assert (one - other).abs().max() > 1e-4

    def test_several_environments_and_evaluation(self, name):
        make_one = partial(make_robot, camera=camera_of(name))
        envs = make_vec_env(make_one, 2, obs_type="pixels+state")
        model = make(name, env=envs)
        callback = EvalCallback(DummyVecEnv([make_one]), n_eval_episodes=1, eval_freq=15, verbose=0)
        model.learn(34, callback=callback)
        assert np.isfinite(callback.last_mean_reward)
        assert np.isfinite(evaluate_policy(model, make_one(), n_eval_episodes=1)[0])


CAMERAS = {
    "channels last": LAST,
    "channels first": FIRST,
    "fractions": FRACTIONS,
    "fractions, channels first": Box(0, 1, (3, 48, 48), np.float64),
    "up to 255": Box(0, 255, (48, 48, 3), np.float32),
}
WRAPPED = {
    "VecEnv": lambda make_one: DummyVecEnv([make_one]),
    "make_vec_env": lambda make_one: make_vec_env(make_one, 2, obs_type="pixels+state"),
    "VecNormalize": lambda make_one: VecNormalize(transposed(DummyVecEnv([make_one])), norm_obs=False),
    "VecFrameStack": lambda make_one: VecFrameStack(DummyVecEnv([make_one]), 2),
}


def transposed(envs):
    return VecTransposeImage(envs) if envs.observation_space["camera"] == LAST else envs


@pytest.fixture(scope="module")
def reference():
    return make(seed=1).learn(24)


def assert_same_weights(model, other):
    pairs = zip(model.world_model.parameters(), other.world_model.parameters(), strict=True)
    for ours, others in pairs:
        torch.testing.assert_close(ours, others)


@pytest.mark.parametrize("camera", CAMERAS)
def test_all_kinds_of_images_are_learned_from_alike(camera, reference):
    space = CAMERAS[camera]
    model = make(env=make_robot(camera=space), seed=1).learn(24)
    assert_same_weights(model, reference)
    expected, _ = reference.predict(seen(lamp=1, arm=0.2), deterministic=True)
    given = seen(lamp=1, arm=0.2, camera=space)
    turned = (
        np.moveaxis(given["camera"], 0, -1) if space.shape[0] == 3 else np.moveaxis(given["camera"], -1, 0)
    )
    for image in (given["camera"], turned):
        action, _ = model.predict(given | {"camera": image}, deterministic=True)
        np.testing.assert_allclose(action, expected, atol=1e-6)


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_channels_of_a_vec_env_may_be_first_or_last(wrapped):
    first, last = (
        make(env=WRAPPED[wrapped](lambda space=space: make_robot(camera=space)), seed=1).learn(20)
        for space in (FIRST, LAST)
    )
    assert_same_weights(first, last)
    given = last.env.reset()
    np.testing.assert_array_equal(*(model.predict(given, deterministic=True)[0] for model in (first, last)))


def test_stacked_frames_of_a_vec_env():
    model = make(env=VecFrameStack(DummyVecEnv([make_robot]), 2)).learn(20)
    assert model.world_model.obs_shape == {"camera": (6, 48, 48), "joints": (4,)}


class TestReplay:
    def test_a_pixel_takes_a_byte_and_a_number_four(self):
        model = make().learn(20)
        buffer = model.replay_buffer
        assert buffer.observations.dtype == np.uint8
        assert buffer.observations[0].nbytes == 3 * 48 * 48 + 2 * 4
        numbers, (image,) = model.policy.encoding.packing.unpack(buffer.sample(4).observations)
        assert numbers.dtype == torch.float32 and image.dtype == torch.uint8
        assert set(image.unique().tolist()) <= {0, 255}
        assert (numbers[..., 0].abs() <= 1).all() and numbers[..., 0].unique().numel() > 2

    def test_images_are_shifted_while_learning_and_numbers_are_not(self, monkeypatch):
        model = make(learner_kwargs={"random_shift": 3}).learn(20)
        batch = model.replay_buffer.sample(4)
        packing, encode, encoded = model.policy.encoding.packing, model.world_model.encode, []
        speckled = torch.randint(0, 256, batch.observations.shape, dtype=torch.uint8)
        speckled[..., : packing.start] = batch.observations[..., : packing.start]
        monkeypatch.setattr(model.world_model, "encode", lambda obs: encoded.append(obs) or encode(obs))
        model.learner.update(batch._replace(observations=speckled))
        numbers, images = slice(packing.start), slice(packing.start, None)
        assert torch.equal(encoded[0][..., numbers], speckled[..., numbers])
        assert not torch.equal(encoded[0][..., images], speckled[..., images])

    def test_checkpoints_go_on(self, tmp_path):
        model = make().learn(20)
        model.save_checkpoint(tmp_path)
        resumed = DreamMPC.load_checkpoint(tmp_path, env=make_robot(), device="cpu")
        np.testing.assert_array_equal(resumed.replay_buffer.observations, model.replay_buffer.observations)
        resumed.learn(8, reset_num_timesteps=False)


class TestEncoders:
    def test_groups_of_latents_sum_to_one(self):
        model = make(env=make_robot(wrist=LAST))
        z = latents(model, [seen(lamp=1, arm=a, wrist=LAST) for a in (-1, 0, 1)])
        torch.testing.assert_close(z.unflatten(-1, (-1, 8)).sum(-1), torch.ones(3, 2))

    def test_each_key_has_its_own(self):
        encoder = make(env=make_robot(wrist=LAST)).world_model.encoder
        assert [type(one) for one in encoder.images] == [PixelEncoder] * 2
        assert encoder.numbers[0].in_features == 2

    def test_images_alone_need_no_numbers(self):
        env = gym.wrappers.FilterObservation(make_robot(wrist=LAST), ["camera", "wrist"])
        model = make(env=env).learn(20)
        assert model.world_model.obs_shape == {"camera": (3, 48, 48), "wrist": (3, 48, 48)}

    @pytest.mark.parametrize("name", ["TDMPC2", "DreamerV3"])
    def test_images_that_encoders_cannot_take_are_named(self, name):
        with pytest.raises(ValueError, match=r'"camera": images of shape \(3, 24, 24\).*'):
            make(name, env=make_robot(camera=Box(0, 255, (24, 24, 3), np.uint8)))


@pytest.mark.parametrize("planner", ["policy", "mppi", "cem", "grad", "policy+grad", "dream", "adaptive"])
def test_plans_are_the_same_with_and_without_the_annex(planner, reference, monkeypatch):
    obs = {"camera": np.stack([seen(lamp=k)["camera"] for k in (0, 1)]), "joints": np.zeros((2, 2))}
    actions = []
    for switch in ("1", "0"):
        monkeypatch.setenv("DREAM_AGENTS_FAST", switch)
        reference.policy._decider = None
        reference.planner = planner
        state, taken = None, []
        for _ in range(3):  # weights are packed from the second decision on
            action, state = reference.predict(obs, state, deterministic=True)
            taken.append(action)
        actions.append(np.stack(taken))
    reference.policy._decider = None
    np.testing.assert_allclose(*actions, atol=1e-3)


def test_zoo_entries_keep_the_shapes_by_key(reference, tmp_path):
    card = zoo.save(reference, tmp_path / "robot", environment="Pendulum-v1", command="none")
    shapes = {"camera": (3, 48, 48), "joints": (2,)}
    assert (card.obs_type, card.network.obs_shape) == ("pixels+state", shapes)
    loaded = zoo.load(tmp_path / "robot", env=make_robot(), device="cpu")
    given = [seen(lamp=1, arm=0.4)]
    torch.testing.assert_close(latents(loaded, given), latents(reference, given), atol=2e-3, rtol=0)
    with pytest.raises(zoo.ZooError, match=r"takes observations of shape \{'camera': \(3, 48, 48\)"):
        zoo.load(tmp_path / "robot", env=make_robot(wrist=LAST), device="cpu")


class TestMistakes:
    @pytest.mark.parametrize("where", ["step", "reset"])
    def test_numbers_that_are_none_are_named_by_key(self, where):
        class Broken(Robot):
            def observe(self):
                self.broken = np.nan if self.elapsed == (5 if where == "step" else 0) else 0.0
                return super().observe()

            def reset(self, **kwargs):
                self.elapsed = 0
                return super().reset(**kwargs)

            def step(self, action):
                self.elapsed += 1
                return super().step(action)

        with pytest.raises(ValueError, match=r"observation\['joints'\]\[1\]=nan"):
            make(env=gym.wrappers.TimeLimit(Broken(), 10)).learn(20)

    def test_pixels_alone_do_not_fit(self):
        with pytest.raises(
            ValueError, match=r'(?s)obs_type="pixels" does not fit.*pass obs_type="pixels\+state"'
        ):
            make(env=DummyVecEnv([make_robot]), obs_type="pixels")

    def test_numbers_alone_do_not_fit(self, walk):
        with pytest.raises(ValueError, match=r'obs_type="pixels\+state" .* no images.*pass obs_type="state"'):
            make(env=DummyVecEnv([walk]), obs_type="pixels+state")

    def test_an_image_alone_does_not_fit(self):
        env = gym.wrappers.FilterObservation(make_robot(), ["camera"])
        env = gym.wrappers.TransformObservation(env, lambda obs: obs["camera"], LAST)
        with pytest.raises(ValueError, match=r'observes an image and no numbers.*pass obs_type="pixels"'):
            make(env=env, obs_type="pixels+state")

    def test_other_images_are_refused_by_dtype_and_range(self):
        with pytest.raises(ValueError, match=r'images "camera" of dtype float32 from -1 to 1'):
            make(env=make_robot(wrist=LAST, camera=Box(-1, 1, (48, 48, 3), np.float32)))

    def test_fractions_beyond_their_range_are_refused(self):
        model = make(env=make_robot(camera=FRACTIONS))
        camera = np.linspace(0, 2, 48 * 48 * 3, dtype=np.float32).reshape(FRACTIONS.shape)
        with pytest.raises(ValueError, match=r'images "camera" of dtype float32 from 0 to 2 were given'):
            model.predict({"camera": camera, "joints": np.zeros(2)})

    def test_normalized_observations_are_refused(self):
        env = VecNormalize(DummyVecEnv([lambda: make_robot(camera=FIRST)]))
        with pytest.raises(ValueError, match=r"VecNormalize\(norm_obs=False\)"):
            make(env=env)

    def test_channels_first_and_last_in_one_vec_env_are_refused(self):
        with pytest.raises(ValueError, match=r"first in the images camera and last in wrist"):
            make(env=DummyVecEnv([lambda: make_robot(camera=FIRST, wrist=LAST)]))

    def test_an_observation_without_a_key_is_described(self, reference):
        with pytest.raises(ValueError, match="a dictionary of 'camera' is no observation of Dict"):
            reference.predict({"camera": seen()["camera"]})


class TestOtherBackbones:
    """Backbones of other packages, which know vectors and images only."""

    @pytest.fixture(autouse=True)
    def _register(self, monkeypatch):
        class Plain(TDMPC2Backbone):
            encodes_by_key = False

        monkeypatch.setitem(registry.backbones._registered, "plain", Plain)

    def test_dictionaries_are_vectors_as_before(self):
        with pytest.warns(UserWarning, match="each becomes a vector"):
            model = make(backbone="plain")
        assert (model.obs_type, model.world_model.obs_shape) == ("state", (6914,))

    def test_both_are_refused_where_they_are_asked_for(self):
        with pytest.raises(
            ValueError, match=r'backbone "plain" encodes a vector or an image.*obs_type="state"'
        ):
            make(backbone="plain", obs_type="pixels+state")


def test_evaluation_meets_the_same_episodes_in_any_number(reference):
    many, one = (evaluate(reference, make_robot, "policy", episodes=3, n_envs=n) for n in (3, 1))
    np.testing.assert_allclose(many.returns, one.returns, atol=1e-4)


def test_channels_first_and_last_in_one_environment():
    model = make(env=make_robot(camera=FIRST, wrist=LAST)).learn(16)
    assert model.observation_space["wrist"].shape == (3, 48, 48)
    assert model.predict(seen(camera=FIRST, wrist=LAST))[0].shape == (1,)


def test_dictionaries_in_dictionaries_and_tuples():
    class Nested(Robot):
        def __init__(self):
            super().__init__()
            self.flat = self.observation_space
            head = spaces.Dict({"camera": self.flat["camera"]})
            self.observation_space = spaces.Tuple([head, self.flat["joints"]])

        def observe(self):
            joints = np.array([self.arm, 0.0])
            return {"camera": np.full((48, 48, 3), 255 * self.lamp, np.uint8)}, joints

    model = make(env=gym.wrappers.TimeLimit(Nested(), 10)).learn(16)
    assert model.world_model.obs_shape == {"0.camera": (3, 48, 48), "1": (2,)}
    env = Nested()
    assert model.predict(env.reset(seed=0)[0])[0].shape == (1,)


def test_vectors_of_both_stay_what_they_were_where_state_is_asked_for(tmp_path):
    """Files of agents that learned so load as they did."""
    with pytest.warns(UserWarning, match="each becomes a vector"):
        model = make(obs_type="state")
    model.save(tmp_path / "flat")
    with pytest.warns(UserWarning, match="each becomes a vector"):
        loaded = DreamMPC.load(tmp_path / "flat", env=make_robot(), device="cpu")
    assert loaded.world_model.obs_shape == (6914,)
    np.testing.assert_array_equal(
        loaded.predict(seen(), deterministic=True)[0], model.predict(seen(), deterministic=True)[0]
    )


def test_sac_takes_both():
    model = SAC(
        make_robot(), obs_type="pixels+state", learning_starts=5, buffer_size=50, batch_size=4, device="cpu"
    )
    assert model.learn(8).predict(seen())[0].shape == (1,)


@pytest.mark.parametrize(
    ("name", "loss"), [("TDMPC2", "reward"), ("BMPC", "reward"), ("DreamerV3", "observation")]
)
def test_losses_fall(name, loss):
    model = make(name, learning_rate=3e-3)
    model.learn(20)
    losses = [
        model.learner.update(model.replay_buffer.sample(4))[f"train/{loss}_loss"].item() for _ in range(40)
    ]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]), losses
