"""``scripts/gpu/borrowed.py`` up to the GPU: parts that are cut off, trainings that go on, and what comes back."""

import importlib.util
import os
import sys
import tarfile
import time
from pathlib import Path

import pytest

from dream_agents.agents.checkpoint import WEIGHTS_FILE
from dream_agents.models.bmpc import BMPC_SIZES
from dream_agents.models.tdmpc import TDMPC_SIZES, TDMPCSize
from dream_agents.runs import FINAL

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu" / "borrowed.py"


@pytest.fixture
def borrowed(monkeypatch):
    if not SCRIPT.exists():
        pytest.skip("scripts/ is only in a checkout of the repository")
    spec = importlib.util.spec_from_file_location("borrowed", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_LOOK", 0.02)
    return module


def python(code):
    return [sys.executable, "-c", code]


def soon(seconds=30.0):
    return time.monotonic() + seconds


def names(out):
    return [name for path in sorted(out.glob("runs-*")) for name in tarfile.open(path).getnames()]


def test_file_names_are_the_packages(borrowed):
    assert (borrowed.FINAL, borrowed.WEIGHTS) == (FINAL, WEIGHTS_FILE)


def test_a_part_is_done_once(borrowed, tmp_path):
    result, count = tmp_path / "part.txt", tmp_path / "count"
    code = f"print('hello'); open({str(count)!r}, 'a').write('x')"
    for _ in range(2):
        borrowed.once(result, python(code), soon())
    assert count.read_text() == "x"
    assert result.read_text().split() == ["hello", "exit", "status", "0"]


def test_a_part_that_is_cut_off_leaves_what_it_said_and_is_done_again(borrowed, tmp_path):
    result = tmp_path / "part.txt"
    borrowed.once(result, python("import time; print('half', flush=True); time.sleep(60)"), soon(2))
    assert not result.exists()
    assert (tmp_path / "part.part.txt").read_text().strip() == "half"
    borrowed.once(result, python("print('whole')"), soon())
    assert "whole" in result.read_text()
    assert list(tmp_path.iterdir()) == [result]


#: stands in for `dream-agents train`: logs, and ends at once, or writes a checkpoint when it is asked to stop
TRAINING = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True)
with open(folder / "episodes.csv", "a") as table: table.write("begun\\n")
if sys.argv[2] == "short":
    (folder / "final.zip").write_text("agent"); sys.exit()
def save(*_):
    last = folder / "checkpoints" / "checkpoint_5"; last.mkdir(parents=True)
    (last / "weights.safetensors").write_text("weights"); (last / "replay.npz").write_text("large")
    sys.exit()
signal.signal(signal.SIGTERM, save)
(folder / "ready").touch()
time.sleep(60)
"""


def test_trainings_end_or_stop_with_a_checkpoint_and_are_packed(borrowed, tmp_path):
    out, state = tmp_path / "out", tmp_path / "runs"
    out.mkdir()
    entries = [("Short-v0", "bmpc", 1, 10), ("Long-v0", "bmpc", 1, 10), ("Short-v0", "bmpc", 2, 10)]

    def command(entry, folder):
        return [sys.executable, "-c", TRAINING, str(folder), entry[0].split("-")[0].lower()]

    for _ in range(2):
        borrowed.train_all(entries[:1] + entries[2:], out, state, 2, soon(), command)
    assert (state / "bmpc-Short-v0-1" / "episodes.csv").read_text() == "begun\n", "it was done"
    borrowed.train_all(entries, out, state, 1, soon(2), command)
    packed = names(out)
    assert {f"bmpc-Short-v0-{seed}/final.zip" for seed in (1, 2)} <= set(packed)
    assert "bmpc-Long-v0-1/checkpoints/checkpoint_5/weights.safetensors" in packed
    assert "bmpc-Long-v0-1.log" in packed
    assert not any("replay" in name for name in packed)
    assert not (state / "bmpc-Long-v0-1" / "done").exists()


def test_what_comes_back_fits(borrowed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(borrowed, "LARGEST_FILE", 2**18)
    monkeypatch.setattr(borrowed, "MOST_FILES", 6)
    out, state = tmp_path / "out", tmp_path / "runs"
    out.mkdir()
    state.mkdir()
    for number in range(6):
        (state / f"{number}.bin").write_bytes(os.urandom(100_000))
    (state / "huge.bin").write_bytes(os.urandom(400_000))
    borrowed.pack(state, out)
    archives = sorted(out.iterdir())
    assert [path.name for path in archives] == ["runs-0.tar.gz", "runs-1.tar.gz"]
    assert all(path.stat().st_size <= 2**18 for path in archives)
    assert len(names(out)) >= 2
    assert "huge.bin" in capsys.readouterr().out


def test_a_training_is_marked_where_it_ends(borrowed, dream_agents_command, tmp_path, monkeypatch):
    """The real command, on the CPU with a tiny model, leaves what the script looks for."""
    for sizes in (BMPC_SIZES, TDMPC_SIZES):
        monkeypatch.setitem(sizes, "5M", TDMPCSize(16, 16, 16, 2, 2))
    for _ in range(2):  # begins, and goes on from where it was
        command = borrowed.training(("Pendulum-v1", "bmpc", 3, 8), tmp_path / "run")
        instead = {"cuda": "cpu", "vec_env_cls=subproc": "vec_env_cls=dummy"}
        words = [instead.get(word, word) for word in command[len(borrowed.COMMAND) :]]
        result = dream_agents_command(*words)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / borrowed.FINAL).exists()
