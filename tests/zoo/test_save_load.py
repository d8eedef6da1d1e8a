"""An agent that was written as an entry acts as before when it is loaded, and goes on learning."""

from importlib.metadata import version
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dream_agents import TDMPC2, DreamMPC, registry, zoo
from dream_agents.agents.base import WorldModelAgent
from dream_agents.evaluation import evaluate
from dream_agents.learners.tdmpc2 import TDMPC2Backbone
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.mppi import MPPIPlanner
from dream_agents.zoo import ZooError

from .conftest import PLANNER_KWARGS, RESULT, SIZE


def round_weights(model: WorldModelAgent) -> None:
    for parameter in model.world_model.parameters():
        parameter.data = parameter.data.half().float()


def actions(model: WorldModelAgent) -> np.ndarray:
    obs = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    return model.predict(obs, deterministic=True)[0]


@pytest.mark.parametrize("planner", ["policy", "mppi", "dream"])
def test_loaded_agent_acts_as_the_saved_one(model: WorldModelAgent, entry: Path, planner: str) -> None:
    loaded = zoo.load(entry, device="cpu", planner=planner, seed=model.seed)
    round_weights(model)
    model.planner = planner
    np.testing.assert_array_equal(actions(loaded), actions(model))


def test_loaded_agent_is_what_the_card_says(entry: Path) -> None:
    loaded = zoo.load(entry, device="cpu")
    assert type(loaded) is TDMPC2
    assert loaded.get_env().envs[0].spec.id == "Pendulum-v1"
    assert loaded.planner == MPPIPlanner(**PLANNER_KWARGS)
    assert loaded.world_model.size == SIZE
    assert loaded.world_model.episodic == zoo.card(entry).network.episodic
    assert loaded.gamma == loaded.world_model.discount == zoo.card(entry).network.discount


def test_card_tells_how_the_agent_was_made(model: WorldModelAgent, tmp_path: Path) -> None:
    model.num_timesteps = 1234
    written = zoo.save(
        model,
        tmp_path / "here",
        name="tdmpc2-pendulum",
        results=[RESULT],
        command="dream-agents train",
        license="MIT",
    )
    card = zoo.card(tmp_path / "here")
    assert card == written
    assert (card.name, card.agent, card.backbone, card.planner) == (
        "tdmpc2-pendulum",
        "tdmpc2",
        "tdmpc2",
        "mppi",
    )
    assert (card.environment, card.obs_type, card.seed) == ("Pendulum-v1", "state", 3)
    assert (card.decisions, card.frames) == (1234, 1234)
    assert (card.license, card.command, card.authors) == ("MIT", "dream-agents train", ())
    assert card.planner_kwargs == PLANNER_KWARGS
    assert (card.network.obs_shape, card.network.action_dim) == ((3,), 1)
    assert card.size == (tmp_path / "here" / "model.safetensors").stat().st_size
    assert card.versions["torch"] == version("torch")
    assert {"python", "dream-agents", "numpy", "gymnasium", "stable-baselines3"} <= card.versions.keys()
    (result,) = card.results
    assert (result.planner, result.mean, result.measure) == ("mppi", -150.5, "return")


def test_folder_gives_the_name_and_the_agent_its_class(tmp_path: Path) -> None:
    agent = DreamMPC("Pendulum-v1", model_size=SIZE, device="cpu", buffer_size=100)
    card = zoo.save(agent, tmp_path / "dream-mpc-pendulum")
    assert (card.name, card.agent, card.planner, card.planner_kwargs) == (
        "dream-mpc-pendulum",
        "dream_mpc",
        "dream",
        {"uncertainty_coef": 0.1},
    )
    assert type(zoo.load(tmp_path / "dream-mpc-pendulum", device="cpu")) is DreamMPC


def test_half_precision_halves_the_file(model: WorldModelAgent, tmp_path: Path) -> None:
    half = zoo.save(model, tmp_path / "half").size
    full = zoo.save(model, tmp_path / "full", dtype=torch.float32).size
    weights = sum(
        value.numel() for key, value in model.world_model.state_dict().items() if "target" not in key
    )
    assert abs(full - half - 2 * weights) < 100  # numbers in the header have more digits, too
    np.testing.assert_array_equal(actions(zoo.load(tmp_path / "full", device="cpu", seed=3)), actions(model))


def test_same_weights_have_the_same_checksum(model: WorldModelAgent, entry: Path, tmp_path: Path) -> None:
    again = zoo.save(zoo.load(entry, device="cpu"), tmp_path / "again")
    assert again.sha256 == zoo.card(entry).sha256


def test_target_values_start_equal_to_the_values(entry: Path) -> None:
    world_model = zoo.load(entry, device="cpu").world_model
    values, targets = world_model.value_heads.state_dict(), world_model.target_value_heads.state_dict()
    assert values.keys() == targets.keys()
    assert all(torch.equal(values[key], targets[key]) for key in values)


def test_saving_again_replaces_the_entry(model: WorldModelAgent, entry: Path) -> None:
    before = zoo.verify(entry)
    with torch.no_grad():
        model.world_model.policy_head[0].bias.add_(1.0)
    zoo.save(model, entry)
    after = zoo.verify(entry)
    assert after.sha256 != before.sha256
    assert after.results == ()
    assert sorted(path.name for path in entry.iterdir()) == ["card.toml", "model.safetensors"]


def test_results_are_recorded_by_planner(entry: Path) -> None:
    numpy_result = RESULT | {"planner": "dream", "mean": np.float32(-140.0), "std": np.float64(2.5)}
    zoo.record_results(entry, [numpy_result])
    zoo.record_results(entry, [zoo.Result(**RESULT | {"mean": -99.0})])
    results = {result.planner: result for result in zoo.verify(entry).results}
    assert results["dream"].mean == -140.0
    assert results["mppi"].mean == -99.0
    assert len(zoo.card(entry).results) == 2
    with pytest.raises(ZooError, match=r"result\.episodes = 0 is not at least 1"):
        zoo.record_results(entry, [RESULT | {"episodes": 0}])


def test_what_an_evaluation_found_goes_into_the_card(entry: Path) -> None:
    loaded = zoo.load(entry, device="cpu", planner="policy")
    found = evaluate(loaded, episodes=2, seed=5)
    zoo.record_results(entry, [zoo.Result.from_evaluation(found)])
    (result,) = (result for result in zoo.card(entry).results if result.planner == "policy")
    assert (result.mean, result.std, result.episodes, result.seed) == (found.mean, found.std, 2, 5)
    assert result.ms_per_decision > 0
    assert result.device


def test_options_of_a_planner_that_is_not_the_cards_go_into_the_card(entry: Path) -> None:
    loaded = zoo.load(entry, device="cpu")
    planners = ["mppi", "dream", DreamPlanner(candidates=2), MPPIPlanner(**PLANNER_KWARGS | {"samples": 17})]
    found = [evaluate(loaded, planner=planner, episodes=1) for planner in planners]
    zoo.record_results(entry, map(zoo.Result.from_evaluation, found))
    names = [result.planner for result in zoo.verify(entry).results]
    assert names == ["mppi", "dream", "dream (candidates=2)", "mppi (samples=17)"]
    assert found[0].planner_options["samples"] == PLANNER_KWARGS["samples"]
    assert zoo.card(entry).own_mean == found[0].mean


def test_planner_can_be_overridden(entry: Path) -> None:
    assert zoo.load(entry, device="cpu", planner="mppi").planner == MPPIPlanner()
    assert zoo.load(entry, device="cpu", planner=DreamPlanner(candidates=2)).planner == DreamPlanner(
        candidates=2
    )
    options = {"planner": "dream", "planner_kwargs": {"iterations": 2}}
    assert zoo.load(entry, device="cpu", **options).planner == DreamPlanner(iterations=2)
    with pytest.raises(ValueError, match='"dreem" is not a planner; did you mean "dream"'):
        zoo.load(entry, device="cpu", planner="dreem")


def test_learning_goes_on_from_the_weights(entry: Path) -> None:
    loaded = zoo.load(entry, device="cpu", planner="policy", learning_starts=20, batch_size=8, seed=0)
    before = {key: value.clone() for key, value in loaded.world_model.state_dict().items()}
    loaded.learn(24)
    after = loaded.world_model.state_dict()
    trained = ("encoder", "dynamics", "reward_head", "policy_head", "value_heads", "target_value_heads")
    for name in trained:
        changes = [
            float((after[key] - before[key]).abs().max()) for key in after if key.startswith(f"{name}.")
        ]
        assert 0 < max(changes) < 0.1, name
    assert loaded._n_updates == 24


def test_ready_environment_is_used(entry: Path) -> None:
    env = gym.make("Pendulum-v1", g=3.0)
    loaded = zoo.load(entry, env, device="cpu")
    assert loaded.get_env().envs[0].unwrapped is env.unwrapped
    assert zoo.load(entry, device="cpu", env_kwargs={"g": 3.0}).get_env().get_attr("g") == [3.0]


def test_environment_with_other_sizes_is_refused(entry: Path) -> None:
    with pytest.raises(ZooError) as error:
        zoo.load(entry, "MountainCarContinuous-v0", device="cpu")
    text = str(error.value)
    for part in ("tdmpc2-pendulum", "Pendulum-v1", "(3,)", "(2,)", "1 actions"):
        assert part in text


def test_what_the_weights_decide_can_not_be_given(entry: Path) -> None:
    with pytest.raises(ZooError, match=r"backbone, model_size.*tdmpc2-pendulum"):
        zoo.load(entry, device="cpu", model_size="1M", backbone="tdmpc2")


def test_world_model_loads_without_an_environment(
    model: WorldModelAgent, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gym, "make", None)
    world_model = zoo.load_world_model(entry, device="cpu")
    round_weights(model)
    obs = torch.rand(5, 3)
    with torch.no_grad():
        torch.testing.assert_close(
            world_model.observe(obs)[0], model.world_model.observe(obs)[0], rtol=0, atol=0
        )
    assert not world_model.training


def test_weights_that_overflow_are_refused(model: WorldModelAgent, tmp_path: Path) -> None:
    with torch.no_grad():
        model.world_model.encoder[0].bias[0] = 1e5
    with pytest.raises(ZooError, match=r"encoder\.0\.bias as torch\.float16 has values that are infinite"):
        zoo.save(model, tmp_path / "large")
    assert not (tmp_path / "large").exists()


def test_agents_without_a_world_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="not a PPO"):
        zoo.save(PPO("MlpPolicy", "Pendulum-v1", device="cpu"), tmp_path / "ppo")


def test_what_was_learned_behind_vec_normalize_is_refused(tmp_path: Path) -> None:
    for norm_obs in (True, False):
        env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), norm_obs=norm_obs)
        agent = TDMPC2(env, model_size=SIZE, device="cpu", buffer_size=100)
        if norm_obs:
            with pytest.raises(ZooError, match="VecNormalize brought to another scale"):
                zoo.save(agent, tmp_path / "pendulum", environment="Pendulum-v1")
        else:
            assert zoo.save(agent, tmp_path / "pendulum", environment="Pendulum-v1").name == "pendulum"


def test_planner_without_a_name_is_refused(model: WorldModelAgent, tmp_path: Path) -> None:
    class OwnPlanner(MPPIPlanner):
        pass

    model.planner = OwnPlanner()
    with pytest.raises(
        ZooError, match=r"OwnPlanner has no name in the registry.*registry\.planners\.register"
    ):
        zoo.save(model, tmp_path / "own")


def test_backbone_without_sizes_is_refused(
    model: WorldModelAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nameless(TDMPC2Backbone):
        size_class = None

    monkeypatch.setitem(registry.backbones._registered, "tdmpc2", Nameless)
    with pytest.raises(ZooError, match='backbone = "tdmpc2" has no size_class'):
        zoo.save(model, tmp_path / "own")


def test_environment_without_an_id_has_to_be_named(tmp_path: Path) -> None:
    env = gym.make("Pendulum-v1").unwrapped
    env.spec = None
    agent = TDMPC2(gym.wrappers.TimeLimit(env, 20), model_size=SIZE, device="cpu", buffer_size=100)
    with pytest.raises(ZooError, match="pass environment="):
        zoo.save(agent, tmp_path / "pendulum")
    assert zoo.save(agent, tmp_path / "pendulum", environment="Pendulum-v1").environment == "Pendulum-v1"
    with pytest.raises(ValueError, match='"Pendulun-v1" is not an environment; did you mean "Pendulum-v1"'):
        zoo.save(agent, tmp_path / "pendulum", environment="Pendulun-v1")


@pytest.mark.gpu
def test_agent_loads_onto_the_gpu(model: WorldModelAgent, entry: Path) -> None:
    loaded = zoo.load(entry, device="cuda", planner="policy")
    round_weights(model)
    model.planner = "policy"
    assert next(loaded.world_model.parameters()).is_cuda
    np.testing.assert_allclose(actions(loaded), actions(model), atol=1e-3)
