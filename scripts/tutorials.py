"""Runs the notebooks of docs/tutorials and keeps their outputs in the files.

    python scripts/tutorials.py                # all
    python scripts/tutorials.py planners       # one, by its file's name

Needs the extra ``test`` for nbclient and a kernel. A notebook runs in a temporary folder with one thread, as in tests.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
LARGEST = 300_000  # bytes of a notebook with its outputs


def run(path: Path, folder: Path) -> NotebookNode:
    """Run a notebook.

    :param folder: its working directory
    :raises nbclient.exceptions.CellExecutionError: where a cell fails
    """
    notebook = nbformat.read(path, as_version=4)
    command_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = {"PATH": command_path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "COLUMNS": "100"}
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        startup_timeout=240,
        coalesce_streams=True,
    )
    client.execute(env=os.environ | settings)
    return notebook


def normalised(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs from machine to machine, so that a file changes only where its content does."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    return notebook


def main() -> None:
    """Run the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="names of notebooks, without .ipynb; none for all")
    names = parser.parse_args().names
    known = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
    unknown = set(names) - known.keys()
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(known)}")
    for name in names or known:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            notebook = normalised(run(known[name], Path(folder)))
        text = nbformat.writes(notebook)
        if len(text) > LARGEST:
            sys.exit(f"{name}: {len(text)} bytes with outputs; at most {LARGEST}, draw smaller pictures")
        known[name].write_text(text + "\n")
        print(f"{name}: {time.perf_counter() - began:.1f} s, {len(text) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
