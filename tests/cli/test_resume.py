"""A run's folder has one writer, and what is in it is compared before a run goes on."""

import errno
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dream_agents import SAC, DreamMPC
from dream_agents.agents.checkpoint import find_checkpoints
from dream_agents.runs import load_model
from dream_agents.runs.tables import RunTable

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-c", "from dream_agents.cli import main; main()"]


@pytest.fixture
def run_folder(trained, tmp_path):
    """A copy of a finished run that may be changed."""
    return shutil.copytree(trained, tmp_path / "run")


def change_settings(folder, **changes):
    content = json.loads((folder / "args.json").read_text())
    content["settings"] |= changes
    (folder / "args.json").write_text(json.dumps(content))


@contextmanager
def held_by_another(folder):
    """Let another process be the writer of a folder, and kill it in the end."""
    code = "from pathlib import Path; from dream_agents.files import only_writer; import time\n"
    code += f"with only_writer(Path({str(folder)!r})): print('locked', flush=True); time.sleep(100)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("arguments", [["--resume"], []])
def test_second_writer_is_told_of_the_first(run_folder, train, dream_agents_command, arguments):
    (run_folder / "args.json").rename(run_folder / "aside") if not arguments else None
    before = (run_folder / "final.zip").read_bytes()
    with held_by_another(run_folder) as process:
        if arguments:
            result = dream_agents_command("train", *arguments, "--out", run_folder, "--decisions", 84)
        else:
            result = train(run_folder)
    assert result.exit_code == 2
    written = re.sub(r"\s+", " ", result.stderr)
    assert (
        f"another process writes to {run_folder}: process {process.pid} on {platform.node()} since 20"
        in written
    )
    assert (run_folder / "final.zip").read_bytes() == before


def test_lock_of_a_killed_run_is_gone(run_folder, dream_agents_command):
    with held_by_another(run_folder):
        assert dream_agents_command("train", "--resume", "--out", run_folder).exit_code == 2
    assert dream_agents_command("train", "--resume", "--out", run_folder).exit_code == 0


@pytest.mark.parametrize(
    "damage", [lambda folder: None, lambda folder: shutil.rmtree(folder / "checkpoints")]
)
def test_finished_model_is_not_replaced(run_folder, dream_agents_command, damage):
    damage(run_folder)
    before = {
        path.name: path.read_bytes() for path in run_folder.iterdir() if path.suffix in (".zip", ".csv")
    }
    result = dream_agents_command("train", "--resume", "--out", run_folder)
    assert result.exit_code == 0, result.output
    assert "the run is finished" in result.stderr
    assert all((run_folder / name).read_bytes() == content for name, content in before.items())


def test_longer_run_keeps_the_model_that_was_finished(run_folder, dream_agents_command):
    before = (run_folder / "final.zip").read_bytes()
    assert dream_agents_command("train", "--resume", "--out", run_folder, "--decisions", 84).exit_code == 0
    assert (run_folder / "final-60.zip").read_bytes() == before
    assert DreamMPC.load(run_folder / "final.zip", device="cpu").num_timesteps == 84


@pytest.mark.parametrize("gone", ["checkpoints", "checkpoints/checkpoint_0000000060"])
@pytest.mark.filterwarnings("ignore:checkpoint")
def test_longer_run_without_the_last_checkpoint_is_refused(run_folder, dream_agents_command, gone):
    before = (run_folder / "final.zip").read_bytes()
    shutil.rmtree(run_folder / gone)
    result = dream_agents_command("train", "--resume", "--out", run_folder, "--decisions", 84)
    assert result.exit_code == 2
    assert "final.zip has 60 decisions, but the newest good checkpoint has" in result.stderr
    assert (run_folder / "final.zip").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 7}, "--seed 7, the checkpoint 0"),
        ({"env": "Pendulum-v1"}, "ENV Pendulum-v1, the checkpoint tests/CliPendulum-v0"),
        ({"n_envs": 3}, "--n-envs 3, the checkpoint 1"),
        ({"model_size": "1M"}, "--model-size 1M, the checkpoint tiny"),
        ({"options": ["backbone=tdmpc2", "batch_size=5"]}, "--set batch_size 5, the checkpoint 4"),
        ({"options": ["learner_kwargs.horizon=4"]}, "--set learner_kwargs.horizon 4, the checkpoint 3"),
        ({"agent": "tdmpc2"}, "was written by DreamMPC, not TDMPC2"),
    ],
)
def test_settings_and_checkpoint_of_two_runs_do_not_go_together(
    run_folder, dream_agents_command, changes, message
):
    change_settings(run_folder, **changes)
    result = dream_agents_command("train", "--resume", "--out", run_folder, "--decisions", 84)
    assert result.exit_code == 2
    assert message in result.stderr
    assert find_checkpoints(run_folder / "checkpoints")[0].name.endswith("60")


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_at_the_end_still_tries_the_model_and_names_what_is_missing(train, tmp_path, monkeypatch):
    monkeypatch.setattr(DreamMPC, "save_checkpoint", full_disk)
    result = train(tmp_path / "run")
    assert result.exit_code == 2
    assert DreamMPC.load(tmp_path / "run" / "final.zip", device="cpu").num_timesteps == 60
    assert f"{tmp_path / 'run' / 'checkpoints'} ([Errno" in result.stderr
    assert "final.zip (" not in result.stderr


def test_model_that_can_not_be_written_is_named_and_nothing_is_left_of_it(train, tmp_path, monkeypatch):
    monkeypatch.setattr("dream_agents.cli.train.save_final", full_disk)
    result = train(tmp_path / "run")
    assert result.exit_code == 2
    assert f"{tmp_path / 'run' / 'final.zip'} ([Errno" in result.stderr
    assert "--resume" in result.stderr
    assert len(find_checkpoints(tmp_path / "run" / "checkpoints")) == 1


def test_rows_that_do_not_fit_on_the_disk_are_written_later(tmp_path, monkeypatch):
    table = RunTable(tmp_path / "episodes.csv", ("decisions", "return"), 0)
    table.write(decisions=1, **{"return": 5})
    original = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode="r", **options: full_disk() if mode == "a" else None)
        with pytest.warns(UserWarning, match=r"episodes\.csv can't be written.*1 last rows are kept"):
            table.write(decisions=2, **{"return": 6})
    assert Path.open is original
    table.write(decisions=3, **{"return": 7})
    assert (tmp_path / "episodes.csv").read_text() == "decisions,return\n1,5\n2,6\n3,7\n"


# ------------------------------------------------------------ without pickle


@pytest.fixture
def no_pickle(monkeypatch):
    """Let everything that unpickles fail."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was unpickled")

    for place in ("pickle.loads", "pickle.load", "torch.load", "cloudpickle.loads"):
        monkeypatch.setattr(place, refuse)


def same_actions(first, second):
    obs = np.array([[1.0, 0.0, 0.5], [0.6, 0.8, -2.0]], np.float32)
    np.testing.assert_array_equal(*(model.predict(obs, deterministic=True)[0] for model in (first, second)))


@pytest.mark.parametrize("planner", ["policy", "dream"])
def test_run_is_loaded_without_pickle_and_acts_the_same(train, tmp_path, planner, request):
    folder = tmp_path / "run"
    assert train(folder, "--planner", planner, "--set", "env_kwargs.g=9.0", "--seed", 3).exit_code == 0
    expected = DreamMPC.load(folder / "final.zip", device="cpu")
    from_checkpoint = DreamMPC.load(find_checkpoints(folder / "checkpoints")[0] / "agent.zip", device="cpu")
    request.getfixturevalue("no_pickle")
    model = load_model(folder, device="cpu", notice=pytest.fail)
    assert type(model) is DreamMPC and model.env is None
    assert (model.num_timesteps, model.seed, model.total_decisions) == (60, 3, 60)
    assert model.task.env_kwargs == {"g": 9.0} and model.planner == expected.planner
    same_actions(model, expected)
    (folder / "final.zip").unlink()
    for source in (folder, folder / "checkpoints", find_checkpoints(folder / "checkpoints")[0]):
        same_actions(load_model(source, device="cpu", notice=pytest.fail), from_checkpoint)


def test_eval_and_export_of_a_run_unpickle_nothing(trained, dream_agents_command, no_pickle, tmp_path):
    result = dream_agents_command("eval", trained, "--episodes", 1, "--device", "cpu", "--no-subproc")
    assert result.exit_code == 0, result.output
    options = ("--license", "MIT", "--env", "Pendulum-v1")
    assert dream_agents_command("zoo", "export", trained, tmp_path / "entry", *options[:2]).exit_code == 0
    assert (tmp_path / "entry" / "model.safetensors").is_file()


def test_run_of_sac_is_loaded_without_pickle(dream_agents_command, pendulum, tmp_path, request):
    folder = tmp_path / "run"
    options = ("--agent", "sac", "--set", "learning_starts=12", "--decisions", 24, "--device", "cpu")
    assert dream_agents_command("train", pendulum, *options, "--out", folder).exit_code == 0
    expected = SAC.load(folder / "final.zip", device="cpu")
    request.getfixturevalue("no_pickle")
    same_actions(load_model(folder, device="cpu", notice=pytest.fail), expected)


def test_run_without_weights_of_that_form_is_loaded_with_a_notice(run_folder):
    (run_folder / "final.safetensors").unlink()
    said = []
    assert load_model(run_folder, device="cpu", notice=said.append).num_timesteps == 60
    assert "holds pickled objects, which can run code" in said[0]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x02\0\0\0\0\0\0\0{}"])
def test_damaged_weights_of_a_run_are_named(run_folder, content):
    (run_folder / "final.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"final\.safetensors does not hold an agent's weights"):
        load_model(run_folder, device="cpu")


def test_keywords_that_are_code_are_not_run(run_folder, tmp_path):
    path = run_folder / "args.json"
    code = f"__import__('os').mkdir({str(tmp_path / 'exploded')!r})"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"keywords": code}))
    with pytest.raises(ValueError, match=r"args\.json: keywords can't be read"):
        load_model(run_folder, device="cpu")
    assert not (tmp_path / "exploded").exists()


# ------------------------------------------------- environments in processes


@pytest.fixture
def learning(tmp_path):
    """A run in a process group of its own, with three environments in processes, that has begun to learn."""
    folder = tmp_path / "a run"
    options = [
        "backbone=tdmpc2",
        "learning_starts=30",
        "batch_size=4",
        "vec_env_cls=subproc",
        "buffer_size=5000",
        "gradient_steps=1",
    ]
    words = [
        "train",
        "Pendulum-v1",
        "--model-size",
        "1M",
        "--planner",
        "policy",
        "--n-envs",
        "3",
        "--device",
        "cpu",
    ]
    words += [word for option in options for word in ("--set", option)]
    words += ["--decisions", "100000", "--checkpoint-every", "100", "--out", str(folder)]
    process = subprocess.Popen(
        [*COMMAND, *words],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    limit = time.monotonic() + 200
    while not find_checkpoints(folder / "checkpoints") and time.monotonic() < limit:
        time.sleep(0.1)
    yield process, folder
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def workers_of(pid):
    """Processes with environments: children of the fork server, which is a child of the run."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    servers = {child for child, parent in parents.items() if parent == pid}
    return sorted(child for child, parent in parents.items() if parent in servers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_all_processes_writes_a_checkpoint(learning, number):
    process, folder = learning
    os.killpg(process.pid, number)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130, stderr
    assert "stopped at decision" in stderr and "Traceback" not in stderr
    newest = find_checkpoints(folder / "checkpoints")[0]
    assert f"stopped at decision {int(newest.name.rpartition('_')[2])};" in stderr


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("index", [0, 2])
def test_killed_worker_is_named_with_the_command_that_goes_on(learning, index):
    process, folder = learning
    os.kill(workers_of(process.pid)[index], signal.SIGKILL)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 2, stderr
    assert "of 3 has ended (killed by SIGKILL" in stderr
    assert f"dream-agents train --resume --out '{folder}'" in stderr and "Traceback" not in stderr


def test_plot_of_what_is_not_there_is_named(dream_agents_command):
    result = dream_agents_command("plot", "nosuch")
    assert result.exit_code == 2
    assert "there is no nosuch; name runs' folders" in result.stderr
