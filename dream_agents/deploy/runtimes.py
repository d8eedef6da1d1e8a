"""What runs an exported file: ONNX Runtime, or PyTorch for a package of its compiler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dream_agents.deploy.errors import ControllerError

Arrays = Mapping[str, np.ndarray]


class Runtime(Protocol):
    """An exported file, loaded."""

    def metadata(self) -> Mapping[str, str]:
        """What the file says about itself."""
        ...

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """Outputs, in the file's order."""
        ...


class OnnxRuntime:
    """A file of the format "onnx".

    :param path: the file
    :param threads: that a decision may use
    :raises ControllerError: if ONNX Runtime can't load it
    """

    def __init__(self, path: Path, threads: int):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                "running .onnx files needs onnxruntime: pip install 'dream-agents[deploy]', or onnxruntime alone"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Within a decision threads look out for work, which saves a quarter of its time; after it they sleep, and leave
        # the processor to whoever simulates or measures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common class of their own
            raise ControllerError(f"ONNX Runtime can't load {path}: {error}") from error

    def metadata(self) -> Mapping[str, str]:
        """The model's metadata."""
        found: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return found

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """Run the graph."""
        found: list[np.ndarray] = self._session.run(None, inputs)
        return found


class TorchRuntime:
    """A file of the format "pt2", a package of PyTorch's ahead-of-time compiler.

    :param path: the file
    :param threads: that a decision may use
    :raises ControllerError: if PyTorch can't load it
    """

    def __init__(self, path: Path, threads: int):
        try:
            import torch
        except ImportError as error:
            raise ImportError(
                'running .pt2 files needs PyTorch; export with format="onnx" otherwise'
            ) from error
        torch.set_num_threads(threads)
        try:
            self._package: Any = _load_package(str(path))
        except Exception as error:
            raise ControllerError(f"PyTorch can't load {path}: {error}") from error
        self._from_numpy = torch.from_numpy

    def metadata(self) -> Mapping[str, str]:
        """The package's metadata."""
        found: Mapping[str, str] = self._package.get_metadata()
        return found

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """Run the compiled function."""
        outputs = self._package.run(
            [self._from_numpy(np.ascontiguousarray(value)) for value in inputs.values()]
        )
        return [value.numpy() for value in outputs]


def _load_package(path: str) -> Any:
    """What runs a package: its ``run`` maps a list of tensors to one."""
    import torch

    try:
        # What PyTorch's aoti_load_package wraps, which takes two seconds to import.
        return torch._C._aoti.AOTIModelPackageLoader(path, "model", False, 1, -1)
    except (AttributeError, TypeError):  # a version of PyTorch that takes other arguments
        from torch._inductor import aoti_load_package

        return aoti_load_package(path).loader


def load(path: Path, threads: int) -> Runtime:
    """Load an exported file by its ending.

    :raises ControllerError: for other endings, and files that can't be loaded
    """
    runtimes: dict[str, type[OnnxRuntime] | type[TorchRuntime]] = {".onnx": OnnxRuntime, ".pt2": TorchRuntime}
    if path.suffix not in runtimes:
        raise ControllerError(f"{path} ends neither in .onnx nor in .pt2, the formats that export writes")
    return runtimes[path.suffix](path, threads)
