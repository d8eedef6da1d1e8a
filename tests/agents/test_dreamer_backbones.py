"""What DreamerV3, Dreamer as the paper of Dream-MPC used it, and PlaNet take by default."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from dream_agents import DreamerV3, DreamMPC, zoo
from dream_agents.cli.options import agent_keywords
from dream_agents.learners.dreamer_backbones import GaussianDreamerBackbone
from dream_agents.models.dreamer import DreamerSize
from dream_agents.models.planet import PlainImageCoder
from dream_agents.planners import make_planner

TINY = DreamerSize(12, 10, 4, 4, 10, 2, 6)
SMALL = {
    "model_size": TINY,
    "buffer_size": 500,
    "learning_starts": 20,
    "batch_size": 4,
    "learner_kwargs": {"sequence_length": 8, "horizon": 3, "autocast": None},
    "device": "cpu",
    "seed": 0,
}
OBS = np.array([[0.2, 0.1, -0.3]], np.float32)


class Picture(gym.Env):
    """Shows the number of the decision as the brightness of 64 x 64 pixels."""

    metadata = {"render_modes": ["rgb_array"], "episodic": False}  # noqa: RUF012
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    render_mode = "rgb_array"
    decision = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.decision = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.decision += 1
        return np.zeros(1, np.float32), 0.0, False, False, {}

    def render(self):
        return np.full((64, 64, 3), 10 * self.decision, np.uint8)


def make_picture():
    return gym.wrappers.TimeLimit(Picture(), 12)


def test_defaults_belong_to_the_backbone():
    own = DreamerV3("Pendulum-v1", device="cpu", buffer_size=500)
    assert (own.learning_rate, own.batch_size, own.gamma, own.train_freq.frequency) == (3e-4, 16, 0.997, 2)
    assert (own.learning_starts, own.model_size, own.tau) == (1000, "1M", 0.02)
    gaussian = DreamerV3("Pendulum-v1", backbone="dreamer_gaussian", device="cpu", buffer_size=500)
    assert (gaussian.learning_rate, gaussian.batch_size, gaussian.gamma) == (6e-4, 50, 0.99)
    assert (gaussian.train_freq.frequency, gaussian.learning_starts, gaussian.model_size) == (
        5,
        2500,
        "paper",
    )


@pytest.mark.parametrize("backbone", ["dreamer", "dreamer_gaussian"])
@pytest.mark.parametrize(
    ("keyword", "value"),
    [("learning_rate", 1e-3), ("batch_size", 7), ("gamma", 0.9), ("learning_starts", 33)],
)
def test_each_default_can_be_overridden(backbone, keyword, value):
    agent = DreamerV3("Pendulum-v1", backbone=backbone, **SMALL | {keyword: value})
    assert getattr(agent, keyword) == value


def test_network_of_table_16():
    """Embedding 1024, one frame, a plain GRU cell, layers of 200: 4 in the actor, 2 for rewards, 3 for values."""
    model = GaussianDreamerBackbone.build_world_model((3, 64, 64), 6, "paper", 0.99)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if not name.startswith("target_")}
    assert not any("ln" in name for name in shapes)
    assert model.coder.encode(model.coder.prepare(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))).shape == (
        2,
        1024,
    )
    channels = [p.shape[0] for name, p in model.coder.encoder.named_parameters() if p.dim() == 4]
    assert channels == [32, 64, 128, 256]
    assert (shapes["rssm.cell.weight_ih"], shapes["rssm.cell.weight_hh"]) == ((600, 200), (600, 200))
    assert shapes["rssm.input.weight"] == (200, 30 + 6)
    assert shapes["rssm.prior.0.weight"] == (200, 200) and shapes["rssm.prior.1.weight"] == (60, 200)
    assert shapes["rssm.posterior.0.weight"] == (200, 200 + 1024)
    for head, hidden, outputs in (("policy_head", 4, 12), ("reward_head", 2, 1), ("value_heads", 3, 1)):
        layers = [
            shape for name, shape in shapes.items() if name.startswith(head) and name.endswith("weight")
        ]
        assert layers == [(200, 230), *[(200, 200)] * (hidden - 1), (outputs, 200)], head
    x = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(model.rssm.input.activation(x), torch.nn.functional.elu(x))


def test_images_have_five_bits_and_noise_below_them():
    coder = PlainImageCoder((1, 64, 64), latent_dim=4, depth=2, embedding=8)
    image = torch.arange(4096).remainder(256).to(torch.uint8).view(1, 1, 64, 64)
    first, second = (coder.prepare(image, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    kept = (first + 0.5) * 32
    assert torch.equal(kept.floor(), (image // 8).float())
    assert not torch.equal(first, second)
    below = kept - kept.floor()
    assert abs(below.mean() - 0.5) < 0.02 and abs(below.std() - 12**-0.5) < 0.02
    assert first.min() >= -0.5 and first.max() < 0.5


@pytest.mark.parametrize(("backbone", "frames"), [("dreamer", 1), ("dreamer_gaussian", 1), ("tdmpc2", 3)])
def test_recurrent_models_observe_one_frame(backbone, frames, tmp_path):
    size = {} if backbone == "tdmpc2" else {"model_size": TINY}
    agent = DreamMPC(
        make_picture, backbone=backbone, obs_type="pixels", device="cpu", buffer_size=500, **size
    )
    assert agent.observation_space.shape == (3 * frames, 64, 64)
    assert agent.replay_buffer.frame_stack == frames
    agent.save(tmp_path / "agent.zip")
    loaded = DreamMPC.load(tmp_path / "agent.zip", env=make_picture, device="cpu")
    assert loaded.observation_space.shape == (3 * frames, 64, 64)


def test_policy_explores_with_the_noise_of_table_16():
    agent = DreamerV3("Pendulum-v1", backbone="dreamer_gaussian", **SMALL)
    assert agent.planner == make_planner("policy", exploration_std=0.3)
    model, planner = agent.world_model, agent.planner
    with torch.no_grad():
        model.policy_head[-1].weight.zero_()
        model.policy_head[-1].bias[1] = -30.0  # a policy that always acts alike
        z, _ = model.observe(torch.from_numpy(OBS).expand(5000, -1))
        options = {"memory": {}, "episode_start": torch.ones(5000, dtype=torch.bool)}
        noisy = planner.plan(model, z, generator=torch.Generator().manual_seed(0), **options).action
        plain = planner.plan(model, z, deterministic=True, **options).action
    assert noisy.std().item() == pytest.approx(0.3, rel=0.05) and noisy.abs().max() <= 1
    assert plain.std() < 1e-3
    assert DreamerV3("Pendulum-v1", **SMALL).planner.exploration_std == 0
    with pytest.raises(ValueError, match="exploration_std must be at least 0"):
        make_planner("policy", exploration_std=-1.0)


def test_action_noise_is_a_number(tmp_path):
    assert agent_keywords("dreamer", ["action_noise=0.3"]) == {"action_noise": 0.3}
    options = agent_keywords("dreamer", ["backbone=dreamer_gaussian", "exploration_std=0.2"])
    assert options["planner_kwargs"] == {"exploration_std": 0.2}
    agent = DreamerV3("Pendulum-v1", action_noise=0.3, n_envs=2, **SMALL).learn(30)
    noise = np.stack([agent.action_noise() for _ in range(2000)])
    assert noise.shape == (2000, 2, 1) and noise.std() == pytest.approx(0.3, rel=0.05)
    agent.save(tmp_path / "agent.zip")
    loaded = DreamerV3.load(tmp_path / "agent.zip", env="Pendulum-v1", action_noise=0.1, device="cpu")
    assert np.std([loaded.action_noise() for _ in range(2000)]) == pytest.approx(0.1, rel=0.05)
    with pytest.raises(ValueError, match=r"action_noise=-0.1 must be a standard deviation of at least 0"):
        DreamerV3("Pendulum-v1", action_noise=-0.1, **SMALL)


def test_planet_learns_a_world_model_only():
    planner = {"samples": 8, "elites": 2, "iterations": 1}
    agent = DreamMPC("Pendulum-v1", backbone="planet", planner="cem", planner_kwargs=planner, **SMALL)
    config = agent.learner_config
    assert (agent.learning_rate, config.model_clip_norm, config.adam_eps) == (1e-3, 1000, 1e-4)
    x = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(agent.world_model.rssm.input.activation(x), x.clamp(min=0))
    before = {name: p.detach().clone() for name, p in agent.world_model.named_parameters()}
    agent.learn(60)
    changed = {name for name, p in agent.world_model.named_parameters() if not torch.equal(p, before[name])}
    learned = ("coder", "rssm", "reward_head", "termination_head")
    assert changed and all(name.startswith(learned) for name in changed)
    with pytest.raises(ValueError, match=r'planner="dream" needs a policy.*use planner="cem"'):
        DreamMPC("Pendulum-v1", backbone="planet", **SMALL)


def actions(agent):
    state, found = None, []
    for _ in range(3):
        action, state = agent.predict(OBS, state, deterministic=True)
        found.append(action)
    return np.stack(found)


@pytest.fixture
def old():
    """A DreamerV3 as version 0.1 made it: the prior has one hidden layer, and nothing says so."""
    agent = DreamerV3("Pendulum-v1", model_kwargs={"prior_layers": 1}, **SMALL)
    with torch.no_grad():
        for parameter in agent.world_model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert "rssm.prior.2.weight" not in agent.world_model.state_dict()
    agent.model_kwargs = {}
    return agent


def test_files_of_version_0_1_load(old, tmp_path):
    old.save(tmp_path / "old.zip")
    loaded = DreamerV3.load(tmp_path / "old.zip", env="Pendulum-v1", device="cpu")
    np.testing.assert_array_equal(actions(loaded), actions(old))
    loaded.learn(30)
    zoo.save(old, tmp_path / "old", dtype=torch.float32)
    entry = zoo.load(tmp_path / "old", device="cpu", seed=0)
    np.testing.assert_array_equal(actions(entry), actions(old))
    assert entry.model_kwargs == {"prior_layers": 1}


def test_gaussian_files_of_version_0_1_are_refused(tmp_path):
    agent = DreamerV3("Pendulum-v1", backbone="dreamer_gaussian", **SMALL)
    agent.model_kwargs = {}
    agent.save(tmp_path / "old.zip")
    with pytest.raises(ValueError, match=r"of version 0\.1, whose layers had LayerNorm.*Train it again"):
        DreamerV3.load(tmp_path / "old.zip", env="Pendulum-v1", device="cpu")


def test_model_in_the_package_has_its_own_prior():
    model = zoo.load_world_model("dreamer-walker-walk", device="cpu")
    assert len(model.rssm.prior) == 2
    assert len(DreamerV3("Pendulum-v1", **SMALL).world_model.rssm.prior) == 3
