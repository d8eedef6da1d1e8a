"""Dreamer's models are stored, too."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dream_agents import SAC, DreamerV3, DreamMPC, zoo
from dream_agents.agents.base import WorldModelAgent
from dream_agents.models.dreamer import DreamerSize
from dream_agents.planners import make_planner
from dream_agents.zoo import ZooError

SIZE = DreamerSize(16, 16, 4, 4, 16, 4, 8)
KEYWORDS = {"model_size": SIZE, "device": "cpu", "buffer_size": 100, "seed": 3}


def randomized(model: WorldModelAgent) -> WorldModelAgent:
    with torch.no_grad():
        for parameter in model.world_model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def actions(model: WorldModelAgent) -> np.ndarray:
    """Three decisions in a row, with the memory that Dreamer's model has."""
    obs, state, found = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), None, []
    for _ in range(3):
        action, state = model.predict(obs, state, deterministic=True)
        found.append(action)
    return np.stack(found)


@pytest.mark.parametrize("backbone", ["dreamer", "dreamer_gaussian"])
@pytest.mark.parametrize("planner", ["policy", "dream"])
def test_dreamer_acts_as_before(backbone: str, planner: str, tmp_path: Path) -> None:
    model = randomized(DreamerV3("Pendulum-v1", backbone=backbone, planner=planner, **KEYWORDS))
    card = zoo.save(model, tmp_path / "dreamer-pendulum", dtype=torch.float32)
    assert (card.agent, card.backbone, card.planner) == ("dreamer", backbone, planner)
    loaded = zoo.load(tmp_path / "dreamer-pendulum", device="cpu", seed=3)
    assert type(loaded) is DreamerV3
    assert loaded.world_model.size == SIZE
    np.testing.assert_array_equal(actions(loaded), actions(model))
    zoo.verify(tmp_path / "dreamer-pendulum")


def test_rounding_to_half_precision_fits(tmp_path: Path) -> None:
    model = randomized(DreamerV3("Pendulum-v1", **KEYWORDS))
    zoo.save(model, tmp_path / "dreamer-pendulum")
    loaded = zoo.load(tmp_path / "dreamer-pendulum", device="cpu", seed=3)
    for key, value in model.world_model.state_dict().items():
        if not key.startswith("target_"):
            assert torch.equal(loaded.world_model.state_dict()[key], value.half().float()), key


def test_planner_of_the_card_is_that_of_the_model(tmp_path: Path) -> None:
    """DreamMPC has other defaults for the planner on this backbone; the card's are the planner's own."""
    planner = make_planner("dream", candidates=5, iterations=1)
    model = DreamMPC("Pendulum-v1", backbone="dreamer", planner=planner, **KEYWORDS)
    zoo.save(model, tmp_path / "one")
    assert zoo.load(tmp_path / "one", device="cpu").planner == planner
    model = DreamMPC("Pendulum-v1", backbone="dreamer", **KEYWORDS)
    zoo.save(model, tmp_path / "two")
    assert model.planner != make_planner("dream")
    assert zoo.load(tmp_path / "two", device="cpu").planner == model.planner


def test_dream_by_name_is_what_the_backbone_wants(tmp_path: Path) -> None:
    zoo.save(DreamerV3("Pendulum-v1", **KEYWORDS), tmp_path / "one")
    planner = zoo.load(tmp_path / "one", device="cpu", planner="dream").planner
    assert (planner.horizon, planner.proposal_noise) == (15, 0.2)
    options = {"planner": "dream", "planner_kwargs": {"horizon": 3}}
    planner = zoo.load(tmp_path / "one", device="cpu", **options).planner
    assert (planner.horizon, planner.proposal_noise) == (3, 0.2)


def test_options_alone_are_those_of_the_cards_planner(tmp_path: Path) -> None:
    zoo.save(DreamMPC("Pendulum-v1", backbone="dreamer", **KEYWORDS), tmp_path / "one")
    planner = zoo.load(tmp_path / "one", device="cpu", planner_kwargs={"horizon": 3}).planner
    assert (planner.horizon, planner.proposal_noise) == (3, 0.2)


def test_sizes_of_another_backbone_are_refused(tmp_path: Path) -> None:
    zoo.save(DreamerV3("Pendulum-v1", **KEYWORDS), tmp_path / "dreamer")
    path = tmp_path / "dreamer" / "card.toml"
    path.write_text(path.read_text().replace('backbone = "dreamer"', 'backbone = "tdmpc2"'))
    with pytest.raises(ZooError, match="TDMPCSize of the backbone"):
        zoo.load(tmp_path / "dreamer")


def test_sac_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"the zoo stores world-model agents, not a SAC; use its own save\(\)"):
        zoo.save(SAC("Pendulum-v1", device="cpu", buffer_size=100), tmp_path / "sac")
