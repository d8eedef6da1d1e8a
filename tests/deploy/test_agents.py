import gymnasium as gym
import numpy as np
import pytest

from dream_agents import BMPC, SAC, TDMPC2, DreamerV3
from dream_agents.deploy import Controller
from dream_agents.models.dreamer import DreamerSize
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.planners.adaptive import AdaptivePlanner
from dream_agents.planners.cem import CEMPlanner
from dream_agents.planners.grad import GradPlanner
from dream_agents.planners.mppi import MPPIPlanner

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason=f'exporting needs {name}: pip install "dream-agents[export]"')

COMMON = {"buffer_size": 100, "device": "cpu", "seed": 3}
TINY = {"model_size": TDMPCSize(16, 16, 16, 2, 2), **COMMON}
TINY_DREAMER = {"model_size": DreamerSize(8, 8, 4, 4, 8, 4, 4), **COMMON}


def slow(agent, planner):
    """Translated in ten seconds or more."""
    return pytest.param(agent, planner, marks=pytest.mark.slow)


def roughened(agent):
    """The agent, with heads that tell plans apart; they begin at 0."""
    import torch

    with torch.no_grad():
        for head in (agent.world_model.reward_head[-1], agent.world_model.value_heads[-1]):
            head.weight.normal_(std=0.3)
    return agent


@pytest.mark.parametrize(
    ("agent", "planner"),
    [
        slow(TDMPC2, MPPIPlanner(horizon=1, iterations=2, samples=8, policy_samples=2, elites=4)),
        slow(TDMPC2, CEMPlanner(horizon=1, iterations=2, samples=8, elites=4)),
        slow(TDMPC2, AdaptivePlanner(horizon=1, samples=0, iterations=2)),
        (BMPC, GradPlanner(horizon=1, candidates=3, iterations=1)),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_every_planner_is_a_graph(agent, planner, tmp_path):
    exported = roughened(agent("Pendulum-v1", planner=planner, **TINY)).export(
        tmp_path / "a", observations=10
    )
    assert exported.largest_difference < 1e-3
    controller = Controller(exported.path)
    actions = [controller.act(np.array([1.0, 0.0, speed])) for speed in (0, 1)]
    assert np.abs(actions).max() <= 2


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
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    expected, _ = agent.predict(images, deterministic=True)
    controller = Controller(exported.path)
    np.testing.assert_allclose(controller.act(images), expected, atol=1e-4)
    np.testing.assert_allclose(controller.act(np.moveaxis(images, -1, 1)), expected, atol=1e-4)
    with pytest.raises(ValueError, match="type float32"):
        controller.act(images / np.float32(255))
