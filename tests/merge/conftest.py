"""A face without a person: landmarks in the shape of the mean face, and plates to put it on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recaster.geometry.framing import align
from recaster.geometry.mean_face import MEAN_FACE
from recaster.geometry.warp import warp_crop
from recaster.merge.composite import Paste
from recaster.types import Framing


def _face_points(x: float, y: float, size: float, roll: float = 0.0) -> np.ndarray:
    """(68, 2) landmarks around (x, y), ``size`` px from brow to chin or so, leaning by ``roll`` degrees."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 + 0.6 * np.cos(turn), 0.2 + 0.9 * np.sin(turn)], axis=1)
    points = np.vstack([jaw, MEAN_FACE]) - 0.5
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return (points @ np.array([[cosine, sine], [-sine, cosine]]) * size + (x, y)).astype(np.float32)


def _gradient_plate(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: smooth, different in each channel, nowhere near black or white."""
    y, x = np.mgrid[:height, :width]
    planes = [60 + 120 * x / width, 70 + 100 * y / height, 180 - 60 * (x + y) / (width + height)]
    return np.rint(np.stack(planes, axis=-1)).astype(np.uint8)


def _paste_on(
    image: np.ndarray,
    points: np.ndarray,
    change: Callable[[np.ndarray], np.ndarray] = lambda crop: crop,
    *,
    resolution: int = 128,
    framing: Framing = Framing.FULL,
) -> Paste:
    """A paste whose new face is ``change`` of the target's crop."""
    alignment = align(points, framing, resolution)
    crop = warp_crop(image, alignment.frame_to_crop, resolution, border="replicate")
    target = crop if crop.dtype == np.float32 else (crop / np.iinfo(crop.dtype).max).astype(np.float32)
    return Paste(alignment, change(target).astype(np.float32), target, points)


@pytest.fixture(scope="session")
def face_points() -> Callable[..., np.ndarray]:
    return _face_points


@pytest.fixture(scope="session")
def paste_on() -> Callable[..., Paste]:
    return _paste_on


@pytest.fixture
def plate() -> np.ndarray:
    return _gradient_plate(240, 320)
