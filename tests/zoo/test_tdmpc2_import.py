"""Checkpoints of TD-MPC2's public code are read and written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from dream_agents import BMPC, TDMPC2, zoo
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.planners.mppi import MPPIPlanner
from dream_agents.zoo import ZooError
from dream_agents.zoo.tdmpc2_import import load_tdmpc2_state_dict, to_tdmpc2_state_dict

BMPC_FILE = "bmpc-tiny.pt"
FILES = {"new": "tdmpc2-tiny.pt", "old": "tdmpc2-tiny-old.pt"}


class SixNumbers(gym.Env[np.ndarray, np.ndarray]):
    """Observes six numbers and takes two."""

    observation_space = spaces.Box(-1, 1, (6,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(6, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(6, np.float32), 0.0, False, False, {}


@pytest.fixture
def changed(checkpoints: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint with some weights changed; ... takes one out."""

    def change(layout: str, **changes: Any) -> Path:
        state = torch.load(checkpoints / FILES[layout], weights_only=True)["model"]
        state |= changes
        torch.save({"model": {k: v for k, v in state.items() if v is not ...}}, tmp_path / "changed.pt")
        return tmp_path / "changed.pt"

    return change


def make_model(path: Path) -> TDMPCWorldModel:
    state, size, obs_dim, action_dim, episodic, backbone = load_tdmpc2_state_dict(path)
    assert backbone == "tdmpc2"
    model = TDMPCWorldModel((obs_dim,), action_dim, size, episodic=episodic)
    model.load_state_dict(state)
    return model


def test_both_layouts_hold_the_same(checkpoints: Path) -> None:
    new, old = (load_tdmpc2_state_dict(checkpoints / name) for name in FILES.values())
    assert new[1:] == old[1:] == (TDMPCSize(32, 48, 64, 2, 5), 6, 2, False, "tdmpc2")
    assert new.state_dict.keys() == old.state_dict.keys()
    assert all(torch.equal(new.state_dict[key], old.state_dict[key]) for key in new.state_dict)


@pytest.mark.parametrize("layout", ["new", "old"])
def test_export_is_what_was_imported(checkpoints: Path, tmp_path: Path, layout: str) -> None:
    original = torch.load(checkpoints / FILES[layout], weights_only=True)["model"]
    exported = to_tdmpc2_state_dict(make_model(checkpoints / FILES[layout]), layout)
    assert exported.keys() == original.keys()
    for key, value in original.items():
        assert exported[key].shape == value.shape, key
        assert exported[key].device == value.device, key
        assert value.is_meta or torch.equal(exported[key].to(value.dtype), value), key
    torch.save({"model": exported}, tmp_path / "again.pt")
    first, again = (
        load_tdmpc2_state_dict(path) for path in (checkpoints / FILES[layout], tmp_path / "again.pt")
    )
    assert all(torch.equal(first.state_dict[key], again.state_dict[key]) for key in first.state_dict)
    assert first[1:] == again[1:]


@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("size", [TDMPCSize(16, 24, 32, 3, 4), TDMPCSize(8, 8, 8, 2, 1)])
def test_other_sizes_and_termination_survive(size: TDMPCSize, layout: str, tmp_path: Path) -> None:
    model = TDMPCWorldModel((5,), 3, size, episodic=True)
    torch.save(to_tdmpc2_state_dict(model, layout), tmp_path / "bare.pt")
    found = load_tdmpc2_state_dict(tmp_path / "bare.pt")
    assert found[1:] == (size, 5, 3, True, "tdmpc2")
    expected = model.state_dict()
    assert found.state_dict.keys() == expected.keys()
    assert all(torch.equal(found.state_dict[key], value) for key, value in expected.items())


@pytest.mark.parametrize("layout", ["new", "old"])
def test_checkpoint_loads_as_an_agent(checkpoints: Path, layout: str) -> None:
    path = checkpoints / FILES[layout]
    agent = zoo.load(str(path), env=gym.wrappers.TimeLimit(SixNumbers(), 100), device="cpu", planner="policy")
    assert type(agent) is TDMPC2
    assert agent.gamma == 0.95
    obs = np.linspace(-1, 1, 18, dtype=np.float32).reshape(3, 6)
    model = make_model(path)
    with torch.no_grad():
        expected = model.policy(model.encode(torch.as_tensor(obs))).mean.numpy()
    np.testing.assert_allclose(agent.predict(obs, deterministic=True)[0], expected, atol=1e-6)
    targets = agent.world_model.target_value_heads.state_dict()
    assert all(
        torch.equal(value, model.target_value_heads.state_dict()[key]) for key, value in targets.items()
    )


def test_agent_of_a_checkpoint_can_be_stored_as_an_entry(checkpoints: Path, tmp_path: Path) -> None:
    agent = zoo.load(checkpoints / FILES["old"], env=SixNumbers(), device="cpu")
    zoo.save(agent, tmp_path / "six-numbers", environment="Pendulum-v1", dtype=torch.float32)
    loaded = zoo.load_world_model(tmp_path / "six-numbers", device="cpu")
    obs = torch.rand(4, 6)
    with torch.no_grad():
        assert torch.equal(loaded.observe(obs)[0], agent.world_model.observe(obs)[0])


def test_bmpc_is_recognised_and_loads_as_its_agent(checkpoints: Path) -> None:
    found = load_tdmpc2_state_dict(checkpoints / BMPC_FILE)
    assert found[1:] == (TDMPCSize(32, 48, 64, 2, 2), 6, 2, False, "bmpc")
    agent = zoo.load(checkpoints / BMPC_FILE, env=gym.wrappers.TimeLimit(SixNumbers(), 100), device="cpu")
    assert type(agent) is BMPC
    assert agent.backbone_name == "bmpc"
    assert agent.planner == MPPIPlanner()
    loaded = agent.world_model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in found.state_dict.items())


def test_bmpc_of_the_golden_values_gives_its_outputs(shared: Path) -> None:
    """`tests/models/test_golden.py` compares every output of every file; this is the way through the zoo."""
    folder = shared / "golden" / "world_models"
    agent = zoo.load(folder / BMPC_FILE, env=SixNumbers(), device="cpu")
    with np.load(folder / "bmpc-tiny.npz") as golden, torch.no_grad():
        z = agent.world_model.observe(torch.as_tensor(golden["obs"]))[0]
        values = agent.world_model.values(z, None).unsqueeze(-1)
        np.testing.assert_allclose(z, golden["z"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(agent.world_model.policy(z).mean, golden["pi_mean"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(values, golden["value"], rtol=1e-5, atol=1e-5)


def test_bmpc_export_is_what_was_imported(checkpoints: Path, tmp_path: Path) -> None:
    original = torch.load(checkpoints / BMPC_FILE, weights_only=True)["model"]
    agent = zoo.load(checkpoints / BMPC_FILE, env=SixNumbers(), device="cpu")
    for layout in ("new", "old"):
        zoo.export(agent, tmp_path / f"{layout}.pt", layout=layout)
        again = load_tdmpc2_state_dict(tmp_path / f"{layout}.pt")
        assert again.backbone == "bmpc"
        own = agent.world_model.state_dict()
        assert all(torch.equal(again.state_dict[key], own[key]) for key in own)
    exported = torch.load(tmp_path / "new.pt", weights_only=True)["model"]
    assert exported.keys() == original.keys()
    for key, value in original.items():
        assert exported[key].shape == value.shape, key
        assert value.is_meta or torch.equal(exported[key].to(value.dtype), value), key


def test_bmpc_with_another_policy_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoints / BMPC_FILE, weights_only=True)["model"]
    torch.save({"model": state | {"expl_log_std_min": torch.tensor(-4.0)}}, tmp_path / "changed.pt")
    with pytest.raises(ZooError, match=r"expl_log_std_min is not -2\.0, as in every public model of BMPC"):
        load_tdmpc2_state_dict(tmp_path / "changed.pt")


def test_checkpoint_needs_an_environment_that_fits(checkpoints: Path) -> None:
    with pytest.raises(ZooError, match="pass env="):
        zoo.load(checkpoints / FILES["old"])
    with pytest.raises(ZooError, match=r"shape \(6,\) and gives 2 actions.*shape \(3,\) and 1 actions"):
        zoo.load(checkpoints / FILES["old"], env="Pendulum-v1", device="cpu")


@pytest.mark.parametrize("layout", ["new", "old"])
def test_missing_and_unknown_weights_are_named(layout: str, changed: Callable[..., Path]) -> None:
    with pytest.raises(ZooError, match=r"_pi\.1\.bias is missing.*_pi\.1\.offset is unknown"):
        load_tdmpc2_state_dict(changed(layout, **{"_pi.1.bias": ..., "_pi.1.offset": torch.zeros(3)}))
    with pytest.raises(ZooError, match=r"_encoder\.state\.0\.weight is missing"):
        load_tdmpc2_state_dict(changed(layout, **{"_encoder.state.0.weight": ...}))
    first = "_Qs.params.0.weight" if layout == "new" else "_Qs.params.0"
    with pytest.raises(ZooError, match=r"_Qs\.params\.0.* is "):
        load_tdmpc2_state_dict(changed(layout, **{first: ...}))


@pytest.mark.parametrize("layout", ["new", "old"])
def test_wrong_shapes_name_both_sides(layout: str, changed: Callable[..., Path]) -> None:
    last = "_target_Qs_params.2.bias" if layout == "new" else "_target_Qs.params.9"
    with pytest.raises(ZooError) as error:
        load_tdmpc2_state_dict(changed(layout, **{last: torch.zeros(4, 101)}))
    assert f"{last} has shape (4, 101)" in str(error.value)
    assert "(5, 101)" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_task_emb.weight": torch.zeros(3, 96)}, "multi-task"),
        ({"_encoder.rgb.2.weight": torch.zeros(32, 9, 7, 7)}, "takes images"),
        ({"log_std_min": torch.tensor(-5)}, "log_std_min is not -10"),
        (
            {"_pi.0.bias": torch.full((48,), float("nan"))},
            r"_pi\.0\.bias has values that are infinite or not",
        ),
        ({"_pi.0.bias": torch.zeros(1).expand(10**15)}, "fewer numbers are stored for it"),
        ({"_pi.0.bias": "text"}, r"_pi\.0\.bias is a str, not a tensor"),
        ({"_dynamics.0.weight": torch.zeros(48, 64)}, "leaves no action"),
        ({"_dynamics.0.weight": torch.zeros(48)}, r"_dynamics\.0\.weight has shape \(48,\)"),
        (
            {"_encoder.state.1.weight": torch.zeros(60, 32)},
            "latent_dim=60 is not a multiple of simnorm_dim=8",
        ),
    ],
)
def test_what_is_no_single_task_model_of_states_is_refused(
    changes: dict[str, Any], message: str, changed: Callable[..., Path]
) -> None:
    with pytest.raises(ZooError, match=message):
        load_tdmpc2_state_dict(changed("old", **changes))


def test_values_with_and_without_action_do_not_go_together(changed: Callable[..., Path]) -> None:
    """Values that take no action are BMPC's."""
    with pytest.raises(ZooError, match=r"BMPC.*_target_Qs\.params\.0 has shape \(5, 48, 66\).*\(5, 48, 64\)"):
        load_tdmpc2_state_dict(changed("old", **{"_Qs.params.0": torch.zeros(5, 48, 64)}))


def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(ZooError, match=r"model\.pt is not a checkpoint"):
        zoo.load(path)
    path.write_text("hello")
    with pytest.raises(ZooError, match=r"model\.pt is not a checkpoint"):
        load_tdmpc2_state_dict(path)
    torch.save([torch.zeros(2)], path)
    with pytest.raises(ZooError, match="holds a list"):
        load_tdmpc2_state_dict(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ZooError, match=r"model\.pt is not a checkpoint"):
        load_tdmpc2_state_dict(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (tmp_path / "exploded",)

    torch.save({"model": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(ZooError, match="not a checkpoint that can be read as plain weights"):
        load_tdmpc2_state_dict(tmp_path / "bomb.pt")
    assert not (tmp_path / "exploded").exists()


def test_only_public_layouts_and_policies_are_exported() -> None:
    model = TDMPCWorldModel((3,), 1, TDMPCSize(8, 8, 8, 2, 2))
    with pytest.raises(ZooError, match="layout = 'newest'"):
        to_tdmpc2_state_dict(model, "newest")
    model.log_std_min = -5.0
    with pytest.raises(ZooError, match=r"\[-5\.0, 2\.0\]"):
        to_tdmpc2_state_dict(model)
