from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have such limits")
def test_memory_is_not_kept_where_reserving_it_is_limited() -> None:
    code = (
        "import resource; from recaster.train.allocator import keep_freed_memory;"
        "resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34)); print(keep_freed_memory())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_system_that_reserves_strictly_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "overcommit").write_text("2\n")
    monkeypatch.setattr("recaster.train.allocator.STRICT", tmp_path / "overcommit")
    assert keep_freed_memory() is False


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: None) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert keep_freed_memory() is False
