"""What goes wrong with an export."""

from __future__ import annotations


class ExportError(ValueError):
    """A decision can't be exported, or the file does not give what ``predict`` gives."""
