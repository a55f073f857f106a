"""What the C library does with memory that is no longer used."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""glibc's malloc.h: M_TRIM_THRESHOLD and M_MMAP_MAX."""
STRICT = Path("/proc/sys/vm/overcommit_memory")
"""Linux: 2 where only memory that really exists may be reserved."""


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next tensors; False where that cannot be said, or would do harm.

    glibc gives large blocks back to the system at once, and every step would fetch and clear them anew, which is a
    tenth of its time or more. At most a few percent more memory is used at one time. But where a limit counts what is
    reserved, memory that is kept in pieces would be missing when a training that has run out of it goes on in parts.
    """
    if _reserving_is_limited():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(_MMAP_MAX, 0))


def _reserving_is_limited() -> bool:
    with suppress(ImportError, OSError, ValueError):
        import resource

        if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
            return True
        return int(STRICT.read_text()) == 2
    return False
