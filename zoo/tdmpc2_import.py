"""Checkpoints of the public code of TD-MPC2 (Hansen et al. 2024), in both layouts that it has written.

A file holds a dictionary with the key ``model``. Both layouts name encoder, dynamics, reward, termination and policy
alike, layer by layer, and stack the members of the value ensemble on the first axis. They differ in the ensemble's
names: "old" numbers its tensors, ``_Qs.params.0`` to ``.9``, and is that of the 324 published checkpoints; "new",
since April 2025, names them, ``_Qs.params.0.weight``, and repeats them under further names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.zoo.cards import ZooError
from dream_agents.zoo.weights import check_finite, compare_shapes

Layout = Literal["new", "old"]

_NETWORKS = {
    "encoder": "_encoder.state",
    "dynamics": "_dynamics",
    "reward_head": "_reward",
    "termination_head": "_termination",
    "policy_head": "_pi",
}
_ENSEMBLES: dict[Layout, dict[str, str]] = {
    "new": {"value_heads": "_Qs.params", "target_value_heads": "_target_Qs_params"},
    "old": {"value_heads": "_Qs.params", "target_value_heads": "_target_Qs.params"},
}
_LEAVES = ("weight", "bias", "ln.weight", "ln.bias")  # of a layer, in the order in which "old" counts them
_REPEATED = ("_Qs.module.", "_detach_Qs.", "_detach_Qs_params.", "_target_Qs.module.")
_BOOKKEEPING = ("__batch_size", "__device")  # of the containers, not tensors
_LOG_STD_MIN, _LOG_STD_MAX = -10.0, 2.0  # of every public model


class TDMPC2Checkpoint(NamedTuple):
    """What a checkpoint of TD-MPC2 holds.

    ``state_dict`` fits ``TDMPCWorldModel((obs_dim,), action_dim, size, episodic=episodic)``.
    """

    state_dict: dict[str, Tensor]
    size: TDMPCSize
    obs_dim: int
    action_dim: int
    episodic: bool


def load_tdmpc2_state_dict(path: str | Path) -> TDMPC2Checkpoint:
    """Read a single-task checkpoint for state observations, with ``torch.load(weights_only=True)``.

    Sizes follow from the shapes.

    :raises ZooError: if the file can't be read or holds something else, naming the tensors that don't fit
    """
    path = Path(path)
    stored = _read(path)
    layout: Layout = "new" if "_Qs.params.0.weight" in stored else "old"
    size, obs_dim, action_dim = _infer_sizes(stored, layout, path)
    episodic = any(key.startswith("_termination.") for key in stored)
    with torch.device("meta"):
        model_state = TDMPCWorldModel((obs_dim,), action_dim, size, episodic=episodic).state_dict()
    expected = {key: tuple(value.shape) for key, value in _rename(model_state, layout).items()}
    found = {key: tuple(value.shape) for key, value in stored.items()}
    compare_shapes(found, expected, str(path), f"TD-MPC2 with {size}")
    state = {key: stored[public_key(key, layout)].float() for key in model_state}
    for key, value in state.items():
        check_finite(f"{path}: {public_key(key, layout)}", value)
    return TDMPC2Checkpoint(state, size, obs_dim, action_dim, episodic)


def to_tdmpc2_state_dict(world_model: TDMPCWorldModel, layout: Layout = "new") -> dict[str, Tensor]:
    """Name a world model's weights as the public code does: ``torch.save({"model": ...}, "name.pt")`` it.

    :param layout: "new" for the code since April 2025, "old" for the code before it
    :raises ZooError: for an unknown layout, and for a policy that the public code doesn't have
    """
    if layout not in _ENSEMBLES:
        raise ZooError(f'layout = {layout!r} is not "new" or "old"')
    if (world_model.log_std_min, world_model.log_std_max) != (_LOG_STD_MIN, _LOG_STD_MAX):
        raise ZooError(
            f"the policy's log standard deviation lies in [{world_model.log_std_min}, {world_model.log_std_max}], "
            f"TD-MPC2's in [{_LOG_STD_MIN}, {_LOG_STD_MAX}]"
        )
    renamed = _rename(world_model.state_dict(), layout)
    if layout == "old":
        return renamed
    ensemble = {
        key.removeprefix("_Qs.params."): v for key, v in renamed.items() if key.startswith("_Qs.params.")
    }
    for leaf, value in ensemble.items():
        renamed[f"_Qs.module.{leaf}"] = torch.empty_like(value[0], device="meta")
        renamed[f"_detach_Qs_params.{leaf}"] = value
        renamed[f"_detach_Qs.module.{leaf}"] = torch.empty_like(value, device="meta")
        renamed[f"_target_Qs.module.{leaf}"] = torch.empty_like(value, device="meta")
    renamed["log_std_min"] = torch.tensor(_LOG_STD_MIN)
    renamed["log_std_dif"] = torch.tensor(_LOG_STD_MAX - _LOG_STD_MIN)
    return renamed


def _read(path: Path) -> dict[str, Tensor]:
    """Read the tensors that say something, and refuse models that are not ours."""
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in the unpickler
        reason = str(error).partition("\n")[0]
        raise ZooError(f"{path} is not a checkpoint that can be read as plain weights: {reason}") from error
    state = data.get("model", data) if isinstance(data, dict) else data
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ZooError(f"{path} holds a {type(state).__name__}, not a dictionary of named weights")
    state = {key: value for key, value in state.items() if not key.endswith(_BOOKKEEPING)}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise ZooError(f"{path}: {key} is a {type(value).__name__}, not a tensor")
    if any(key.startswith(("_task_emb.", "_action_masks")) for key in state):
        raise ZooError(
            f"{path} is a multi-task checkpoint (it has a task embedding); single-task ones can be read"
        )
    if any(key.startswith("_encoder.rgb.") for key in state):
        raise ZooError(f"{path} takes images; checkpoints for state observations can be read")
    for key, expected in (("log_std_min", _LOG_STD_MIN), ("log_std_dif", _LOG_STD_MAX - _LOG_STD_MIN)):
        if key in state and not torch.equal(state.pop(key).float(), torch.tensor(expected)):
            raise ZooError(f"{path}: {key} is not {expected}, as in every public model of TD-MPC2")
    return {key: value for key, value in state.items() if not key.startswith(_REPEATED)}


def _infer_sizes(stored: Mapping[str, Tensor], layout: Layout, path: Path) -> tuple[TDMPCSize, int, int]:
    """Widths, observation size and number of actions from the shapes."""

    def shape(key: str, dimensions: int) -> tuple[int, ...]:
        if key not in stored:
            raise ZooError(f"{path} is not a checkpoint of TD-MPC2: {key} is missing")
        if stored[key].dim() != dimensions or 0 in stored[key].shape:
            found = tuple(stored[key].shape)
            raise ZooError(f"{path}: {key} has shape {found}, expected {dimensions} dimensions above 0")
        return tuple(stored[key].shape)

    enc_dim, obs_dim = shape("_encoder.state.0.weight", 2)
    layers = 1
    while f"_encoder.state.{layers}.weight" in stored:
        layers += 1
    latent_dim, _ = shape(f"_encoder.state.{layers - 1}.weight", 2)
    mlp_dim, z_action_dim = shape("_dynamics.0.weight", 2)
    num_values, *_ = shape("_Qs.params.0.weight" if layout == "new" else "_Qs.params.0", 3)
    size = TDMPCSize(enc_dim, mlp_dim, latent_dim, layers, num_values)
    if latent_dim % size.simnorm_dim != 0:
        raise ZooError(f"{path}: the latent's width {latent_dim} is not a multiple of {size.simnorm_dim}")
    if z_action_dim <= latent_dim:
        raise ZooError(
            f"{path}: _dynamics.0.weight takes {z_action_dim} numbers, which leaves no action beside the latent's "
            f"{latent_dim}"
        )
    return size, obs_dim, z_action_dim - latent_dim


def _rename(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Our state dict under the file's names."""
    return {public_key(key, layout): value for key, value in state.items()}


def public_key(key: str, layout: Layout) -> str:
    """Translate a name in the state dict of our TD-MPC2 or BMPC into that of the public codes, which agree in them."""
    network, _, rest = key.partition(".")
    if network in _NETWORKS:
        return f"{_NETWORKS[network]}.{rest}"
    layer, _, leaf = rest.partition(".")
    name = rest if layout == "new" else str(len(_LEAVES) * int(layer) + _LEAVES.index(leaf))
    return f"{_ENSEMBLES[layout][network]}.{name}"
