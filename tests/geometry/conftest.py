"""Faces with known landmarks, as fixtures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from recaster.geometry.mean_face import MEAN_FACE


@pytest.fixture(scope="session")
def golden_points() -> NDArray[np.float64]:
    """The mean face, 100 px wide at (50, 60), with a jaw that is symmetric about its nose."""
    unit = np.empty((68, 2))
    unit[17:] = MEAN_FACE
    angles = np.linspace(np.pi, 0, 17)
    unit[:17] = np.column_stack([0.490127 + 0.55 * np.cos(angles), 0.25 + 0.85 * np.sin(angles)])
    return unit * 100 + (50, 60)
