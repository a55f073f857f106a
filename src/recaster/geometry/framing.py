"""Framings: which square around a face a crop shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recaster.geometry.mean_face import MEAN_FACE
from recaster.geometry.similarity import apply_matrix, compose, fit_similarity
from recaster.types import Alignment, Framing, Matrix

FIT_POINTS = np.array([*range(17, 49), 54])
"""Brows, nose, eyes and the corners of the mouth: an open mouth neither tilts nor scales the crop."""


@dataclass(frozen=True)
class _Square:
    """Side and upward shift of a framing, in sides of the mean face's unit square."""

    side: float
    up: float = 0.0


_SQUARES = {
    Framing.HALF: _Square(1.0),
    Framing.MIDFULL: _Square(1 + 2 * math.sqrt(2) * 0.0675),
    Framing.FULL: _Square(1 + 2 * math.sqrt(2) * 0.2109375),
    Framing.WHOLE: _Square(1 + 2 * math.sqrt(2) * 0.40, up=0.07),
    Framing.HEAD: _Square(1 + 2 * math.sqrt(2) * 0.70, up=0.5),
}


def align(points: NDArray[Any], framing: Framing, size: int, *, scale: float = 1.0) -> Alignment:
    """The crop of ``size`` × ``size`` px that shows the face with landmarks ``points`` ``(68, 2)`` (frame px) upright.

    The similarity is fitted to the mean face. ``scale`` is the output face scale: above 1 the crop covers more of the
    frame, so that a face made for a crop of scale 1 appears larger when it is pasted back through this one. The head
    framing also moves sideways with the yaw, so that the back of the head stays inside. Raises ValueError for points
    that are not finite or all equal.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (68, 2):
        raise ValueError(f"points have shape {points.shape}, expected (68, 2)")
    if size < 1 or not scale > 0:
        raise ValueError(f"a crop needs a positive size and scale, got {size} and {scale}")
    frame_to_unit = fit_similarity(points[FIT_POINTS], MEAN_FACE[FIT_POINTS - 17])
    square = _SQUARES[framing]
    sideways = _sideways(apply_matrix(frame_to_unit, points)) if framing is Framing.HEAD else 0.0
    return Alignment(compose(frame_to_unit, _unit_to_crop(square, sideways, size / scale, size)), size, framing)


def contains(outer: Framing, inner: Framing) -> bool:
    """Whether a crop framed ``outer`` shows all that one framed ``inner`` needs."""
    order = list(Framing)
    return order.index(outer) >= order.index(inner)


def _unit_to_crop(square: _Square, sideways: float, covered: float, size: int) -> Matrix:
    """``covered``: side of the framing's square in px of the crop, about the middle of a crop of ``size``."""
    zoom = covered / square.side
    centre = np.array([0.5 + sideways, 0.5 - square.up])
    return np.column_stack([np.eye(2) * zoom, size / 2 - zoom * centre])


def _sideways(unit: NDArray[np.float64]) -> float:
    """How far the head's crop moves to the right, in unit sides: half the yaw, damped near the frontal view.

    The yaw is read from the upper bridge of the nose between the upper ends of the jaw line.
    """
    bridge, right_jaw, left_jaw = unit[27:30, 0], unit[[16, 15, 14], 0], unit[0:3, 0]
    yaw = float((right_jaw - bridge).mean() - (bridge - left_jaw).mean())
    return yaw * abs(math.tanh(2 * yaw)) / 2
