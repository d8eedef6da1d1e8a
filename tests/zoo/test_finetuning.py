"""What was loaded goes on from the entry's weights, and its card tells of all of its training."""

from pathlib import Path

import gymnasium as gym
import pytest
import torch

from dream_agents import TDMPC2, zoo
from dream_agents.agents.base import WorldModelAgent

from .conftest import SIZE

OPTIONS = {"device": "cpu", "planner": "policy", "learning_starts": 20, "batch_size": 8, "seed": 0}


@pytest.fixture
def trained(model: WorldModelAgent, tmp_path: Path) -> Path:
    """An entry that was trained for 1000 decisions."""
    model.num_timesteps = 1000
    zoo.save(model, tmp_path / "trained")
    return tmp_path / "trained"


def test_further_training_starts_from_the_weights(trained: Path) -> None:
    stored = zoo.load_world_model(trained, device="cpu").state_dict()
    loaded = zoo.load(trained, **OPTIONS)
    seen = {}
    train = loaded.train

    def watched(gradient_steps: int, batch_size: int) -> None:
        seen.setdefault("first", {k: v.clone() for k, v in loaded.world_model.state_dict().items()})
        train(gradient_steps, batch_size)

    loaded.train = watched
    loaded.learn(24)
    assert all(torch.equal(value, stored[key]) for key, value in seen["first"].items())
    assert not torch.equal(loaded.world_model.state_dict()["encoder.0.weight"], stored["encoder.0.weight"])


def test_card_counts_the_earlier_training(trained: Path, tmp_path: Path) -> None:
    loaded = zoo.load(trained, **OPTIONS)
    loaded.learn(24)
    assert loaded.num_timesteps == 24
    card = zoo.save(loaded, tmp_path / "further")
    assert (card.decisions, card.frames, card.base) == (1024, 1024, "trained")
    again = zoo.load(tmp_path / "further", **OPTIONS).learn(21)
    card = zoo.save(again, tmp_path / "still-further")
    assert (card.decisions, card.base) == (1045, "further")


def test_count_survives_saving_and_a_second_learn(trained: Path, tmp_path: Path) -> None:
    loaded = zoo.load(trained, **OPTIONS).learn(21)
    loaded.save(tmp_path / "model.zip")
    again = TDMPC2.load(tmp_path / "model.zip", env="Pendulum-v1", device="cpu")
    assert (again.total_decisions, again.base) == (1021, "trained")
    again.learn(5, reset_num_timesteps=False)
    assert (again.num_timesteps, again.total_decisions) == (26, 1026)
    again.learn(7)
    assert (again.num_timesteps, again.total_decisions) == (7, 1033)


def test_frames_are_counted_with_the_repeat_of_their_time(trained: Path, tmp_path: Path) -> None:
    env = gym.make("Pendulum-v1")
    env.metadata = env.metadata | {"action_repeat": 3}
    loaded = zoo.load(trained, env, **OPTIONS).learn(21)
    card = zoo.save(loaded, tmp_path / "further")
    assert (card.decisions, card.frames) == (1021, 1000 + 3 * 21)


def test_training_that_nobody_counted_stays_unknown(trained: Path, tmp_path: Path) -> None:
    lines = (trained / "card.toml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("decisions", "frames"))]
    assert len(kept) == len(lines) - 2
    (trained / "card.toml").write_text("\n".join(kept))
    assert zoo.card(trained).decisions is None
    card = zoo.save(zoo.load(trained, **OPTIONS).learn(21), tmp_path / "further")
    assert (card.decisions, card.frames, card.base) == (None, None, "trained")


def test_model_that_began_with_nothing_has_no_base(tmp_path: Path) -> None:
    model = TDMPC2("Pendulum-v1", model_size=SIZE, **OPTIONS).learn(21)
    card = zoo.save(model, tmp_path / "new")
    assert (card.decisions, card.base) == (21, None)
    assert "base =" not in (tmp_path / "new" / "card.toml").read_text()
