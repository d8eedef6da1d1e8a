"""Files from strangers: nothing in them is run, nothing is written outside the cache, and errors say what is wrong."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dream_agents import zoo
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.zoo import ZooError, official
from dream_agents.zoo.fetching import fetch
from dream_agents.zoo.tdmpc2_import import load_tdmpc2_state_dict, to_tdmpc2_state_dict

from .hub_server import HubServer, served
from .test_verify import assert_refused, change_card, change_weights

SIZE = TDMPCSize(16, 24, 32, 2, 4)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with served(monkeypatch) as server:
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def accept(path: Path) -> None:
    """Take any file."""


@pytest.mark.parametrize("name", ["file.pt", "file.toml"])
@pytest.mark.parametrize("etag", ["../../../../../../outside", "/{tmp}/outside", "x" * 300, "a/b", ""])
def test_etag_of_a_hub_names_no_file(
    hub: HubServer, cache: Path, tmp_path: Path, name: str, etag: str
) -> None:
    hub.files[f"somebody/x/{name}"], hub.etag = b"content", etag.format(tmp=tmp_path)
    before = files_in(cache.parent)
    assert fetch(f"hf://somebody/x/{name}", accept).path.read_bytes() == b"content"
    folder = f"{cache.name}/zoo/hf/somebody/x@main"
    new = {f"{folder}/{file}" for file in (name, f"{name}.pin.json", f".{name}.lock")}
    assert files_in(cache.parent) == before | new
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("commit", ["../../../../outside", "main", "0" * 41])
def test_commit_of_a_hub_names_no_file(hub: HubServer, cache: Path, commit: str) -> None:
    hub.files["somebody/x/file.pt"], hub.commit = b"content", commit
    with pytest.raises(ZooError, match="names no commit"):
        fetch("hf://somebody/x/file.pt", accept)
    assert {file for file in files_in(cache) if not file.endswith(".lock")} == set()


@pytest.mark.parametrize("address", ["hf://somebody/x/file.pt", "{url}/plain/file.pt"])
def test_download_stops_at_the_limit(hub: HubServer, cache: Path, address: str) -> None:
    hub.files |= dict.fromkeys(("somebody/x/file.pt", "plain/file.pt"), b"1" * 100_000)
    with pytest.raises(ZooError, match="more than 99999 bytes"):
        fetch(address.format(url=hub.url), accept, most=99_999)
    with pytest.raises(ZooError, match="more than 5 bytes, the size on its card"):
        fetch(address.format(url=hub.url), accept, size=5)
    assert {file for file in files_in(cache) if not file.endswith(".lock")} == set()
    assert fetch(address.format(url=hub.url), accept, most=100_000).pin.size == 100_000


def test_card_without_end_is_not_downloaded(hub: HubServer, cache: Path) -> None:
    hub.files["somebody/x/card.toml"] = b"#" * 2_000_000
    with pytest.raises(ZooError, match="more than 100000 bytes"):
        zoo.load("hf://somebody/x")


@pytest.mark.parametrize(
    "address", ["https://../x", "https://a b/x", "hf://a/" + "b/" * 600, "hf://a/" + "b" * 300]
)
def test_addresses_that_no_server_has_are_refused(address: str, cache: Path) -> None:
    with pytest.raises(ZooError):
        zoo.load(address)
    assert files_in(cache) == set()


# ------------------------------------------------------------------- layouts


def before_release(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as TD-MPC2's code named them before it was released: layers of normalisation are numbered, too."""
    renamed = {}
    for key, value in state.items():
        network, _, rest = key.partition(".")
        layer, _, leaf = rest.partition(".")
        if network == "_dynamics":
            norm = leaf.startswith("ln.")
            key = f"_dynamics.0.{3 * int(layer) + norm}.{leaf.removeprefix('ln.')}"
        renamed[key] = value
    return renamed


@pytest.mark.parametrize("name", sorted(official.UNREADABLE))
def test_published_files_that_nothing_reads_right_are_not_offered(name: str) -> None:
    assert f"tdmpc2-official/{name}" not in zoo.names()
    with pytest.raises(ZooError, match=f"{name} is in a layout older than any code.*Take another seed"):
        zoo.load(f"tdmpc2-official/{name}")


def test_layout_that_no_released_code_wrote_is_refused_by_name(tmp_path: Path) -> None:
    state = to_tdmpc2_state_dict(TDMPCWorldModel((3,), 1, SIZE), "old")
    torch.save({"model": before_release(state)}, tmp_path / "early.pt")
    with pytest.raises(ZooError, match=r"early\.pt is in a layout older than any code"):
        zoo.load(tmp_path / "early.pt", env="Pendulum-v1", device="cpu")


def test_termination_head_counts_only_where_the_task_ends(tmp_path: Path) -> None:
    world_model = TDMPCWorldModel((3,), 1, SIZE, episodic=True)
    torch.save({"model": to_tdmpc2_state_dict(world_model)}, tmp_path / "april.pt")
    plain = {k: v for k, v in to_tdmpc2_state_dict(world_model).items() if not k.startswith("_termination")}
    torch.save({"model": plain}, tmp_path / "plain.pt")
    # A pendulum never ends, but its environment does not say so, hence episodic=.
    without = zoo.load(tmp_path / "april.pt", env="Pendulum-v1", device="cpu", episodic=False)
    assert not without.episodic and not without.world_model.episodic
    expected = zoo.load(tmp_path / "plain.pt", env="Pendulum-v1", device="cpu")
    assert not expected.episodic
    obs = np.ones((2, 3), np.float32)
    actions = [model.predict(obs, deterministic=True)[0] for model in (without, expected)]
    np.testing.assert_array_equal(*actions)
    assert zoo.load(tmp_path / "april.pt", env="Pendulum-v1", device="cpu").world_model.episodic
    found = zoo.load(tmp_path / "april.pt", env="dmc_pendulum-swingup-v0", device="cpu")
    assert not found.world_model.episodic


# -------------------------------------------------------------------- tensors


class Odd(torch.Tensor):
    """A tensor of a class of its own."""


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(24).to_sparse(),
        torch.quantize_per_tensor(torch.zeros(24), 0.1, 0, torch.qint8),
        torch.zeros(24, dtype=torch.complex64),
        torch.zeros(24, dtype=torch.int64),
        torch.zeros(24, dtype=torch.bool),
        torch.zeros(24).to(torch.float8_e4m3fn),
        torch.empty(24, device="meta"),
        torch.full((24,), 1e300, dtype=torch.float64),
        torch.zeros(1).expand(24),
        None,
        3.0,
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_odd_kinds_are_named(tensor: Any, tmp_path: Path) -> None:
    state = to_tdmpc2_state_dict(TDMPCWorldModel((3,), 1, SIZE), "old")
    torch.save({"model": state | {"_pi.0.bias": tensor}}, tmp_path / "odd.pt")
    with pytest.raises(ZooError, match=r"_pi\.0\.bias|not a checkpoint that can be read as plain weights"):
        load_tdmpc2_state_dict(tmp_path / "odd.pt")


def test_archive_that_unpacks_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"model": {"weight": torch.zeros(1_000_000)}}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(ZooError, match=r"is compressed, which torch\.save never does"):
        load_tdmpc2_state_dict(tmp_path / "bomb.pt")


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F4", "C64", "U64", "BOOL", "X"])
def test_safetensors_of_odd_kinds_are_refused(entry: Path, kind: str) -> None:
    data = (entry / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["policy_head.2.bias"]["dtype"] = kind
    text = json.dumps(header).encode()
    change_weights(entry, len(text).to_bytes(8, "little") + text + data[8 + length :])
    assert_refused(entry, "model.safetensors")


def test_names_of_tensors_are_not_obeyed_by_a_terminal(tmp_path: Path) -> None:
    state = to_tdmpc2_state_dict(TDMPCWorldModel((3,), 1, SIZE), "old")
    torch.save({"model": state | {"\x1b[2Jgone": torch.zeros(2)}}, tmp_path / "odd.pt")
    with pytest.raises(ZooError) as error:
        load_tdmpc2_state_dict(tmp_path / "odd.pt")
    assert "\x1b" not in str(error.value) and "\\x1b[2Jgone is unknown" in str(error.value)


# ---------------------------------------------------------------------- cards


@pytest.mark.parametrize(
    "changes",
    [
        {"command": "\x1b]0;title\x07"},
        {"license": "MIT\x9b2J"},
        {"authors": ["Some\rbody"]},
        {"command": "safe \u202e text"},
        {"versions": {"\x1b[31mtorch": "2"}},
    ],
)
def test_cards_that_a_terminal_would_obey_are_refused(entry: Path, changes: dict[str, Any]) -> None:
    change_card(entry, **changes)
    assert_refused(entry, "has control characters")
    with pytest.raises(ZooError) as error:
        zoo.card(entry)
    assert not set("\x1b\x9b\r\u202e") & set(str(error.value))


def test_command_of_several_lines_is_kept(entry: Path) -> None:
    change_card(entry, command="model = TDMPC2(...)\n\tmodel.learn(10)")
    assert zoo.card(entry).command.endswith("learn(10)")


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 100_000,
        "x = " + "{a=" * 10_000,
        "a." * 49_000 + "a = 1",
        "[" + '"a b" . ' * 12_000 + "a]",
        "x = " + "[" * 300 + "]" * 300,
        "size = " + "9" * 10_000,
        "\x00",
        "x = 1\nx = 2",
        "#" * 2_000_000,
    ],
)
def test_cards_that_are_no_toml_are_refused(entry: Path, text: str) -> None:
    (entry / "card.toml").write_text(text)
    with pytest.raises(ZooError):
        zoo.card(entry)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network__obs_shape": [2**62]}, "obs_shape"),
        ({"network__obs_shape": [1] * 5}, "obs_shape"),
        ({"network__action_dim": 2**62}, "action_dim"),
        ({"network__discount": 10**400}, "discount"),
        ({"network__model_size__simnorm_dim": 7}, "is not a multiple of simnorm_dim=7"),
        ({"network__options": {"nosuch": 1}}, "can't be made"),
    ],
)
def test_sizes_that_no_network_has_are_refused(entry: Path, changes: dict[str, Any], message: str) -> None:
    change_card(entry, **changes)
    assert_refused(entry, message)


@pytest.mark.parametrize("options", [{"nosuch": 1}, {"samples": -5}, {"horizon": "long"}])
def test_planner_that_can_not_be_made_is_refused(entry: Path, options: dict[str, Any]) -> None:
    change_card(entry, planner_kwargs=options)
    for use in (zoo.verify, zoo.load):
        with pytest.raises(ZooError, match=r"planner_kwargs = .* can't be used"):
            use(entry)


def test_agent_without_a_world_model_is_refused(entry: Path) -> None:
    change_card(entry, agent="sac")
    with pytest.raises(ZooError, match='agent = "sac" has no world model'):
        zoo.load(entry)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("agent", "is not one of bmpc"),
        ("planner", "is not one of adaptive"),
        ("obs_type", "is not one of state"),
        ("environment", "was trained in an environment that is not here"),
    ],
)
def test_names_that_nothing_has_are_the_cards_fault(entry: Path, field: str, message: str) -> None:
    change_card(entry, **{field: "../../etc/passwd"})
    with pytest.raises(ZooError, match=message):
        zoo.load(entry)
