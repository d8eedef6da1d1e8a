"""World models give what the original implementations give for the same weights."""

import ast
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.heads import TwoHot
from dream_agents.models.tdmpc import ImplicitWorldModel, TDMPCWorldModel
from dream_agents.zoo.tdmpc2_import import load_tdmpc2_state_dict

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module", params=["tdmpc2-tiny.pt", "tdmpc2-tiny-old.pt", "bmpc-tiny.pt"])
def weights(request: pytest.FixtureRequest, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights as the original implementations write it."""
    path = tmp_path_factory.mktemp("golden") / request.param
    archive_name = f"{path.stem.removesuffix('-old')}.tar.xz"
    with tarfile.open(checkout / "tests" / "data" / archive_name) as archive:
        content = archive.extractfile(path.name)
        assert content is not None
        path.write_bytes(content.read())
    return path


@pytest.fixture(scope="module")
def golden(weights: Path, checkout: Path) -> dict[str, np.ndarray]:
    with np.load(checkout / "tests" / "data" / f"{weights.stem.removesuffix('-old')}.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def meta(golden: dict[str, np.ndarray]) -> dict[str, int]:
    return ast.literal_eval(str(golden["meta"]))


@pytest.fixture(scope="module")
def world_model(weights: Path) -> ImplicitWorldModel:
    checkpoint = load_tdmpc2_state_dict(weights)
    kind = BMPCWorldModel if weights.stem.startswith("bmpc") else TDMPCWorldModel
    assert (checkpoint.backbone == "bmpc") == (kind is BMPCWorldModel)
    model = kind((checkpoint.obs_dim,), checkpoint.action_dim, checkpoint.size, episodic=checkpoint.episodic)
    model.load_state_dict(checkpoint.state_dict)
    return model.eval()


def outputs(model: ImplicitWorldModel, golden: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Everything that the golden file holds; networks after the encoder are given the golden ``z``."""
    obs, action, z = (torch.as_tensor(golden[name]) for name in ("obs", "action", "z"))
    valued = torch.cat((z, action), -1) if model.takes_action_in_value else z
    with torch.no_grad():
        return {
            "z": model.observe(obs)[0],
            "z_next": model.next(z, action),
            "reward_logits": model.reward_logits(z, action),
            "reward": model.reward(z, action).unsqueeze(-1),
            "pi_mean": model.policy(z).mean,
            "pi_log_std": model.policy(z).log_std,
            "value_logits": model.value_logits(z, action),
            "value": model.values(z, action).unsqueeze(-1),
            "target_value_logits": model.target_value_heads(valued),
        }


def test_sizes_follow_from_the_checkpoint(world_model: ImplicitWorldModel, meta: dict[str, int]) -> None:
    size = world_model.size
    assert (world_model.obs_shape, world_model.action_dim) == ((meta["obs_dim"],), meta["action_dim"])
    assert (size.enc_dim, size.mlp_dim, size.latent_dim) == (
        meta["enc_dim"],
        meta["mlp_dim"],
        meta["latent_dim"],
    )
    assert (size.num_values, size.simnorm_dim) == (meta["num_q"], meta["simnorm_dim"])
    assert (world_model.log_std_min, world_model.log_std_max) == (meta["log_std_min"], meta["log_std_max"])


def test_every_output_is_the_originals(
    world_model: ImplicitWorldModel, golden: dict[str, np.ndarray]
) -> None:
    own = outputs(world_model, golden)
    assert own.keys() | {"obs", "action", "meta", "two_hot_in", "two_hot"} == golden.keys()
    for name, output in own.items():
        assert output.shape == golden[name].shape, name
        np.testing.assert_allclose(output.numpy(), golden[name], **TOLERANCE, err_msg=name)


def test_chosen_values_are_those_of_all(
    world_model: ImplicitWorldModel, golden: dict[str, np.ndarray]
) -> None:
    members = [world_model.num_values - 1, 0]
    z, action = torch.as_tensor(golden["z"]), torch.as_tensor(golden["action"])
    with torch.no_grad():
        chosen = world_model.values(z, action, members).unsqueeze(-1)
    np.testing.assert_allclose(chosen.numpy(), golden["value"][members], **TOLERANCE)


def test_outputs_do_not_depend_on_how_inputs_are_batched(
    world_model: ImplicitWorldModel, golden: dict[str, np.ndarray]
) -> None:
    """Kernels for large inputs are others than those for small ones."""
    repeats = 400
    large = {name: np.tile(golden[name], (repeats, 1)) for name in ("obs", "action", "z")}
    for name, output in outputs(world_model, large).items():
        last = output[..., -len(golden["obs"]) :, :]
        np.testing.assert_allclose(last.numpy(), golden[name], **TOLERANCE, err_msg=name)


def test_scalars_are_classified_as_by_tdmpc2(golden: dict[str, np.ndarray]) -> None:
    scalars = torch.as_tensor(golden["two_hot_in"]).squeeze(-1)
    two_hot = TwoHot().encode(scalars)
    np.testing.assert_allclose(two_hot.numpy(), golden["two_hot"], **TOLERANCE)
    inside = scalars.abs() < np.expm1(10)
    decoded = TwoHot().decode(two_hot[inside].clamp(min=1e-30).log())
    torch.testing.assert_close(decoded, scalars[inside], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "factor"), [(torch.float16, 1.0), (torch.bfloat16, 8.0)])
def test_rounded_weights_give_nearly_the_same(
    world_model: ImplicitWorldModel, golden: dict[str, np.ndarray], dtype: torch.dtype, factor: float
) -> None:
    """float16 is what the zoo stores; bfloat16 has 8 times coarser steps."""
    exact = {key: value.clone() for key, value in world_model.state_dict().items()}
    try:
        world_model.load_state_dict({key: value.to(dtype).float() for key, value in exact.items()})
        own = outputs(world_model, golden)
    finally:
        world_model.load_state_dict(exact)
    bounds = {"z": 1e-3, "z_next": 1e-3, "pi_mean": 1e-3, "reward_logits": 2e-3, "value_logits": 2e-3}
    for name, bound in bounds.items():
        error = np.abs(own[name].numpy() - golden[name]).max()
        assert 0 < error < factor * bound, f"{name} is off by {error}"
