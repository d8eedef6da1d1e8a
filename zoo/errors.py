"""What the zoo raises."""

from __future__ import annotations


class ZooError(ValueError):
    """An entry, or what is given with it, is not what it should be; the text names what is wrong."""
