"""Made-up faces, and the files of other programs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from recaster.types import Alignment, Face, Framing, Landmarks, Picture, Pose

INTEROP = Path(os.environ.get("RECASTER_INTEROP", Path(__file__).parents[3] / "shared" / "interop"))


@pytest.fixture(scope="session")
def interop() -> Path:
    """Files that other programs wrote; tests that need them skip where they are missing."""
    if not INTEROP.is_dir():
        pytest.skip(f"no foreign files at {INTEROP} (set RECASTER_INTEROP)")
    return INTEROP


@pytest.fixture(scope="session")
def make_face() -> Callable[..., Face]:
    def make(frame: str = "00001", seed: int = 0, *, dense: bool = True, framing: Framing = Framing.WHOLE) -> Face:
        draw = np.random.default_rng(seed)
        return Face(
            frame=frame,
            box=(10.5, 20.25, 110.0, 150.75),
            landmarks=Landmarks(
                points=draw.uniform(0, 200, (68, 2)).astype(np.float32),
                dense=draw.uniform(0, 200, (478, 3)).astype(np.float32) if dense else None,
                confidence=draw.uniform(0, 1, 68).astype(np.float32) if dense else None,
            ),
            pose=Pose(10.5, -3.25, 1.0),
            alignment=Alignment(draw.normal(size=(2, 3)), 64, framing),
            score=0.75,
            quality=3.5,
        )

    return make


@pytest.fixture(scope="session")
def crop() -> Picture:
    """A 64 × 64 crop with smooth content, so that JPEG keeps it well."""
    y, x = np.mgrid[:64, :64]
    return np.stack([x * 4, y * 4, (x + y) * 2], axis=2).astype(np.uint8)


def _load_fakes() -> ModuleType:
    """fakes.py is also a program that a test starts, so it is a file of its own."""
    spec = importlib.util.spec_from_file_location("recaster_faces_fakes", Path(__file__).with_name("fakes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """Quick stand-ins for the networks, and made-up clips."""
    return _load_fakes()
