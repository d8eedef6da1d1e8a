"""Small world models whose optima are known, and random numbers that are."""

import pytest
import torch
from torch import nn

from dream_agents.models.base import WorldModel
from dream_agents.models.heads import SquashedGaussian
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.registry import backbones

A = 2
OBS_SHAPE = (3,)


class PointMass(WorldModel):
    """A point z that moves by gain * a and wants to be at 0; V(z) for values."""

    latent_dim = action_dim = A
    num_values = 3
    takes_action_in_value = False
    episodic = False
    discount = 0.9

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("scales", torch.tensor([0.5, 1.0, 3.0]))

    def observe(self, obs, memory=None, episode_start=None, generator=None):
        return obs, {}

    def next(self, z, action):
        return z + self.gain * action

    def reward(self, z, action, next_z=None):
        return -z.square().sum(-1) - 0.1 * action.square().sum(-1)

    def continuation(self, z):
        return (z.square().sum(-1) < 1).to(z.dtype)

    def value(self, z, action):
        return -z.square().sum(-1)

    def values(self, z, action, members=None):
        value = self.value(z, action)
        chosen = range(self.num_values) if members is None else members
        return torch.stack([self.scales[m] * value for m in chosen])

    def policy(self, z):
        return SquashedGaussian(0.3 - 0.5 * z, torch.full_like(z, -0.7))


class PointMassQ(PointMass):
    """The same with Q(z, a) for values."""

    takes_action_in_value = True

    def value(self, z, action):
        after = z + self.gain * action
        return -(z.square() + 0.1 * action.square() + after.square()).sum(-1)


def tiny_tdmpc(episodic=False):
    size = TDMPCSize(enc_dim=8, mlp_dim=16, latent_dim=16, num_enc_layers=2, num_values=3)
    model = TDMPCWorldModel(OBS_SHAPE, A, size, discount=0.9, episodic=episodic)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


def episodic(make):
    def made():
        model = make()
        model.episodic = True
        return model

    return made


MODELS = {
    "V": PointMass,
    "Q": PointMassQ,
    "V-episodic": episodic(PointMass),
    "tdmpc": tiny_tdmpc,
    "tdmpc-episodic": lambda: tiny_tdmpc(episodic=True),
}


@pytest.fixture(params=MODELS)
def model(request):
    """Every kind of world model in turn."""
    torch.manual_seed(0)
    return MODELS[request.param]()


def tiny(backbone):
    """A registered backbone's smallest world model for flat observations, away from its first, flat, predictions."""
    model = backbones.get(backbone).build_world_model(
        OBS_SHAPE, A, model_size="1M", discount=0.9, episodic=False
    )
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(params=[*MODELS, *backbones.names()])
def any_model(request):
    """Every kind of world model, and that of every registered backbone."""
    torch.manual_seed(0)
    return MODELS[request.param]() if request.param in MODELS else tiny(request.param)


@pytest.fixture
def make_model():
    """Make one of MODELS by name."""
    return lambda name: MODELS[name]()


@pytest.fixture
def latents():
    """Make latents [batch, Z] that the model may meet."""

    def make(model, batch):
        obs = torch.randn(batch, *(A,) if isinstance(model, PointMass) else OBS_SHAPE)
        with torch.no_grad():
            start = torch.ones(batch, dtype=torch.bool, device=model.device)
            return model.observe(obs.to(next(model.parameters())), model.initial_memory(batch), start)[0]

    return make


@pytest.fixture
def same_noise(monkeypatch):
    """Give every environment the same normal noise, a function of its shape otherwise; draw the likeliest."""
    randn = torch.randn

    def fixed(*shape, device=None, dtype=None, generator=None):
        shape = list(shape if isinstance(shape[0], int) else shape[0])
        single, place = shape.copy(), 1 if len(shape) == 4 else 0  # [H, B, N, A], [B, N, A] or [B, A]
        if len(shape) > 1:  # otherwise it is for no environment
            single[place] = 1
        noise = randn(single, generator=torch.Generator().manual_seed(sum(single)))
        return noise.expand(shape).to(device=device, dtype=dtype)

    monkeypatch.setattr(torch, "randn", fixed)
    monkeypatch.setattr(torch, "randperm", lambda n, device=None, **_: torch.arange(n, device=device))
    monkeypatch.setattr(torch, "multinomial", lambda weights, *_, **__: weights.argmax(1, keepdim=True))
    return fixed
