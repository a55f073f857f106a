"""What the C library does with memory that is no longer used."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory for its next tensors; False where that cannot be said.

    glibc gives large blocks back to the system at once, and every batch would fetch and clear them anew: that takes
    longer than to warp the faces. The most memory that is used at one time stays the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # Blocks above 32 MiB, the most that glibc takes here, are still fetched one by one.
    return bool(mallopt(_TRIM_THRESHOLD, 1 << 30)) and bool(mallopt(_MMAP_THRESHOLD, 32 << 20))
