import hashlib
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest

from dream_agents.wrappers.humanoid_bench import official
from dream_agents.wrappers.humanoid_bench.official import AssetsUnavailableError, official_folder

FILES = {
    "LICENSE": b"MIT",
    "envs/h1_pos_walk.xml": b"<mujoco/>",
    "h1/LICENSE": b"BSD",
    "h1/assets/pelvis.stl": bytes(range(256)) * 400,
    "tasks/walk.xml": b"<mujocoinclude/>",
}
TASKS = (
    "balance_hard balance_simple crawl hurdle maze pole reach run sit_hard sit_simple slide stair stand walk"
)
PELVIS = "h1/assets/pelvis.stl"
PUBLISHED = {f"/{'' if name == 'LICENSE' else 'humanoid_bench/assets/'}{name}": name for name in FILES}
"""The path on the server of each file: the repository's licence is not among its assets."""


class Mirror(ThreadingHTTPServer):
    """Serves `FILES` where GitHub has them. `faults` says what goes wrong with which, `requests` what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.faults: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name = PUBLISHED.get(self.path, self.path)
        self.server.requests[name] += 1
        fault = self.server.faults.get(name)
        if fault == "missing" or name not in FILES:
            self.send_error(404)
            return
        body = FILES[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "changed":
            body = bytes(len(body))
        if fault in ("breaks", "breaks once"):
            body = body[: len(body) // 2]
        if fault == "breaks once":
            del self.server.faults[name]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a small registry, no second tries, and no address to download from."""
    registry = tmp_path / "registry.txt"
    registry.write_text(
        "# name checksum\n"
        + "".join(f"{name} sha256:{hashlib.sha256(body).hexdigest()}\n" for name, body in FILES.items())
    )
    for variable in ("DREAM_AGENTS_HUMANOID_BENCH", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(official, "_REGISTRY", registry)
    monkeypatch.setattr(official, "_RETRIES", 0)
    monkeypatch.setattr(official, "_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "dream-agents"


@pytest.fixture
def online(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    monkeypatch.setattr(official, "_URL", mirror.url)
    return mirror


def kept(cache: Path) -> dict[str, bytes]:
    """What lies in the cache, whatever its name, but the lock."""
    folder = cache / "humanoid_bench" / official._COMMIT
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in cache.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def fail(*expected: str) -> str:
    """Ask for the folder in vain; return the message, which has to contain what is expected."""
    with pytest.raises(AssetsUnavailableError) as caught:
        official_folder()
    message = str(caught.value)
    for part in expected:
        assert part in message
    return message


def test_the_files_are_downloaded_into_the_cache_under_a_progress_bar(
    online: Mirror, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = pooch.get_logger()
    monkeypatch.setattr(logger.handlers[0], "stream", sys.stderr)  # it took hold of another one on import
    level = logger.level
    folder = official_folder()
    assert folder == cache / "humanoid_bench" / official._COMMIT
    assert (folder / PELVIS).read_bytes() == FILES[PELVIS]
    assert kept(cache) == FILES
    captured = capsys.readouterr()
    assert "HumanoidBench" in captured.err and "5/5" in captured.err
    assert "Downloading" not in captured.err  # pooch's own notes, two a file
    assert captured.out == ""
    assert logger.level == level


def test_what_is_there_is_neither_downloaded_again_nor_announced(
    online: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    first = official_folder()
    capsys.readouterr()
    online.requests.clear()
    assert official_folder() == first
    assert not online.requests
    assert capsys.readouterr() == ("", "")


def test_a_complete_cache_needs_no_network(online: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    first = official_folder()
    monkeypatch.setattr(official, "_URL", "http://127.0.0.1:9")
    assert official_folder() == first


def test_after_a_transfer_that_broke_off_only_the_rest_is_downloaded(
    online: Mirror, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    online.faults[PELVIS] = "breaks"
    fail(f"{online.url}/humanoid_bench/assets/{PELVIS}", "try again", "DREAM_AGENTS_HUMANOID_BENCH")
    left = kept(cache)
    assert PELVIS not in left and left.items() <= FILES.items()

    online.faults.clear()
    online.requests.clear()
    capsys.readouterr()
    assert (official_folder() / PELVIS).read_bytes() == FILES[PELVIS]
    assert kept(cache) == FILES
    rest = FILES.keys() - left.keys()
    assert set(online.requests) == rest
    assert f"{len(rest)}/{len(rest)}" in capsys.readouterr().err


def test_a_transfer_that_breaks_off_once_is_tried_again(
    online: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "_RETRIES", 1)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    online.faults[PELVIS] = "breaks once"
    official_folder()
    assert kept(cache) == FILES
    assert online.requests[PELVIS] == 2


def test_a_wrong_checksum_is_an_error_and_the_file_is_not_kept(online: Mirror, cache: Path) -> None:
    online.faults[PELVIS] = "changed"
    fail(
        f"{online.url}/humanoid_bench/assets/{PELVIS}",
        hashlib.sha256(FILES[PELVIS]).hexdigest(),
        hashlib.sha256(bytes(len(FILES[PELVIS]))).hexdigest(),
        "DREAM_AGENTS_HUMANOID_BENCH",
    )
    left = kept(cache)
    assert PELVIS not in left and left.items() <= FILES.items()


def test_a_file_that_is_not_published_is_an_error(online: Mirror, cache: Path) -> None:
    online.faults["tasks/walk.xml"] = "missing"
    fail(f"{online.url}/humanoid_bench/assets/tasks/walk.xml", "404", "DREAM_AGENTS_HUMANOID_BENCH")
    left = kept(cache)
    assert "tasks/walk.xml" not in left and left.items() <= FILES.items()


def test_without_a_network_the_error_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:  # bound but not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setattr(official, "_URL", url)
        fail(url, "clone https://github.com/carlosferrazza/humanoid-bench", "DREAM_AGENTS_HUMANOID_BENCH")
    assert kept(cache) == {}


def test_a_cache_that_cannot_be_written_is_an_error(online: Mirror, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    fail(str(cache), "DREAM_AGENTS_HUMANOID_BENCH")


@pytest.mark.parametrize("damage", [b"", b"<mujoco>"], ids=["emptied", "cut"])
def test_a_file_that_is_damaged_later_is_downloaded_anew(online: Mirror, cache: Path, damage: bytes) -> None:
    folder = official_folder()
    (folder / "envs/h1_pos_walk.xml").write_bytes(damage)
    online.requests.clear()
    assert official_folder() == folder
    assert kept(cache) == FILES
    assert online.requests == {"envs/h1_pos_walk.xml": 1}


def test_a_damaged_file_is_not_used_without_a_network(
    online: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    (official_folder() / PELVIS).write_bytes(b"solid")
    monkeypatch.setattr(official, "_URL", "http://127.0.0.1:9")
    fail(PELVIS)


def ask_at_once(workers: int, ask: Callable[[], Path]) -> set[Path]:
    start = threading.Barrier(workers)

    def worker(_: int) -> Path:
        start.wait()
        return ask()

    with ThreadPoolExecutor(workers) as pool:
        return set(pool.map(worker, range(workers)))


def test_of_many_workers_one_downloads_and_all_get_the_folder(
    online: Mirror, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(ask_at_once(8, official_folder)) == 1
    assert kept(cache) == FILES
    assert online.requests == dict.fromkeys(FILES, 1)
    assert capsys.readouterr().err.count("HumanoidBench") == 1


def test_many_workers_do_not_break_each_other_where_files_cannot_be_locked(
    online: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError("no locks available")

    def makedirs(path: str, *_: object, **__: object) -> None:
        raise FileExistsError(f"{path} was made by another worker in the meantime")

    monkeypatch.setattr("fcntl.flock", flock)
    monkeypatch.setattr("pooch.core.os.makedirs", makedirs)
    assert len(ask_at_once(8, official_folder)) == 1
    assert kept(cache) == FILES


def test_processes_share_one_download(online: Mirror, cache: Path) -> None:
    code = (
        "import importlib.util, pathlib, sys, pooch\n"
        "spec = importlib.util.spec_from_file_location('official', sys.argv[1])\n"
        "official = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(official)\n"
        "official._REGISTRY, official._URL = pathlib.Path(sys.argv[2]), sys.argv[3]\n"
        "pooch.os_cache = lambda project: pathlib.Path(sys.argv[4])\n"
        "print(official.official_folder())\n"
    )
    arguments = [official.__file__, str(official._REGISTRY), online.url, str(cache)]
    command = [sys.executable, "-c", code, *arguments]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {process.communicate(timeout=60)[0] for process in processes}
    assert printed == {f"{cache / 'humanoid_bench' / official._COMMIT}\n"}
    assert kept(cache) == FILES
    assert online.requests == dict.fromkeys(FILES, 1)


def test_the_variable_names_a_folder_and_nothing_is_downloaded(
    online: Mirror, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FILES.keys() - {"LICENSE"}:  # as in a clone, whose own licence lies elsewhere
        (tmp_path / "assets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "assets" / name).write_bytes(b"changed by the user")
    monkeypatch.setenv("DREAM_AGENTS_HUMANOID_BENCH", str(tmp_path / "assets"))
    assert official_folder() == tmp_path / "assets"
    assert not online.requests and not cache.exists()


def test_the_variable_names_no_folder(
    online: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAM_AGENTS_HUMANOID_BENCH", str(tmp_path / "asets"))
    fail(f"DREAM_AGENTS_HUMANOID_BENCH={tmp_path / 'asets'} is not a folder", "humanoid_bench/assets")
    assert not online.requests


def test_the_variable_names_a_folder_that_lacks_files(
    online: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/h1_pos_walk.xml").write_bytes(b"<mujoco/>")
    monkeypatch.setenv("DREAM_AGENTS_HUMANOID_BENCH", str(tmp_path))
    message = fail(str(tmp_path), "lacks 2 of 3 files", PELVIS, "tasks/walk.xml", "humanoid_bench/assets")
    assert "h1_pos_walk" not in message
    assert not online.requests


def test_the_published_registry_covers_all_environments(
    monkeypatch: pytest.MonkeyPatch, shared: Path
) -> None:
    registry = Path(official.__file__).with_name("official_files.txt")
    monkeypatch.setattr(official, "_REGISTRY", registry)
    assets = shared / "humanoid_bench_assets"
    if not assets.is_dir():
        pytest.skip(f"no public files in {assets}")
    files = official._registry(assets)
    assert official._wanted(files) == []
    on_disk = {path.relative_to(assets).as_posix() for path in assets.rglob("*") if path.is_file()}
    assert set(files.registry) == on_disk
    environments = {f"envs/{robot}_pos_{task}.xml" for robot in ("h1", "h1hand") for task in TASKS.split()}
    assert len(environments) == 28 and environments <= set(files.registry)
