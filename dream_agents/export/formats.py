"""Programs as files: ONNX, and packages of PyTorch's ahead-of-time compiler."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from dream_agents.deploy.description import ID
from dream_agents.export.errors import ExportError
from dream_agents.export.program import Program
from dream_agents.export.simplify import simplify

#: formats and the endings of their files
SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2"}
#: ONNX's operators of October 2023, which Debian's ONNX Runtime knows
OPSET = 20


def check_format(format: str) -> None:
    """Check that a format is known and what writes it is here.

    :raises ValueError: for an unknown format
    :raises ImportError: if a package is missing, saying which
    """
    if format not in SUFFIXES:
        raise ValueError(f'format="{format}" is not known; use {" or ".join(map(repr, SUFFIXES))}')
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if format == "onnx" and missing:
        raise ImportError(f'format="onnx" needs {", ".join(missing)}: pip install "dream-agents[export]"')


def write_onnx(program: Program, path: Path, id: str) -> None:
    """Write a program, with its weights, as one ONNX file.

    :param program: the program
    :param path: the file; it is replaced in one go
    :param id: tells which description is the file's
    :raises ExportError: for operators that ONNX has no translation of
    """
    with _quiet():
        exported = torch.export.export(program.graph, tuple(program.inputs.values()))
        try:
            found = torch.onnx.export(
                exported,
                dynamo=True,
                input_names=list(program.inputs),
                output_names=list(program.outputs),
                opset_version=OPSET,
                optimize=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = next(
                (line for line in str(error).splitlines() if "No ONNX function" in line), str(error)
            )
            raise ExportError(f"ONNX has no translation of this decision: {reason}") from error
    assert found is not None
    simplify(found.model)
    found.model.metadata_props[ID] = id
    unfinished = path.with_name(f".{path.name}.unfinished")
    found.save(str(unfinished), external_data=False)
    os.replace(unfinished, path)


def write_pt2(program: Program, path: Path, id: str) -> None:
    """Compile a program for this machine's kind of processor, and write it as one package.

    :param program: the program
    :param path: the file; it is replaced in one go
    :param id: tells which description is the file's
    """
    import torch._inductor  # takes a second

    unfinished = path.with_name(f".unfinished.{path.name}")
    options = {"freezing": True, "aot_inductor.metadata": {ID: id}}
    with _quiet(), torch.no_grad():
        exported = torch.export.export(program.graph, tuple(program.inputs.values()))
        torch._inductor.aoti_compile_and_package(
            exported, package_path=str(unfinished), inductor_configs=options
        )
    os.replace(unfinished, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what PyTorch's exporter says to its developers."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
