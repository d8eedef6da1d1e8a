"""Entries and models leave the zoo: as folders, as files of the public codes, and to a hub on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dream_agents import BMPC, DreamerV3, zoo
from dream_agents.agents.base import WorldModelAgent
from dream_agents.zoo import ZooError

from .conftest import SIZE
from .hub_server import TOKEN, HubServer, served


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with served(monkeypatch) as server:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    expected = other.state_dict()
    assert one.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("layout", ["new", "old"])
def test_file_of_the_public_code_holds_every_weight(
    layout: str, model: WorldModelAgent, tmp_path: Path
) -> None:
    assert zoo.export(model, tmp_path / "deep" / "x.pt", layout=layout) == tmp_path / "deep" / "x.pt"
    again = zoo.load(tmp_path / "deep" / "x.pt", env="Pendulum-v1", device="cpu")
    assert_same_weights(again.world_model, model.world_model)
    with pytest.raises(ZooError, match=r"x\.pt is there already"):
        zoo.export(model, tmp_path / "deep" / "x.pt")


def test_bmpc_goes_out_and_comes_back(tmp_path: Path) -> None:
    model = BMPC("Pendulum-v1", model_size=SIZE, device="cpu", buffer_size=100)
    with torch.no_grad():
        for parameter in model.world_model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    zoo.export(model, tmp_path / "bmpc.pt")
    again = zoo.load(tmp_path / "bmpc.pt", env="Pendulum-v1", device="cpu")
    assert type(again) is BMPC
    assert_same_weights(again.world_model, model.world_model)


def test_entry_is_copied_as_it_is(entry: Path, tmp_path: Path) -> None:
    zoo.export(entry, tmp_path / "copy")
    assert zoo.verify(tmp_path / "copy") == zoo.card(entry)
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["card.toml", "model.safetensors"]
    with pytest.raises(ZooError, match="copy is there already"):
        zoo.export(entry, tmp_path / "copy")


def test_model_becomes_a_folder(model: WorldModelAgent, tmp_path: Path) -> None:
    zoo.export(model, tmp_path / "tdmpc2-pendulum", license="MIT", dtype=torch.float32)
    assert zoo.verify(tmp_path / "tdmpc2-pendulum").license == "MIT"
    assert_same_weights(
        zoo.load_world_model(tmp_path / "tdmpc2-pendulum", device="cpu").value_heads,
        model.world_model.value_heads,
    )


def test_models_without_a_public_layout_are_refused(tmp_path: Path) -> None:
    dreamer = DreamerV3("Pendulum-v1", device="cpu", buffer_size=100)
    with pytest.raises(ZooError, match="DreamerWorldModel has no public layout; export it as a folder"):
        zoo.export(dreamer, tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()


def test_damaged_entry_does_not_go_out(entry: Path, tmp_path: Path, hub: HubServer) -> None:
    path = entry / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    for send in (lambda: zoo.export(entry, tmp_path / "out"), lambda: zoo.push(entry, "somebody/x")):
        with pytest.raises(ZooError, match="SHA-256"):
            send()
    assert hub.requests == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["folder", "model"])
def test_pushed_entry_loads_from_the_hub(
    what: str, hub: HubServer, model: WorldModelAgent, entry: Path
) -> None:
    if what == "folder":
        url = zoo.push(entry, "somebody/Their-Model")
    else:
        url = zoo.push(model, "somebody/Their-Model", license="MIT", authors="Somebody")
    assert url.startswith(f"{hub.url}/somebody/Their-Model/commit/")
    assert sorted(hub.files) == [
        f"somebody/Their-Model/{name}" for name in ("card.toml", "model.safetensors")
    ]
    loaded = zoo.load("hf://somebody/Their-Model", device="cpu")
    assert_same_weights(loaded.world_model, zoo.load_world_model(entry, device="cpu").to("cpu"))
    card = zoo.card("hf://somebody/Their-Model")
    assert card.name == ("tdmpc2-pendulum" if what == "folder" else "their-model")
    assert (card.license, card.authors) == ("MIT", ("Somebody",))
    assert card.source == "hf://somebody/Their-Model@main/model.safetensors"


def test_what_the_hub_says_against_a_token_is_explained(
    hub: HubServer, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ZooError, match=rf"somebody/x could not be pushed to {hub.url}: the token may not write"
    ):
        zoo.push(entry, "somebody/x", token="hf_another")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda *args: None)
    with pytest.raises(ZooError, match=r"wants a token that may write.*hf auth login.*HF_TOKEN.*token="):
        zoo.push(entry, "somebody/x")
    assert hub.files == {}


def test_mistakes_are_found_before_anything_is_sent(hub: HubServer, entry: Path) -> None:
    with pytest.raises(
        ZooError, match='repo = "their-model" is not a repository\'s name; expected "<owner>/<name>"'
    ):
        zoo.push(entry, "their-model")
    with pytest.raises(ZooError, match="license: only for an agent; the entry's card says these"):
        zoo.push(entry, "somebody/x", license="MIT")
    assert hub.requests == []
