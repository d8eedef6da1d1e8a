"""The notebooks of docs/tutorials run, and show what is kept in them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from dream_agents.wrappers import gl

from .snippets import CHECKOUT

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbclient, of the extra `test`")
NOTEBOOKS = sorted(path.stem for path in (CHECKOUT / "docs" / "tutorials").glob("*.ipynb"))
RENDER = {"first-agent", "pixels"}


@pytest.fixture(scope="module")
def tutorials() -> ModuleType:
    """scripts/tutorials.py, which keeps the outputs in the files."""
    spec = importlib.util.spec_from_file_location("tutorials", CHECKOUT / "scripts" / "tutorials.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(notebook) -> list[set[str]]:
    """What kinds of output each cell shows."""
    return [
        {kind for output in cell.get("outputs", []) for kind in output.get("data", {output.output_type: ""})}
        for cell in notebook.cells
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_shows_what_it_keeps(name: str, tutorials: ModuleType, tmp_path: Path) -> None:
    if name in RENDER and not any(map(gl.is_usable, gl.HEADLESS)):
        pytest.skip("neither EGL nor OSMesa works here")
    if name == "paper-table":
        pytest.importorskip("rliable", reason="needs the extra report")
    path = tutorials.FOLDER / f"{name}.ipynb"
    kept = nbformat.read(path, as_version=4)
    assert shown(tutorials.normalised(tutorials.run(path, tmp_path))) == shown(kept)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_keeps_its_outputs_and_stays_small(name: str, tutorials: ModuleType) -> None:
    path = tutorials.FOLDER / f"{name}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")
    assert path.stat().st_size <= tutorials.LARGEST
    assert "image/png" in set().union(*shown(nbformat.read(path, as_version=4)))
