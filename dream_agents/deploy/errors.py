"""What goes wrong with a controller."""

from __future__ import annotations


class ControllerError(ValueError):
    """A file, its description or an observation is not what it has to be; the message says what was expected."""
