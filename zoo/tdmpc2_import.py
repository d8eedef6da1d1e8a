"""Checkpoints of the public code of TD-MPC2 (Hansen et al. 2024), in both layouts that it has written, and of BMPC.

BMPC's code (Wang et al. 2025) is made from TD-MPC2's and names its weights alike; its values take no action, by which
its files are recognised.

A file holds a dictionary with the key ``model``. Both layouts name encoder, dynamics, reward, termination and policy
alike, layer by layer, and stack the members of the value ensemble on the first axis. They differ in the ensemble's
names: "old" numbers its tensors, ``_Qs.params.0`` to ``.9``, and is that of the 324 published checkpoints; "new",
since April 2025, names them, ``_Qs.params.0.weight``, and repeats them under further names.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import torch
from torch import Tensor

from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.tdmpc import ImplicitWorldModel, TDMPCSize, TDMPCWorldModel
from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.official import UNREADABLE_REASON
from dream_agents.zoo.weights import check_plain, check_weights, compare_shapes

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
_TITLES = {"tdmpc2": "TD-MPC2", "bmpc": "BMPC"}
#: Keys of a layout before the first release, which has the dynamics' layers in a list in a list.
_BEFORE_RELEASE = re.compile(r"_dynamics\.\d+\.\d+\.")
_BOOKKEEPING = ("__batch_size", "__device")  # of the containers, not tensors

_MODELS: dict[str, type[ImplicitWorldModel]] = {"tdmpc2": TDMPCWorldModel, "bmpc": BMPCWorldModel}
#: Ends of the ranges of the policy's log standard deviation in every public model, by the names that "new" stores them
#: under: "<name>_min", and "<name>_dif" for the width.
_RANGES = {
    "tdmpc2": {"log_std": (-10.0, 2.0)},
    "bmpc": {"log_std": (-3.0, 1.0), "expl_log_std": (-2.0, 1.0)},
}
#: Attributes of our models that hold them.
_OWN_RANGES = {"log_std": "log_std", "expl_log_std": "replanning_log_std"}


class PublicCheckpoint(NamedTuple):
    """What a checkpoint of TD-MPC2 or BMPC holds.

    ``state_dict`` fits the backbone's world model ``((obs_dim,), action_dim, size, episodic=episodic)``.
    """

    state_dict: dict[str, Tensor]
    size: TDMPCSize
    obs_dim: int
    action_dim: int
    episodic: bool
    backbone: str

    def for_task(self, episodic: bool) -> PublicCheckpoint:
        """Leave out a termination head that nothing ever asked, and so never trained.

        Code of TD-MPC2 of 15 April to 2 May 2025 saved one for every task.

        :param episodic: whether the task can end before its time limit
        """
        if episodic or not self.episodic:
            return self
        state = {key: v for key, v in self.state_dict.items() if not key.startswith("termination_head.")}
        return self._replace(state_dict=state, episodic=False)


def load_tdmpc2_state_dict(path: str | Path, data: bytes | None = None) -> PublicCheckpoint:
    """Read a single-task checkpoint for state observations, with ``torch.load(weights_only=True)``.

    Sizes and backbone follow from the shapes. ``episodic`` says that there is a termination head; whether it counts
    depends on the task, see :meth:`PublicCheckpoint.for_task`.

    :param path: the file
    :param data: its contents, where they were read already
    :raises ZooError: if the file can't be read or holds something else, naming the tensors that don't fit
    """
    path = Path(path)
    stored = _read(path, data)
    layout: Layout = "new" if "_Qs.params.0.weight" in stored else "old"
    size, obs_dim, action_dim, backbone = _infer_sizes(stored, layout, path)
    _take_ranges(stored, backbone, path)
    episodic = any(key.startswith("_termination.") for key in stored)
    with torch.device("meta"):
        model_state = _MODELS[backbone]((obs_dim,), action_dim, size, episodic=episodic).state_dict()
    expected = {key: tuple(value.shape) for key, value in _rename(model_state, layout).items()}
    found = {key: tuple(value.shape) for key, value in stored.items()}
    compare_shapes(found, expected, str(path), f"{_TITLES[backbone]} with {size}")
    names = {key: public_key(key, layout) for key in model_state}
    state = {key: check_weights(f"{path}: {name}", stored[name]) for key, name in names.items()}
    return PublicCheckpoint(state, size, obs_dim, action_dim, episodic, backbone)


def to_tdmpc2_state_dict(world_model: ImplicitWorldModel, layout: Layout = "new") -> dict[str, Tensor]:
    """Name a world model's weights as the public code does: ``torch.save({"model": ...}, "name.pt")`` it.

    :param world_model: of TD-MPC2 or BMPC, for state observations
    :param layout: "new" for the code since April 2025, "old" for the code before it
    :raises ZooError: for an unknown layout, and for a model that the public code doesn't have
    """
    if layout not in _ENSEMBLES:
        raise ZooError(f'layout = {layout!r} is not "new" or "old"')
    backbones = [name for name, kind in _MODELS.items() if isinstance(world_model, kind)]
    if not backbones or isinstance(world_model.obs_shape, Mapping) or len(world_model.obs_shape) != 1:
        raise ZooError(
            f"a {type(world_model).__name__} for observations of shape {world_model.obs_shape} has no public layout; "
            f"models of {' and '.join(_TITLES.values())} for vectors have one"
        )
    ranges = _RANGES[backbones[0]]
    for name, limits in ranges.items():
        own = tuple(getattr(world_model, f"{_OWN_RANGES[name]}_{end}") for end in ("min", "max"))
        if own != limits:
            raise ZooError(
                f"the policy's {_OWN_RANGES[name]} lies in {list(own)}, {_TITLES[backbones[0]]}'s in {list(limits)}"
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
    for name, (low, high) in ranges.items():
        renamed[f"{name}_min"] = torch.tensor(low)
        renamed[f"{name}_dif"] = torch.tensor(high - low)
    return renamed


def _read(path: Path, content: bytes | None) -> dict[str, Tensor]:
    """Read the tensors that say something, and refuse models that are not ours."""
    try:
        with path.open("rb") if content is None else io.BytesIO(content) as file:
            _check_archive(file)
            data: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in the unpickler
        reason = str(error).partition("\n")[0]
        raise ZooError(f"{path} is not a checkpoint that can be read as plain weights: {reason}") from error
    state = data.get("model", data) if isinstance(data, dict) else data
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ZooError(f"{path} holds a {type(state).__name__}, not a dictionary of named weights")
    state = {
        key: value
        for key, value in state.items()
        if not key.endswith(_BOOKKEEPING) and not key.startswith(_REPEATED)
    }
    for key, value in state.items():
        check_plain(f"{path}: {key}", value)
    if any(_BEFORE_RELEASE.match(key) for key in state):
        raise ZooError(f"{path} is {UNREADABLE_REASON}")
    if any(key.startswith(("_task_emb.", "_action_masks")) for key in state):
        raise ZooError(
            f"{path} is a multi-task checkpoint (it has a task embedding); single-task ones can be read"
        )
    if any(key.startswith("_encoder.rgb.") for key in state):
        raise ZooError(f"{path} takes images; checkpoints for state observations can be read")
    return state


def _check_archive(file: BinaryIO) -> None:
    """Refuse archives that unpack to more than they are, which PyTorch would do; it packs nothing itself.

    :raises ValueError: if it is one
    """
    if not zipfile.is_zipfile(file):
        file.seek(0)
        return
    with zipfile.ZipFile(file) as archive:
        packed = [entry for entry in archive.infolist() if entry.file_size != entry.compress_size]
    if packed:
        raise ValueError(f"{packed[0].filename} in it is compressed, which torch.save never does")
    file.seek(0)


def _take_ranges(stored: dict[str, Tensor], backbone: str, path: Path) -> None:
    """Take out the ranges of the policy's standard deviation, which have to be the same as in every public model."""
    for name, (low, high) in _RANGES[backbone].items():
        for key, expected in ((f"{name}_min", low), (f"{name}_dif", high - low)):
            if key in stored and not torch.equal(stored.pop(key).float(), torch.tensor(expected)):
                raise ZooError(
                    f"{path}: {key} is not {expected}, as in every public model of {_TITLES[backbone]}"
                )


def _infer_sizes(stored: Mapping[str, Tensor], layout: Layout, path: Path) -> tuple[TDMPCSize, int, int, str]:
    """Widths, observation size, number of actions and backbone from the shapes."""

    def shape(key: str, dimensions: int) -> tuple[int, ...]:
        if key not in stored:
            raise ZooError(f"{path} is not a checkpoint of TD-MPC2 or BMPC: {key} is missing")
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
    num_values, _, value_dim = shape("_Qs.params.0.weight" if layout == "new" else "_Qs.params.0", 3)
    try:
        size = TDMPCSize(enc_dim, mlp_dim, latent_dim, layers, num_values)
    except ValueError as error:
        raise ZooError(f"{path}: {error}") from error
    if z_action_dim <= latent_dim:
        raise ZooError(
            f"{path}: _dynamics.0.weight takes {z_action_dim} numbers, which leaves no action after the latent's "
            f"{latent_dim}"
        )
    return size, obs_dim, z_action_dim - latent_dim, "bmpc" if value_dim == latent_dim else "tdmpc2"


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
