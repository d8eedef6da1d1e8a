"""Cuts what a Python process does that starts with this folder on its path."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from cut import cut

cut(pytest.MonkeyPatch(), decisions=40)
