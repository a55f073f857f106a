"""Shared fixtures: one torch thread, and the real clips that lie beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

CLIPS = Path(os.environ.get("RECASTER_CLIPS", Path(__file__).parents[2] / "shared" / "clips"))
INTEROP = Path(os.environ.get("RECASTER_INTEROP", Path(__file__).parents[2] / "shared" / "interop"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two busy threads on two busy cores are slower than one."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips; tests that need it skip where it is missing."""
    if not CLIPS.is_dir():
        pytest.skip(f"no real clips at {CLIPS} (set RECASTER_CLIPS)")
    return CLIPS
