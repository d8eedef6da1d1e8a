"""Entries are found by name, by environment and by folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from dream_agents import zoo
from dream_agents.registry import UnknownNameError
from dream_agents.zoo import ZooError
from dream_agents.zoo.cards import tomllib

from .conftest import RESULT


def embed(entry: Path, embedded: Path, name: str, mean: float | None = None) -> None:
    """Copy an entry into the package's, under another name and with another result."""
    shutil.copytree(entry, embedded / name)
    path = embedded / name / "card.toml"
    data = tomllib.loads(path.read_text()) | {"name": name, "results": []}
    if mean is not None:
        data["results"] = [RESULT | {"mean": mean - 10, "planner": "policy"}, RESULT | {"mean": mean}]
    path.write_text(tomli_w.dumps(data))


def test_names_are_sorted_and_filtered(entry: Path, embedded: Path) -> None:
    assert zoo.names(offline=True) == []
    for name in ("tdmpc2-walker-walk", "dream-mpc-pendulum", "tdmpc2-official/dog-run-1"):
        embed(entry, embedded, name)
    here = ["dream-mpc-pendulum", "tdmpc2-official/dog-run-1", "tdmpc2-walker-walk"]
    assert zoo.names(offline=True) == here
    assert zoo.names("TDMPC2-", offline=True) == here[1:]
    assert zoo.names("cheetah", offline=True) == []
    assert zoo.names("Walker-Walk") == [
        *(f"tdmpc2-official/walker-walk-{seed}" for seed in (1, 2, 3)),
        *(f"tdmpc2-official/walker-walk-backwards-{seed}" for seed in (2, 3)),
        "tdmpc2-walker-walk",
    ]


def test_entry_loads_by_name(entry: Path, embedded: Path) -> None:
    embed(entry, embedded, "group/tdmpc2-pendulum")
    assert zoo.card("group/tdmpc2-pendulum").environment == "Pendulum-v1"
    assert zoo.verify("group/tdmpc2-pendulum").name == "group/tdmpc2-pendulum"
    assert zoo.load("group/tdmpc2-pendulum", device="cpu").get_env() is not None


def test_environment_names_its_best_entry(entry: Path, embedded: Path) -> None:
    for name, mean in [
        ("c-pendulum", -300.0),
        ("b-pendulum", -120.0),
        ("a-pendulum", None),
        ("d-pendulum", -200.0),
    ]:
        embed(entry, embedded, name, mean)
    assert zoo.card("Pendulum-v1").name == "b-pendulum"
    assert zoo.card("Pendulum").name == "b-pendulum"
    assert zoo.load("Pendulum-v1", device="cpu").world_model.obs_shape == (3,)
    with pytest.raises(UnknownNameError, match=r'"MountainCarContinuous-v0" is not a zoo entry'):
        zoo.card("MountainCarContinuous-v0")


def test_an_environment_without_an_entry_names_its_suites_entries() -> None:
    with pytest.raises(UnknownNameError, match=r"same suite: .*dream_mpc-walker-walk \(dmc_walker-walk-v0\)"):
        zoo.load("dmc_lqr-lqr_2_1-v0")
    with pytest.raises(UnknownNameError, match=r'Train one: .*DreamMPC\("humanoid_h1-run-v0"\)'):
        zoo.load("humanoid_h1-run-v0")


@pytest.mark.parametrize("use", [zoo.load, zoo.card, zoo.verify, zoo.load_world_model])
def test_unknown_name_tells_the_nearest(use, entry: Path, embedded: Path) -> None:
    embed(entry, embedded, "tdmpc2-pendulum")
    with pytest.raises(
        UnknownNameError, match='"tdmpc2-pendulun" is not a zoo entry; did you mean "tdmpc2-pendulum"'
    ):
        use("tdmpc2-pendulun")
    with pytest.raises(ValueError, match='did you mean "Pendulum-v1"'):
        use("Pendulun-v1")


@pytest.mark.parametrize(
    "name", ["../outside", "group/../../outside", "./group/../../outside", "group//x", "..", "."]
)
def test_names_do_not_lead_out_of_the_zoo(
    name: str, entry: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is an entry next to the package's; only as a path from the working folder would it be found."""
    shutil.copytree(entry, embedded.parent / "outside")
    embed(entry, embedded, "group/x")
    (tmp_path / "working" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "working" / "folder")
    with pytest.raises((UnknownNameError, ZooError)):
        zoo.load(name, device="cpu")


def test_card_of_another_name_is_refused(entry: Path, embedded: Path) -> None:
    shutil.copytree(entry, embedded / "renamed")
    with pytest.raises(ZooError, match='name = "tdmpc2-pendulum" is not the folder\'s, "renamed"'):
        zoo.card("renamed")


def test_folder_is_found_by_path_but_not_taken_for_a_name(
    entry: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(entry, embedded, "tdmpc2-pendulum", 0.0)
    monkeypatch.chdir(entry.parent)
    assert zoo.card(Path("tdmpc2-pendulum")) == zoo.card(entry)
    assert zoo.card("./tdmpc2-pendulum") == zoo.card(entry)
    assert zoo.card("tdmpc2-pendulum").own_mean == 0.0


def test_naming_an_environment_imports_no_module(embedded: Path, entry: Path) -> None:
    embed(entry, embedded, "tdmpc2-pendulum")
    with pytest.raises(UnknownNameError):
        zoo.card("a_module_that_is_not_there:Pendulum-v1")


def test_listing_needs_no_simulator(tmp_path: Path) -> None:
    code = """
import sys
from dream_agents import zoo
zoo.names()
heavy = {"dm_control", "mujoco", "shimmy", "stable_baselines3", "tensorboard", "torch"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
