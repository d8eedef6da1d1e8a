"""Memory that PyTorch frees on a CPU."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

#: glibc's numbers of its options, from malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ENVIRONMENT = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


@cache
def keep_freed_memory(kept: int = 2**28, largest: int = 2**25) -> bool:
    """Let the process keep up to ``kept`` bytes of freed memory instead of giving them back to the system at once.

    By default glibc returns the blocks of a few MB that batched networks need as soon as they are freed, and the
    system has to clear them again each time, which takes longer than the arithmetic. For programs that train or
    evaluate; done by ``learn`` and ``evaluate``. Does nothing where the C library is another one or the environment
    (``MALLOC_TRIM_THRESHOLD_``, ``LD_PRELOAD``, ...) says what malloc should do.

    :param kept: bytes that may stay with the process
    :param largest: blocks from this size on are always given back; glibc takes 32 MB at most
    :return: whether the setting was made
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _ENVIRONMENT):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, largest)) and bool(mallopt(_M_TRIM_THRESHOLD, kept))
