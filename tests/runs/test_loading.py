"""Models by whatever names them: a run's folder, a saved file, a checkpoint, or an entry of the zoo."""

import json
import shutil
import subprocess
import sys

import pytest

from dream_agents import TDMPC2, zoo
from dream_agents.runs import is_entry, load_model


def test_final_model_of_a_run_is_its_agent(finished):
    model = load_model(finished, device="cpu")
    assert (type(model), model.num_timesteps) == (TDMPC2, 12)


def test_newer_checkpoint_is_taken_instead_of_the_final_model(killed):
    told = []
    assert load_model(killed, device="cpu", notice=told.append).num_timesteps == 20
    (notice,) = told
    assert "checkpoint_0000000020" in notice
    with pytest.warns(
        UserWarning, match=r"the run went on after .*final\.zip; this is .*checkpoint_0000000020"
    ):
        load_model(killed, device="cpu")


def test_damaged_checkpoint_is_not_taken_instead_of_the_final_model(killed):
    (killed / "checkpoints" / "checkpoint_0000000020" / "replay.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match="checkpoint_0000000020 can't be used"):
        assert load_model(killed, device="cpu", notice=pytest.fail).num_timesteps == 12


def test_run_that_did_not_end_is_its_newest_checkpoint(killed):
    (killed / "final.zip").unlink()
    checkpoints = killed / "checkpoints"
    for source in (killed, checkpoints, checkpoints / "checkpoint_0000000020"):
        assert load_model(source, device="cpu", notice=pytest.fail).num_timesteps == 20


def test_saved_file_away_from_its_run_needs_no_agent_to_act(finished, tmp_path):
    alone = shutil.copy(finished / "final.zip", tmp_path / "alone.zip")
    model = load_model(alone, device="cpu")
    assert (model.backbone_name, model.num_timesteps) == ("tdmpc2", 12)
    assert type(load_model(alone, device="cpu", agent="tdmpc2")) is TDMPC2


@pytest.mark.parametrize("name", ["args.json", "other.zip", "no-such-model"])
def test_what_is_no_model_is_named(run, name):
    (run / "other.zip").write_text("not a zip")
    source = name if name == "no-such-model" else run / name
    with pytest.raises(ValueError, match=name):
        load_model(source)


def test_entries_are_told_from_files(finished, tmp_path):
    zoo.save(TDMPC2.load(finished / "final.zip", "Pendulum-v1", device="cpu"), tmp_path / "entry")
    assert is_entry(tmp_path / "entry")
    assert is_entry(zoo.names(offline=True)[0])
    assert load_model(tmp_path / "entry", device="cpu").env is not None
    for source in (finished, finished / "final.zip", "walker-walk-1.pt"):
        assert not is_entry(source)


def test_import_is_light():
    code = "import dream_agents.runs, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not {"torch", "stable_baselines3", "matplotlib", "typer"} & set(json.loads(done.stdout))
