"""Entries that are elsewhere are downloaded once, checked, and kept; against a server on this machine only."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dream_agents import TDMPC2, zoo
from dream_agents.models.tdmpc import TDMPCWorldModel
from dream_agents.planners.dream import DreamPlanner
from dream_agents.zoo import ZooError
from dream_agents.zoo.fetching import fetch
from dream_agents.zoo.files import checksum
from dream_agents.zoo.tdmpc2_import import to_tdmpc2_state_dict

from .hub_server import COMMIT, HubServer, served

NAME, KEY = "tdmpc2-official/pendulum-swingup-1", "nicklashansen/tdmpc2/dmcontrol/pendulum-swingup-1.pt"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with served(monkeypatch) as server:
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's tries
        yield server


@pytest.fixture(scope="module")
def official_model() -> TDMPCWorldModel:
    """A model of the size of the published ones, for the task with the fewest numbers."""
    torch.manual_seed(1)
    return TDMPCWorldModel((3,), 1, "5M")


@pytest.fixture(scope="module")
def checkpoint(official_model: TDMPCWorldModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("official") / "checkpoint.pt"
    torch.save({"model": to_tdmpc2_state_dict(official_model, "old")}, path)
    return path.read_bytes()


def left_in(cache: Path) -> list[str]:
    """Files in the cache, locks aside."""
    return sorted(
        path.name for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock")
    )


def accept(path: Path) -> None:
    """Take any file."""


def test_official_entry_is_downloaded_converted_and_plans(
    hub: HubServer, checkpoint: bytes, official_model: TDMPCWorldModel, cache: Path
) -> None:
    hub.files[KEY] = checkpoint
    model = zoo.load(NAME, device="cpu")
    assert type(model) is TDMPC2
    assert model.planner == DreamPlanner()
    assert model.get_env().envs[0].spec.id == "dmc_pendulum-swingup-v0"
    stored = official_model.state_dict()
    assert all(torch.equal(value, stored[key]) for key, value in model.world_model.state_dict().items())
    actions, _ = model.predict(np.zeros((2, 3), np.float32), deterministic=True)
    assert actions.shape == (2, 1)
    assert left_in(cache) == ["pendulum-swingup-1.pt", "pendulum-swingup-1.pt.pin.json"]


def test_second_use_needs_no_network(hub: HubServer, checkpoint: bytes) -> None:
    hub.files[KEY] = checkpoint
    assert zoo.card(NAME).sha256 is None
    path = zoo.download(NAME)
    hub.requests.clear()
    assert path.read_bytes() == checkpoint
    card = zoo.verify(NAME)
    assert (card.sha256, card.size) == (checksum(checkpoint), len(checkpoint))
    assert zoo.names("pendulum-swingup", offline=True) == [NAME]
    assert zoo.load("dmc_pendulum-swingup-v0", device="cpu", planner="policy").base == NAME
    assert zoo.download(NAME) == path
    assert hub.requests == []


def test_note_tells_where_the_file_is_from(hub: HubServer, checkpoint: bytes) -> None:
    hub.files[KEY] = checkpoint
    path = zoo.download(NAME)
    note = json.loads(path.with_name(f"{path.name}.pin.json").read_text())
    assert note == {
        "source": zoo.card(NAME).source,
        "commit": COMMIT,
        "sha256": checksum(checkpoint),
        "size": len(checkpoint),
    }


def test_broken_transfer_is_resumed(hub: HubServer, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    content = np.random.default_rng(0).bytes(100_000)
    hub.files["somebody/x/file.pt"], hub.breaks["somebody/x/file.pt"] = content, 2
    assert fetch("hf://somebody/x/file.pt", accept).path.read_bytes() == content
    ranges = [range for method, path, range in hub.requests if method == "GET" and path.startswith("cdn/")]
    assert ranges[0] is None
    assert len(ranges) == 3
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in ranges[1:]]
    assert 0 < starts[0] < starts[1]


def test_transfer_that_never_ends_well_leaves_nothing(hub: HubServer, cache: Path) -> None:
    hub.files["somebody/x/file.pt"], hub.breaks["somebody/x/file.pt"] = b"1" * 1000, 100
    with pytest.raises(ZooError, match=r"hf://somebody/x@main/file\.pt could not be downloaded.*try again"):
        fetch("hf://somebody/x/file.pt", accept)
    assert left_in(cache) == []


def test_wrong_checksum_names_both_and_leaves_nothing(hub: HubServer, checkpoint: bytes, cache: Path) -> None:
    hub.files[KEY], hub.damaged[KEY] = checkpoint, checkpoint[:-1] + b"?"
    with pytest.raises(ZooError) as error:
        zoo.load(NAME)
    for part in (zoo.card(NAME).source, checksum(checkpoint), checksum(hub.damaged[KEY]), "try again"):
        assert part in str(error.value)
    assert left_in(cache) == []


def test_file_that_is_another_one_later_is_refused(hub: HubServer, checkpoint: bytes) -> None:
    hub.files[KEY] = checkpoint
    path = zoo.download(NAME)
    model = TDMPCWorldModel((3,), 1, "5M")
    torch.save({"model": to_tdmpc2_state_dict(model, "old")}, path.with_name("other.pt"))
    hub.files[KEY] = path.with_name("other.pt").read_bytes()
    for remove in (False, True):
        if remove:
            path.unlink()
        with pytest.raises(ZooError) as error:
            zoo.download(NAME, again=True)
        for part in (checksum(checkpoint), checksum(hub.files[KEY]), "delete", f"{path.name}.pin.json"):
            assert part in str(error.value)
    path.with_name(f"{path.name}.pin.json").unlink()
    assert zoo.download(NAME) == path
    assert path.read_bytes() == hub.files[KEY]


def test_file_that_was_changed_in_the_cache_is_refused(hub: HubServer, checkpoint: bytes) -> None:
    hub.files[KEY] = checkpoint
    path = zoo.download(NAME)
    path.write_bytes(checkpoint[:-1] + b"?")
    with pytest.raises(
        ZooError, match=f"SHA-256 {checksum(path.read_bytes())}.*{checksum(checkpoint)}.*Delete it"
    ):
        zoo.load(NAME)
    path.unlink()
    assert zoo.load(NAME, device="cpu").base == NAME


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("hf://somebody/x/none.pt", ("no such file", "/somebody/x/resolve/main/none.pt", "/tree/main")),
        ("hf://somebody/x@v2/file.pt", ('no revision "v2"',)),
        ("hf://somebody/y/file.pt", ("no such repository, or it is private", "hf auth login", "HF_TOKEN")),
        ("hf://somebody/gated/file.pt", ("give access on request", "/somebody/gated", "hf auth login")),
    ],
)
def test_what_the_hub_refuses_is_explained(
    address: str, parts: tuple[str, ...], hub: HubServer, cache: Path
) -> None:
    hub.files |= {"somebody/x/file.pt": b"1", "somebody/gated/file.pt": b"1"}
    hub.gated.add("somebody/gated")
    with pytest.raises(ZooError) as error:
        zoo.load(address, env="Pendulum-v1")
    for part in (hub.url, *parts):
        assert part in str(error.value)
    assert left_in(cache) == []


def test_no_network_is_explained(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        ZooError, match=r"http://127\.0\.0\.1:1/nicklashansen.*could not be reached.*load it by its path"
    ):
        zoo.load(NAME)


def test_two_processes_download_once(hub: HubServer, checkpoint: bytes, cache: Path) -> None:
    hub.files[KEY], hub.delay = checkpoint, 1.0
    code = f"from dream_agents import zoo; zoo.download({NAME!r}); print(zoo.verify({NAME!r}).sha256)"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=os.environ, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert outputs == [f"{checksum(checkpoint)}\n"] * 2
    assert hub.downloads.count(f"cdn/{KEY}") == 1
    assert left_in(cache) == ["pendulum-swingup-1.pt", "pendulum-swingup-1.pt.pin.json"]


@pytest.mark.parametrize("address", ["hf://somebody/x/deep/{}", "{url}/plain/x/{}"])
def test_entry_loads_from_its_address(address: str, hub: HubServer, entry: Path, cache: Path) -> None:
    for name in ("card.toml", "model.safetensors"):
        content = (entry / name).read_bytes()
        hub.files |= {f"somebody/x/deep/my-entry/{name}": content, f"plain/x/my-entry/{name}": content}
    address = address.format("my-entry", url=hub.url)
    with pytest.raises(ZooError, match="never downloaded here"):
        zoo.card(address)
    model = zoo.load(address, device="cpu")
    own = zoo.load_world_model(entry, device="cpu").state_dict()
    assert all(torch.equal(value, own[key]) for key, value in model.world_model.state_dict().items())
    hub.requests.clear()
    assert zoo.verify(address).name == "tdmpc2-pendulum"
    assert zoo.load(address, device="cpu").base == "tdmpc2-pendulum"
    assert hub.requests == []


@pytest.mark.parametrize("address", ["hf://somebody/x/tiny.pt", "{url}/plain/tiny.pt"])
def test_checkpoint_loads_from_its_address(address: str, hub: HubServer, tmp_path: Path) -> None:
    zoo.export("tdmpc2-walker-walk", tmp_path / "tiny.pt")
    content = (tmp_path / "tiny.pt").read_bytes()
    hub.files |= {"somebody/x/tiny.pt": content, "plain/tiny.pt": content}
    address = address.format(url=hub.url)
    model = zoo.load(address, env="dmc_walker-walk-v0", device="cpu")
    own = zoo.load_world_model("tdmpc2-walker-walk", device="cpu").state_dict()
    assert all(torch.equal(value, own[key]) for key, value in model.world_model.state_dict().items())
    with pytest.raises(ZooError, match="pass env="):
        zoo.load(address)
    with pytest.raises(ZooError, match="without a card"):
        zoo.card(address)


def test_web_server_without_the_file_is_explained(hub: HubServer, cache: Path) -> None:
    with pytest.raises(ZooError, match=r"/plain/x/card.toml could not be downloaded.*404.*check the address"):
        zoo.load(f"{hub.url}/plain/x")
    assert left_in(cache) == []


def test_broken_transfer_from_a_web_server_leaves_nothing(hub: HubServer, cache: Path) -> None:
    hub.files["plain/x.pt"], hub.breaks["plain/x.pt"] = b"1" * 10_000, 1
    with pytest.raises(ZooError, match=r"could not be downloaded.*try again"):
        zoo.load(f"{hub.url}/plain/x.pt", env="Pendulum-v1")
    assert left_in(cache) == []


def test_checkpoint_with_code_in_it_is_neither_run_nor_kept(
    hub: HubServer, cache: Path, tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.mkdir, (tmp_path / "exploded",)

    torch.save({"model": Bomb()}, tmp_path / "bomb.pt")
    hub.files[KEY] = (tmp_path / "bomb.pt").read_bytes()
    hub.files["plain/bomb.pt"] = pickle.dumps(Bomb())
    for use in (lambda: zoo.load(NAME), lambda: zoo.load(f"{hub.url}/plain/bomb.pt", env="Pendulum-v1")):
        with pytest.raises(
            ZooError, match=r"(hf|http)://.* is not a checkpoint that can be read as plain weights"
        ):
            use()
    assert not (tmp_path / "exploded").exists()
    assert left_in(cache) == []


@pytest.mark.parametrize(
    ("obs_dim", "action_dim", "size", "message"),
    [
        (4, 1, "5M", r"obs_shape = \(4,\), its card says \(3,\)"),
        (3, 2, "5M", "action_dim = 2, its card says 1"),
        (3, 1, "1M", "model_size = .*384.*, its card says .*512"),
    ],
)
def test_checkpoint_of_other_sizes_names_both(
    obs_dim: int, action_dim: int, size: str, message: str, hub: HubServer, tmp_path: Path, cache: Path
) -> None:
    model = TDMPCWorldModel((obs_dim,), action_dim, size)
    torch.save({"model": to_tdmpc2_state_dict(model, "old")}, tmp_path / "other.pt")
    hub.files[KEY] = (tmp_path / "other.pt").read_bytes()
    with pytest.raises(ZooError, match=message):
        zoo.load(NAME)
    assert left_in(cache) == []


def test_weights_that_are_not_the_cards_are_refused(hub: HubServer, entry: Path, cache: Path) -> None:
    weights = (entry / "model.safetensors").read_bytes()
    hub.files |= {
        "somebody/x/card.toml": (entry / "card.toml").read_bytes(),
        "somebody/x/model.safetensors": weights[:-1] + b"?",
    }
    with pytest.raises(ZooError, match=f"{checksum(weights[:-1] + b'?')}, its card says {checksum(weights)}"):
        zoo.load("hf://somebody/x")
    hub.files["somebody/x/model.safetensors"] = weights + b"?"
    with pytest.raises(ZooError, match=f"has more than {len(weights)} bytes, the size on its card"):
        zoo.load("hf://somebody/x")
    assert left_in(cache) == ["card.toml", "card.toml.pin.json"]


@pytest.mark.parametrize(
    "field", ['name = "../../outside"', 'source = "hf://a/b@main/../../../outside/model.safetensors"']
)
def test_card_that_leads_out_of_the_cache_is_refused(
    field: str, hub: HubServer, entry: Path, cache: Path
) -> None:
    key = field.partition(" ")[0]
    lines = (entry / "card.toml").read_text().splitlines()
    changed = [field if line.startswith(f"{key} =") else line for line in lines]
    assert changed != lines
    hub.files["somebody/x/card.toml"] = "\n".join(changed).encode()
    with pytest.raises(ZooError, match=rf"{key} = '.*\.\./.*outside"):
        zoo.load("hf://somebody/x")
    assert left_in(cache) == []


@pytest.mark.parametrize(
    "address",
    [
        "hf://somebody",
        "hf://somebody/../x",
        "hf://somebody/x/../../../y",
        "hf://somebody/x/.hidden",
        "hf://somebody/x@/y",
        "http://elsewhere.org/x",
        "https://elsewhere.org/x?y=z",
        "https:///x",
    ],
)
def test_addresses_that_lead_elsewhere_are_refused(address: str, hub: HubServer, cache: Path) -> None:
    with pytest.raises(ZooError):
        zoo.load(address)
    assert hub.requests == []
    assert left_in(cache) == []


def test_cache_that_can_not_be_written_is_named(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DREAM_AGENTS_CACHE", str(tmp_path / "file"))
    with pytest.raises(ZooError, match=r"cannot be used as cache.*DREAM_AGENTS_CACHE"):
        zoo.load(NAME)


def test_what_a_killed_process_left_is_removed(hub: HubServer, checkpoint: bytes, cache: Path) -> None:
    hub.files[KEY] = checkpoint
    folder = cache / "zoo" / "hf" / "nicklashansen" / "tdmpc2@main" / "dmcontrol"
    (folder / ".pendulum-swingup-1.pt.unfinished").mkdir(parents=True)
    (folder / ".pendulum-swingup-1.pt.unfinished" / "half").write_text("half")
    zoo.download(NAME)
    assert left_in(cache) == ["pendulum-swingup-1.pt", "pendulum-swingup-1.pt.pin.json"]
