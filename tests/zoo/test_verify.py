"""Damaged and doctored entries are refused, and the message says what is wrong."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from safetensors.torch import load_file, save_file

from dream_agents import zoo
from dream_agents.agents.base import WorldModelAgent
from dream_agents.zoo import ZooError
from dream_agents.zoo.cards import tomllib
from dream_agents.zoo.weights import checksum

from .conftest import RESULT


def change_card(folder: Path, **changes: Any) -> None:
    """Set fields of a card, ``network__discount`` being one of its network; ... takes one out."""
    path = folder / "card.toml"
    data = tomllib.loads(path.read_text())
    for name, value in changes.items():
        table = data
        *tables, last = name.split("__")
        for part in tables:
            table = table[part]
        if value is ...:
            del table[last]
        else:
            table[last] = value
    path.write_text(tomli_w.dumps(data))


def change_weights(folder: Path, data: bytes) -> None:
    """Replace the weights by others whose size and checksum the card tells."""
    (folder / "model.safetensors").write_bytes(data)
    change_card(folder, size=len(data), sha256=checksum(data))


def change_tensor(folder: Path, key: str, value: torch.Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors")
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value
    save_file(tensors, folder / "changed")
    change_weights(folder, (folder / "changed").read_bytes())


def assert_refused(folder: Path, *parts: str) -> None:
    for use in (zoo.verify, lambda folder: zoo.load(folder, device="cpu"), zoo.load_world_model):
        with pytest.raises(ZooError) as error:
            use(folder)
        for part in parts:
            assert part in str(error.value)


def test_good_entry_is_verified(entry: Path) -> None:
    assert zoo.verify(entry) == zoo.card(entry)
    assert zoo.verify(str(entry)).name == "tdmpc2-pendulum"


def test_flipped_bit_is_found(entry: Path) -> None:
    path = entry / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert_refused(entry, "SHA-256", zoo.card(entry).sha256, checksum(bytes(data)))


def test_truncated_weights_are_found(entry: Path) -> None:
    path = entry / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert_refused(entry, "1000 bytes", f"says {zoo.card(entry).size}")


def test_missing_weights_are_found(entry: Path) -> None:
    (entry / "model.safetensors").unlink()
    assert_refused(entry, "model.safetensors cannot be read")


def test_missing_card_is_found(entry: Path) -> None:
    (entry / "card.toml").unlink()
    assert_refused(entry, str(entry), "card.toml")


def test_truncated_file_with_its_own_checksum_is_refused(entry: Path) -> None:
    change_weights(entry, (entry / "model.safetensors").read_bytes()[:-64])
    assert_refused(entry, "is not a safetensors file")


def test_header_that_lies_about_its_length_is_refused(entry: Path) -> None:
    change_weights(entry, (2**62).to_bytes(8, "little") + b"{}")
    assert_refused(entry, "is not a safetensors file")


def test_pickles_are_not_loaded(entry: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(entry / "exploded"),)

    change_weights(entry, pickle.dumps(Bomb()))
    assert_refused(entry, "is not a safetensors file")
    assert not (entry / "exploded").exists()


def test_wrong_shape_names_both_sides(entry: Path) -> None:
    change_tensor(entry, "encoder.0.weight", torch.zeros(16, 4, dtype=torch.float16))
    assert_refused(entry, "encoder.0.weight has shape (16, 4)", "(16, 3)")


def test_other_sizes_in_the_card_name_both_sides(entry: Path) -> None:
    change_card(entry, network__obs_shape=[5])
    assert_refused(entry, "encoder.0.weight has shape (16, 3)", "(16, 5)")


def test_missing_and_unknown_tensors_are_named(entry: Path) -> None:
    change_tensor(entry, "policy_head.2.bias", None)
    change_tensor(entry, "policy_head.2.offset", torch.zeros(2))
    assert_refused(entry, "policy_head.2.bias is missing", "policy_head.2.offset is unknown")


def test_weights_that_are_not_numbers_are_found(entry: Path) -> None:
    change_tensor(entry, "policy_head.2.bias", torch.full((2,), float("nan")))
    assert_refused(entry, "policy_head.2.bias has values that are infinite or not numbers")


def test_weights_of_another_kind_are_found(entry: Path) -> None:
    change_tensor(entry, "policy_head.2.bias", torch.zeros(2, dtype=torch.int32))
    assert_refused(entry, "policy_head.2.bias is torch.int32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ...}, "name is missing"),
        ({"name": "../../tdmpc2-pendulum"}, "name = '../../tdmpc2-pendulum' is not lower-case letters"),
        ({"name": 3}, "name = 3 is not str"),
        ({"licence": "MIT"}, '"licence" is not a field; did you mean "license"'),
        ({"authors": "Somebody"}, "authors = 'Somebody' is not an array"),
        ({"authors": [3]}, "authors[0] = 3 is not str"),
        ({"decisions": -1}, "decisions = -1 is not at least 0"),
        ({"frames": 1.5}, "frames = 1.5 is not int"),
        ({"seed": True}, "seed = True is not int"),
        ({"sha256": "abc"}, "sha256 = 'abc' is not 64 hexadecimal digits"),
        ({"size": 0}, "size = 0 is not at least 1"),
        ({"sha256": ...}, "sha256 is missing: only a file elsewhere"),
        ({"size": ...}, "size is missing: only a file elsewhere"),
        ({"source": "elsewhere"}, "source = 'elsewhere': \"elsewhere\" is not an address"),
        ({"source": "../../model"}, "source = '../../model': \"../../model\" is not an address"),
        ({"source": "hf://a/b@main/../../x"}, 'has ".." between its slashes'),
        ({"source": "hf://../b"}, 'has ".." between its slashes'),
        ({"source": "https://host/a/../../x"}, 'has ".." between its slashes'),
        ({"source": "http://host/model"}, "is not encrypted"),
        ({"source": "https://user:secret@host/model"}, "without user"),
        ({"source": "file:///etc/passwd"}, "is not an address"),
        ({"base": "../../x"}, "base = '../../x' is not lower-case letters"),
        ({"format": "pickle"}, 'format = \'pickle\' is not one of "dream-agents", "tdmpc2", "bmpc"'),
        ({"format": "bmpc"}, 'format = \'bmpc\' is not "dream-agents" or that of the backbone "tdmpc2"'),
        ({"environment": "os:Pendulum-v1"}, "environment = 'os:Pendulum-v1' is not an id without a module"),
        ({"network": 3}, "network = 3 is not a table"),
        ({"network__obs_shape": []}, "network.obs_shape = [] is not up to 4 numbers in 1 to 1000000"),
        ({"network__obs_shape": ["3"]}, "network.obs_shape[0] = '3' is not int"),
        ({"network__action_dim": 0}, "network.action_dim = 0 is not in 1 to 1000000"),
        ({"network__discount": 1.5}, "network.discount = 1.5 is not in (0, 1]"),
        ({"network__model_size__mlp_dim": -3}, "network.model_size.mlp_dim = -3 is not in 1 to"),
        ({"network__model_size__mlp_dim": 10**7}, "network.model_size.mlp_dim = 10000000 is not in 1 to"),
        ({"network__model_size__num_enc_layers": 10**9}, "num_enc_layers = 1000000000 is not in 1 to 100"),
        ({"network__model_size__mlp_dim": ...}, "network.model_size has the fields"),
        ({"network__options": {"log_std_mim": -9.0}}, "log_std_mim"),
        ({"backbone": "tdmpc"}, 'backbone = "tdmpc": "tdmpc" is not a backbone; did you mean "tdmpc2"'),
        (
            {"planner_kwargs": {"horizon": [3]}},
            "planner_kwargs.horizon = [3] is not bool or int or float or str",
        ),
        (
            {"results": [{**RESULT, "std": -1.0}]},
            "results[0].std = -1.0 is not a finite number of at least 0",
        ),
        ({"results": [{**RESULT, "mean": float("nan")}]}, "results[0].mean = nan is not a finite number"),
        (
            {"results": [{**RESULT, "measure": "joy"}]},
            'results[0].measure = \'joy\' is not "return" or "success"',
        ),
        ({"results": [{"planner": "mppi"}]}, "results[0].mean is missing"),
    ],
)
def test_wrong_field_of_the_card_is_named(entry: Path, changes: dict[str, Any], message: str) -> None:
    change_card(entry, **changes)
    assert_refused(entry, message)


@pytest.mark.parametrize(("field", "name"), [("agent", "tdmpc3"), ("planner", "mpppi")])
def test_unknown_agent_and_planner_are_named(entry: Path, field: str, name: str) -> None:
    change_card(entry, **{field: name})
    for use in (zoo.verify, zoo.load):
        with pytest.raises(ZooError, match=f'{field} = "{name}" is not one of .*{field[0]}'):
            use(entry)


def test_card_that_is_not_toml_is_refused(entry: Path) -> None:
    (entry / "card.toml").write_text("name = ")
    assert_refused(entry, "card.toml cannot be read")
    (entry / "card.toml").write_bytes(b"\xff\xfe\x00")
    assert_refused(entry, "card.toml cannot be read")


def test_wrong_card_is_not_written(model: WorldModelAgent, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"result\.episodes is missing"):
        zoo.save(model, tmp_path / "fine", results=[{k: v for k, v in RESULT.items() if k != "episodes"}])
    with pytest.raises(ZooError, match=r"name = '\.\./escape' is not lower-case"):
        zoo.save(model, tmp_path / "fine", name="../escape")
    with pytest.raises(ZooError, match="command = 3 is not str"):
        zoo.save(model, tmp_path / "fine", command=3)
    assert not (tmp_path / "fine").exists()
