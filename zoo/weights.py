"""Weights of an entry: a safetensors file whose every tensor's name and shape follow from the card.

A network ``target_<name>`` is not stored: it lags behind ``<name>``, with which it is made equal on loading.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from dream_agents.learners.base import get_backbone
from dream_agents.models.base import WorldModel
from dream_agents.models.packing import ObsShape
from dream_agents.registry import PluginError, UnknownNameError
from dream_agents.zoo.cards import Card, Network
from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.files import checksum

_TARGET = "target_"

#: What weights with fractions may be stored as.
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def get_size_class(backbone: str) -> Any:
    """Look up the dataclass that holds the sizes of a backbone's networks.

    :raises ZooError: for an unknown backbone, and one whose models the zoo can't store
    """
    try:
        size_class = get_backbone(backbone).size_class
    except (UnknownNameError, PluginError, TypeError) as error:
        raise ZooError(f'backbone = "{backbone}": {error}') from error
    if size_class is None:
        raise ZooError(f'backbone = "{backbone}" has no size_class, the dataclass of sizes that a card holds')
    return size_class


def describe_network(world_model: WorldModel, backbone: str, obs_shape: ObsShape, options: Any) -> Network:
    """Write down the sizes of a world model, so that :func:`build_world_model` makes one with the same shapes.

    :param options: keyword arguments of the networks other than their size
    :raises ZooError: for networks that the zoo can't store
    """
    size = getattr(world_model, "size", None)
    if not isinstance(size, get_size_class(backbone)):
        raise ZooError(f"the world model's size is {size!r}, not a {get_size_class(backbone).__name__}")
    return Network(
        obs_shape=dict(obs_shape) if isinstance(obs_shape, Mapping) else obs_shape,
        action_dim=world_model.action_dim,
        discount=float(world_model.discount),
        episodic=world_model.episodic,
        model_size=dataclasses.asdict(size),
        options=options,
    )


def make_size(backbone: str, model_size: Mapping[str, int]) -> Any:
    """Make the backbone's size from a card's ``network.model_size``.

    :raises ZooError: naming fields that are missing or unknown
    """
    size_class = get_size_class(backbone)
    expected = {field.name for field in dataclasses.fields(size_class)}
    if model_size.keys() != expected:
        raise ZooError(
            f"network.model_size has the fields {sorted(model_size)}; {size_class.__name__} of the backbone "
            f'"{backbone}" has {sorted(expected)}'
        )
    try:
        return size_class(**model_size)
    except Exception as error:  # of another package, too
        raise ZooError(f"network.model_size = {dict(model_size)} can't be used: {error}") from error


def network_options(network: Network, backbone: str) -> dict[str, Any]:
    """Options of a card's networks, with what cards of earlier versions leave out.

    :raises ZooError: for networks that this version does not have
    """
    try:
        return get_backbone(backbone).complete_model_kwargs(network.options)
    except Exception as error:  # the backbone may be a stranger's
        raise ZooError(f"network.options = {network.options} can't be used: {error}") from error


def build_world_model(network: Network, backbone: str) -> WorldModel:
    """Make the networks of a card, on PyTorch's current default device.

    :raises ZooError: if they can't be made
    """
    size, options = make_size(backbone, network.model_size), network_options(network, backbone)
    try:
        return get_backbone(backbone).build_world_model(
            network.obs_shape,
            network.action_dim,
            model_size=size,
            discount=network.discount,
            episodic=network.episodic,
            **options,
        )
    except Exception as error:  # sizes and options are a stranger's, and may fail anywhere in the networks
        raise ZooError(
            f"the card's network can't be made with the backbone \"{backbone}\": {error}"
        ) from error


def pack(world_model: WorldModel, dtype: torch.dtype) -> bytes:
    """Contents of a weights' file.

    :param dtype: to which numbers with fractions are rounded
    :raises ZooError: naming weights that are not numbers or too large for ``dtype``
    """
    tensors = {}
    for key, value in _stored(world_model.state_dict()).items():
        tensor = value.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.to(dtype)
            check_finite(f"{key} as {dtype}", tensor)
        tensors[key] = tensor.contiguous()
    return save_safetensors(tensors, metadata={"format": "pt"})


def read_checked(path: Path, card: Card) -> bytes:
    """Read a file of weights whose size and checksum are the card's.

    :raises ZooError: if it is missing or another one, naming both sides
    """
    try:
        size = path.stat().st_size
        if size != card.size:
            raise ZooError(
                f"{path} has {size} bytes, its card says {card.size}: it was cut off or replaced; "
                "put the original file back"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error}") from error
    if checksum(data) != card.sha256:
        raise ZooError(
            f"{path} has the SHA-256 {checksum(data)}, its card says {card.sha256}: "
            "it was changed; put the original file back"
        )
    return data


def unpack(data: bytes, path: Path, card: Card) -> dict[str, Tensor]:
    """Read what :func:`pack` wrote, as a whole state dict in float32.

    :param path: where it was read, for messages
    :raises ZooError: if names, shapes or values are not as they should be
    """
    try:
        tensors = load_safetensors(data)
    except Exception as error:  # kinds of numbers that the library knows and PyTorch does not are a KeyError
        raise ZooError(f"{path} is not a safetensors file: {error}") from error
    with torch.device("meta"):
        expected = build_world_model(card.network, card.backbone).state_dict()
    compare_shapes(_shapes(tensors), _shapes(_stored(expected)), str(path), "its card's network")
    for key, tensor in tensors.items():
        kind = expected[key].dtype
        if tensor.dtype != kind and not (kind in _FLOATS and tensor.dtype in _FLOATS):
            raise ZooError(f"{path}: {key} is {tensor.dtype}, the network's is {kind}")
        tensors[key] = tensor.to(kind)
        check_finite(f"{path}: {key}", tensors[key])
    sources = {key: key if key in tensors else key.removeprefix(_TARGET) for key in expected}
    return {key: tensors[source].clone() for key, source in sources.items()}


def check_plain(name: str, tensor: object) -> None:
    """Check that something is a tensor whose numbers are all stored, as they are.

    :param name: what it is, for the message
    :param tensor: what was read from a file that need not be a tensor, or may be one that computes what it holds
    :raises ZooError: naming its kind if it is not
    """
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        raise ZooError(f"{name} is a {type(tensor).__name__}, not a tensor")
    assert isinstance(tensor, Tensor)
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        kind = (
            "without numbers"
            if tensor.is_meta
            else "quantized"
            if tensor.is_quantized
            else f"{tensor.layout}"
        )
        raise ZooError(f"{name} is a tensor of another kind ({kind}) than weights are")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ZooError(f"{name} has shape {tuple(tensor.shape)}, but fewer numbers are stored for it")


def compare_shapes(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], file: str, other: str
) -> None:
    """Compare names and shapes of tensors.

    :param file: what holds the tensors that were found, for the message
    :param other: what says which are expected
    :raises ZooError: naming those that differ, on both sides
    """
    problems = [f"{key} is missing" for key in expected if key not in found]
    problems += [f"{key} is unknown to {other}" for key in found if key not in expected]
    problems += [
        f"{key} has shape {found[key]}, {other} has {expected[key]}"
        for key in expected
        if key in found and found[key] != expected[key]
    ]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ZooError(f"{file} does not fit {other}: {'; '.join(problems[:5])}{more}")


def check_weights(name: str, tensor: Tensor) -> Tensor:
    """Return weights in float32.

    :param name: what they are, for the message
    :param tensor: the weights
    :raises ZooError: if they are numbers of another kind, infinite or not numbers
    """
    if tensor.dtype not in _FLOATS:
        raise ZooError(f"{name} is {tensor.dtype}, not numbers with fractions as weights are")
    weights = tensor.float()
    check_finite(name, weights)
    return weights


def check_finite(name: str, tensor: Tensor) -> None:
    """Check that every value is a finite number.

    :param name: what the tensor is, for the message
    :raises ZooError: if one is not
    """
    if not torch.isfinite(tensor).all():
        raise ZooError(f"{name} has values that are infinite or not numbers")


def _stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a state dict that is stored: without copies of other networks."""
    return {
        key: value
        for key, value in state.items()
        if not (key.startswith(_TARGET) and key.removeprefix(_TARGET) in state)
    }


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}
