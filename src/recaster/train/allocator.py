"""What the C library does with memory that is no longer used."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""glibc's malloc.h: M_TRIM_THRESHOLD and M_MMAP_MAX."""


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next tensors; False where that cannot be said.

    glibc gives large blocks back to the system at once, and every step would fetch and clear them anew, which is a
    tenth of its time or more. At most a few percent more memory is used at one time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(_MMAP_MAX, 0))
