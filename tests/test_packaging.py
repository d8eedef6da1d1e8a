import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dream_agents

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCES = {
    "dream_agents": "dream_agents",
    "registry": "dream_agents/registry",
    "wrappers": "dream_agents/wrappers",
    "zoo": "dream_agents/zoo",
}
SLOW_TO_IMPORT = {
    *("dm_control", "matplotlib", "metaworld", "mujoco"),
    *("shimmy", "stable_baselines3", "tensorboard", "torch"),
}


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel built from a copy of the checkout, so that nothing is left in it."""
    source = tmp_path_factory.mktemp("source")
    for folder in SOURCES:
        shutil.copytree(checkout / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(checkout / name, source)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(source)], cwd=source, check=True, capture_output=True, timeout=120
    )
    (path,) = source.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def in_wheel(checkout: Path, pattern: str) -> set[str]:
    """Where files of the checkout that match the pattern belong in a wheel."""
    return {
        f"{target}/{path.relative_to(checkout / folder).as_posix()}"
        for folder, target in SOURCES.items()
        for path in (checkout / folder).glob(pattern)
    }


@pytest.mark.parametrize("pattern", ["**/*.py", "**/py.typed", "entries/**/card.toml", "**/*.safetensors"])
def test_wheel_has_every_source_file(checkout: Path, wheel: set[str], pattern: str) -> None:
    expected = in_wheel(checkout, pattern)
    assert expected, f"the checkout has no {pattern}"
    missing = expected - wheel
    assert not missing, "add the packages to [tool.setuptools] or the files to its package-data"


def test_wheel_installs_no_other_top_level_names(wheel: set[str]) -> None:
    top_level = {name.split("/")[0] for name in wheel}
    assert {name for name in top_level if not name.endswith(".dist-info")} == {"dream_agents"}


def test_wheel_has_license_texts(wheel: set[str]) -> None:
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in wheel if ".dist-info/" in name}


def test_version_is_the_same_everywhere(checkout: Path) -> None:
    declared = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["version"]
    assert dream_agents.__version__ == declared
    assert importlib.metadata.version("dream-agents") == declared
    assert f"## [{declared}]" in (checkout / "CHANGELOG.md").read_text()


def test_import_is_light(tmp_path: Path) -> None:
    program = "import dream_agents, json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True)
    imported = {name.partition(".")[0] for name in json.loads(run.stdout)}
    assert "dream_agents" in imported
    assert not imported & SLOW_TO_IMPORT


@pytest.mark.parametrize(
    "module",
    ["wrappers.actions", "registry.environments", "zoo", "agents.base", "planners.dream", "deploy", "watch"],
)
def test_any_module_may_be_imported_first(tmp_path: Path, module: str) -> None:
    program = f"import dream_agents.{module}, gymnasium; gymnasium.spec('dmc_walker-walk-v0')"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True)


def test_command_starts_away_from_the_checkout(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("dream-agents")
    run = subprocess.run([command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "Usage" in run.stdout


def test_constraints_satisfy_the_declared_dependencies(checkout: Path) -> None:
    from packaging.requirements import Requirement

    lines = (checkout / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    version = {
        pin.name: str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }
    for line in importlib.metadata.requires("dream-agents") or []:
        requirement = Requirement(line)
        if requirement.name != "dream-agents":
            assert requirement.name in version, f"{requirement.name} is not pinned"
            assert requirement.specifier.contains(version[requirement.name]), line


def test_import_from_a_checkout_that_is_not_installed(checkout: Path, tmp_path: Path) -> None:
    """Python started in a clone finds it before what is installed, if not by way of an editable install."""
    for folder in SOURCES:
        shutil.copytree(checkout / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from dream_agents import registry, wrappers, zoo; print(*(m.__file__ for m in (registry, wrappers, zoo)))"
    # An editable install's finder comes before the path; -S keeps it out, and PYTHONPATH brings the rest back.
    site = [path for path in sys.path if path.endswith("site-packages")]
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *site])},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = run.stdout.split()
    assert found == [str(tmp_path / name / "__init__.py") for name in ("registry", "wrappers", "zoo")]
