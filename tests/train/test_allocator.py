from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from recaster.train.allocator import keep_freed_memory

FAULTS = """
import resource
import numpy as np
from recaster.train.allocator import keep_freed_memory
assert keep_freed_memory()
def work():
    parts = [np.ones(size) for size in (1 << 19, 1 << 20, 1 << 23)]
    return sum(float(part[0]) for part in parts)
for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back at once")
def test_freed_memory_is_used_again() -> None:
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 600, "fetched anew it would be 19456 pages a round"


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: None) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert keep_freed_memory() is False
