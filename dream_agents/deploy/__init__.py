"""Controllers that ``model.export`` wrote, without PyTorch: onnxruntime and NumPy are all that this needs.

    >>> from dream_agents.deploy import Controller
    >>> controller = Controller("walker.onnx")
    >>> controller.reset()
    >>> action = controller.act(observation)

Nothing else of this package is imported.
"""

from __future__ import annotations

from dream_agents.deploy.controller import Controller
from dream_agents.deploy.errors import ControllerError

__all__ = ["Controller", "ControllerError"]
