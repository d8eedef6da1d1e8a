import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dream_agents import SAC, TDMPC2, DreamerV3, DreamMPC
from dream_agents.deploy import Controller
from dream_agents.models.dreamer import DreamerSize
from dream_agents.models.tdmpc import TDMPCSize

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason=f'exporting needs {name}: pip install "dream-agents[export]"')

COMMON = {"buffer_size": 100, "device": "cpu", "seed": 3}
TINY = {"model_size": TDMPCSize(16, 16, 16, 2, 2), **COMMON}
TINY_DREAMER = {"model_size": DreamerSize(8, 8, 4, 4, 8, 4, 4), **COMMON}


#: of every planner, as few and short plans as it takes
PLANNERS = {
    "adaptive": {"horizon": 1, "samples": 0, "iterations": 1},
    "cem": {"horizon": 2, "iterations": 2, "samples": 8, "elites": 4},
    "dream": {"horizon": 2, "candidates": 3},
    "grad": {"horizon": 2, "candidates": 3, "iterations": 1},
    "mppi": {"horizon": 1, "iterations": 2, "samples": 8, "policy_samples": 2, "elites": 4},
    "policy": {},
    "policy+grad": {"horizon": 1, "iterations": 2},
}
SIZES = {
    **dict.fromkeys(("tdmpc2", "bmpc"), TINY["model_size"]),
    **dict.fromkeys(("dreamer", "dreamer_gaussian", "planet"), TINY_DREAMER["model_size"]),
}
#: the others are translated in some ten seconds each
QUICK = {("tdmpc2", "policy"), ("bmpc", "grad"), ("planet", "cem"), ("dreamer", "dream")}


def roughened(agent):
    """The agent, with heads that tell plans apart; they begin at 0."""
    import torch

    with torch.no_grad():
        for parameter in agent.world_model.parameters():
            if parameter.dim() > 1 and not parameter.any():
                parameter.normal_(std=0.3)
    return agent


@pytest.mark.parametrize(
    ("backbone", "planner"),
    [
        pytest.param(b, p, marks=[] if (b, p) in QUICK else pytest.mark.slow, id=f"{b}-{p}")
        for b in SIZES
        for p in PLANNERS
        if b != "planet" or p in ("cem", "grad")  # it has no policy
    ],
)
def test_every_planner_on_every_backbone_is_a_graph(backbone, planner, tmp_path):
    options = {"model_size": SIZES[backbone], "planner": planner, "planner_kwargs": PLANNERS[planner]}
    agent = roughened(DreamMPC("Pendulum-v1", backbone=backbone, **options, **COMMON))
    exported = agent.export(tmp_path / "a", observations=6)
    assert exported.largest_difference < 1e-3
    controller = Controller(exported.path)
    actions = [controller.act(np.array([1.0, 0.0, speed])) for speed in (0, 1)]
    assert np.abs(actions).max() <= 2


def test_an_agent_that_has_learned_nothing_is_exported(tmp_path):
    agent = TDMPC2("Pendulum-v1", planner="dream", planner_kwargs={"horizon": 1}, **TINY)
    exported = agent.export(tmp_path / "a", observations=6)  # all plans are as good as equal
    assert exported.path.is_file()


def test_without_the_statistics_that_observations_were_normalized_by(tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
    with pytest.warns(UserWarning, match=r"which the file does not: give its Controller what VecNormalize"):
        TDMPC2(env, **TINY).export(tmp_path / "agent", planner="policy", observations=20)


def test_recurrent_memory_goes_from_decision_to_decision(tmp_path):
    agent = DreamerV3("Pendulum-v1", **TINY_DREAMER)
    exported = agent.export(tmp_path / "a", observations=10)
    assert exported.largest_difference < 1e-4
    controller = Controller(exported.path)
    obs = np.array([1.0, 0.0, 3.0], np.float32)
    first = controller.act(obs)
    second = controller.act(obs)  # what was before makes the difference
    assert not np.array_equal(first, second)


def test_sac_has_its_mean_exported_and_no_planner(tmp_path):
    agent = SAC("Pendulum-v1", **COMMON)
    exported = agent.export(tmp_path / "a", observations=10)
    obs = np.array([1.0, 0.0, 3.0], np.float32)
    expected, _ = agent.predict(obs, deterministic=True)
    np.testing.assert_allclose(Controller(exported.path).act(obs), expected, atol=1e-5)
    with pytest.raises(ValueError, match="no world model"):
        agent.export(tmp_path / "b", planner="dream")
    with pytest.raises(ValueError, match="exploration"):
        agent.export(tmp_path / "b", deterministic=False)


class Camera(gym.Env):
    """Images of noise."""

    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gym.spaces.Box(-2, 2, (2,), np.float32)

    def image(self):
        return self.np_random.integers(0, 256, (64, 64, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.image(), {}

    def step(self, action):
        return self.image(), 0.0, False, False, {}


def test_images_are_taken_with_channels_at_either_end_for_several_environments(tmp_path):
    agent = TDMPC2(gym.wrappers.TimeLimit(Camera(), 20), obs_type="pixels", planner="policy", **TINY)
    exported = agent.export(tmp_path / "a", n_envs=2, observations=6)
    assert exported.largest_difference < 1e-4
    ((seed, _),) = agent.env.env_method("episode_seeding_state")
    assert seed == COMMON["seed"], "its own environment goes on with its own episodes"
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    expected, _ = agent.predict(images, deterministic=True)
    controller = Controller(exported.path)
    np.testing.assert_allclose(controller.act(images), expected, atol=1e-4)
    np.testing.assert_allclose(controller.act(np.moveaxis(images, -1, 1)), expected, atol=1e-4)
    with pytest.raises(ValueError, match="type float32"):
        controller.act(images / np.float32(255))


class Robot(gym.Env):
    """A camera of bytes and one of fractions, joints, and which of three gears."""

    observation_space = gym.spaces.Dict(
        {
            "gear": gym.spaces.Discrete(3),
            "arm": gym.spaces.Dict(
                {
                    "joints": gym.spaces.Box(-1, 1, (2, 2), np.float32),
                    "camera": gym.spaces.Box(0, 255, (64, 64, 3), np.uint8),
                }
            ),
            "depth": gym.spaces.Box(0, 1, (64, 64, 1), np.float32),
        }
    )
    action_space = gym.spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def test_images_and_numbers_are_taken_by_key_as_the_environment_gives_them(tmp_path):
    model = TDMPC2(gym.wrappers.TimeLimit(Robot(), 20), planner="policy", **TINY)
    exported = model.export(tmp_path / "a", observations=5)
    assert exported.largest_difference < 1e-4
    controller = Controller(exported.path)
    observation = Robot().reset(seed=1)[0]
    expected, _ = model.predict(observation, deterministic=True)
    np.testing.assert_allclose(controller.act(observation), expected, atol=1e-4)
    dark = observation | {"arm": observation["arm"] | {"camera": np.zeros((64, 64, 3), np.uint8)}}
    controller.reset()
    assert np.abs(controller.act(dark) - expected).max() > 1e-4
    with pytest.raises(ValueError, match="no 'arm'"):
        controller.act(observation["arm"])


def test_images_and_numbers_are_taken_by_key_for_several_environments_and_a_recurrent_model(tmp_path):
    model = DreamerV3(gym.wrappers.TimeLimit(Robot(), 20), planner="policy", **TINY_DREAMER)
    exported = model.export(tmp_path / "a", n_envs=2, observations=4)
    assert exported.largest_difference < 1e-4
