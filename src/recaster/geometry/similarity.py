"""Similarity fits and the arithmetic of ``(2, 3)`` affine matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recaster.types import Matrix


def fit_similarity(source: NDArray[Any], target: NDArray[Any]) -> Matrix:
    """The rotation, uniform scale and shift that bring ``source`` ``(N, 2)`` nearest to ``target`` ``(N, 2)``.

    Least squares without reflection (Umeyama 1991, eq. 40-42). In the plane the singular value decomposition comes down
    to one complex quotient: with centred points as complex numbers, ``sum(conj(s) * t) / sum(|s|^2)`` is the scale and
    the rotation in one. Raises ValueError where the points do not determine it.
    """
    points, wanted = _checked("source", source), _checked("target", target)
    if points.shape != wanted.shape:
        raise ValueError(f"source has shape {points.shape} and target {wanted.shape}, expected the same")
    if len(points) < 2:
        raise ValueError(f"a similarity needs at least 2 points, got {len(points)}")
    origin, centre = points.mean(axis=0), wanted.mean(axis=0)
    from_origin, from_centre = points - origin, wanted - centre
    spread = float(np.square(from_origin).sum())
    if math.sqrt(spread) <= 1e-9 * max(1.0, float(np.abs(points).max())):
        raise ValueError("a similarity cannot be fitted: all source points are equal")
    cosine = float((from_origin * from_centre).sum()) / spread
    sine = float((from_origin[:, 0] * from_centre[:, 1] - from_origin[:, 1] * from_centre[:, 0]).sum()) / spread
    if math.hypot(cosine, sine) * math.sqrt(spread) <= 1e-9 * max(1.0, float(np.abs(wanted).max())):
        raise ValueError("a similarity cannot be fitted: the target points are equal or unrelated to the source")
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turn, centre - turn @ origin])


def apply_matrix(matrix: Matrix, points: NDArray[Any]) -> NDArray[np.float64]:
    """``points`` ``(..., 2)`` moved by ``matrix``, float64."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def invert_matrix(matrix: Matrix) -> Matrix:
    """The matrix of the opposite direction. Raises ValueError where there is none."""
    growth = _determinant(matrix)
    if not 0 < abs(growth) < math.inf:
        raise ValueError("the matrix has no inverse: it flattens the plane or is not finite")
    (a, b, _), (c, d, _) = matrix
    linear = np.array([[d, -b], [-c, a]]) / growth
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def compose(first: Matrix, then: Matrix) -> Matrix:
    """One matrix that does ``first`` and ``then`` in this order."""
    return np.column_stack([then[:, :2] @ first[:, :2], apply_matrix(then, first[:, 2])])


def scale_of(matrix: Matrix) -> float:
    """How many target pixels one source pixel becomes along a side (the root of the area's growth)."""
    return math.sqrt(abs(_determinant(matrix)))


def _determinant(matrix: Matrix) -> float:
    (a, b), (c, d) = matrix[:, :2].tolist()
    return float(a * d - b * c)


def _checked(name: str, points: NDArray[Any]) -> NDArray[np.float64]:
    array = np.asarray(points, np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{name} has shape {array.shape}, expected (N, 2)")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has points that are not finite numbers")
    return array
