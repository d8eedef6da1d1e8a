import json
from pathlib import Path

import pytest
import torch

from dream_agents import zoo
from dream_agents.zoo import catalog

from ..zoo.hub_server import TOKEN, served

NAME = "dream_mpc-walker-walk"
COMMANDS = ("list", "show", "verify", "export", "push", "download")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DREAM_AGENTS_CACHE", str(folder))
    return folder


@pytest.fixture
def hub(monkeypatch):
    with served(monkeypatch) as server:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def test_help_names_every_command(dream_agents_command):
    assert " zoo " in dream_agents_command("--help").stdout
    shown = dream_agents_command("zoo", "--help").stdout
    for command in COMMANDS:
        assert f" {command} " in shown
        assert dream_agents_command("zoo", command, "--help").exit_code == 0


def test_list_shows_what_is_here_and_what_is_elsewhere(dream_agents_command):
    result = dream_agents_command("zoo", "list")
    rows = {
        cells[0]: cells
        for cells in ([cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines())
        if cells
    }
    assert list(rows) == zoo.names()
    mean = f"{zoo.card(NAME).own_mean:.1f}"
    assert rows[NAME][1:] == ["dmc_walker-walk-v0", "dream", mean, "2.4 MB", "package"]
    assert rows["tdmpc2-official/mw-button-press-topdown-wall-1"][1:] == [
        "metaworld_button-press-topdown-wall-v3",
        *("dream", "-", "-", "elsewhere"),
    ]
    assert f"{len(zoo.names())} entries, {len(catalog.embedded_names())} of them here" in result.stderr
    assert "never downloaded here" in result.stderr


def test_list_is_filtered_and_machine_readable(dream_agents_command):
    listed = json.loads(dream_agents_command("zoo", "list", "WALKER-walk-", "--json").stdout)
    assert [row["name"] for row in listed] == zoo.names("walker-walk-")
    assert {row["here"] for row in listed} == {False}
    offline = json.loads(dream_agents_command("zoo", "list", "--offline", "--json").stdout)
    assert [row["name"] for row in offline] == catalog.embedded_names()
    missing = dream_agents_command("zoo", "list", "wlker")
    assert missing.exit_code == 2
    assert 'no entry has "wlker" in its name' in missing.stderr


def test_show_tells_what_the_card_says(dream_agents_command):
    shown = dream_agents_command("zoo", "show", NAME).stdout
    card = zoo.card(NAME)
    for text in (card.sha256, "dmc_walker-walk-v0", "enc_dim=256", f"{card.own_mean:.1f}", "MIT"):
        assert text in shown
    assert json.loads(dream_agents_command("zoo", "show", NAME, "--json").stdout)["sha256"] == card.sha256
    elsewhere = dream_agents_command("zoo", "show", "tdmpc2-official/cup-catch-1")
    assert "hf://nicklashansen/tdmpc2@main/dmcontrol/cup-catch-1.pt" in elsewhere.stdout
    assert "never downloaded here" in elsewhere.stdout
    assert "Nothing was measured" in elsewhere.stderr
    wrong = dream_agents_command("zoo", "show", "dream_mpc-walker-wlk")
    assert wrong.exit_code == 2
    assert f'did you mean "{NAME}"' in wrong.stderr


def test_verify_checks_everything_that_is_here(dream_agents_command):
    result = dream_agents_command("zoo", "verify")
    assert result.exit_code == 0
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == catalog.embedded_names()


def test_verify_names_what_is_wrong(dream_agents_command, tmp_path):
    zoo.export(NAME, tmp_path / "copy")
    path = tmp_path / "copy" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    result = dream_agents_command("zoo", "verify", NAME, tmp_path / "copy")
    assert result.exit_code == 2
    assert "SHA-256" in result.stderr
    assert "1 of 2 entries are not in order" in result.stderr
    assert result.stdout.startswith(f"{NAME}: as its card says")


def test_export_writes_a_folder_and_a_file_of_the_public_code(dream_agents_command, tmp_path):
    assert dream_agents_command("zoo", "export", NAME, tmp_path / "copy").exit_code == 0
    assert zoo.verify(tmp_path / "copy").sha256 == zoo.card(NAME).sha256
    written = dream_agents_command("zoo", "export", NAME, tmp_path / "x.pt", "--layout", "old")
    assert written.stdout.strip() == str(tmp_path / "x.pt")
    assert "_Qs.params.0" in torch.load(tmp_path / "x.pt", weights_only=True)["model"]
    again = dream_agents_command("zoo", "export", NAME, tmp_path / "x.pt")
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    wrong = dream_agents_command("zoo", "export", NAME, tmp_path / "y.pt", "--layout", "oldest")
    assert wrong.exit_code == 2
    assert "layout = 'oldest' is not" in wrong.stderr


def test_trained_run_becomes_an_entry(dream_agents_command, trained, tmp_path):
    written = dream_agents_command(
        "zoo", "export", trained, tmp_path / "mine", "--license", "MIT", "--author", "A", "--author", "B"
    )
    assert written.exit_code == 0, written.output
    card = zoo.verify(tmp_path / "mine")
    assert (card.license, card.authors, card.decisions) == ("MIT", ("A", "B"), 60)
    assert card.command == (
        "dream-agents train tests/CliPendulum-v0 --agent dream_mpc --decisions 60 --seed 0 --model-size tiny "
        "--planner policy --set backbone=tdmpc2 --set learning_starts=24 --set batch_size=4"
    )
    refused = dream_agents_command("zoo", "export", NAME, tmp_path / "other", "--license", "MIT")
    assert refused.exit_code == 2
    assert f"{NAME} has a card" in refused.stderr


def test_entry_is_pushed_and_downloaded(dream_agents_command, hub, tmp_path):
    pushed = dream_agents_command("zoo", "push", NAME, "somebody/x")
    assert pushed.exit_code == 0, pushed.output
    assert pushed.stdout.startswith(f"{hub.url}/somebody/x/commit/")
    path = dream_agents_command("zoo", "download", "hf://somebody/x").stdout.strip()
    assert Path(path).stat().st_size == zoo.card(NAME).size
    assert dream_agents_command("zoo", "verify", "hf://somebody/x").exit_code == 0
    missing = dream_agents_command("zoo", "download", "hf://somebody/y")
    assert missing.exit_code == 2
    assert "error: hf://somebody/y@main/card.toml could not be downloaded" in missing.stderr
