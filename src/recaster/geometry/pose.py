"""Head pose from 68 landmarks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recaster.geometry.mean_face import MODEL_3D
from recaster.types import Pose

_WEIGHTS = np.ones((68, 1))
# The jaw line of a mesh is the visible contour: it slides over the head as the head turns.
_WEIGHTS[:17] = 0.1
_WEIGHTS /= _WEIGHTS.sum()
_CENTRED_MODEL = MODEL_3D - (_WEIGHTS * MODEL_3D).sum(axis=0)


def estimate_pose(points: NDArray[Any]) -> Pose:
    """The pose of the face with landmarks ``points`` ``(68, 2)``, px.

    A scaled-orthographic camera (no focal length to guess) is fitted to the generic head by weighted least squares: the
    affine camera first, then the nearest scaled rotation (Tomasi & Kanade 1992, sec. 3.4, for one view). The rotation
    is read as ``roll * yaw * pitch``: roll is the lean in the picture, yaw and pitch are those of the face once that
    lean is taken back. Raises ValueError for points that are not finite or do not spread over a plane.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"a pose needs (68, 2) finite points, got shape {points.shape}")
    centred = points - (_WEIGHTS * points).sum(axis=0)
    normal = _CENTRED_MODEL.T @ (_WEIGHTS * _CENTRED_MODEL)
    camera = np.linalg.solve(normal, _CENTRED_MODEL.T @ (_WEIGHTS * centred)).T
    left, sizes, right = np.linalg.svd(camera, full_matrices=False)
    if sizes[1] <= 1e-6 * sizes[0] or sizes[0] <= 1e-9 * max(1.0, float(np.abs(points).max())):
        raise ValueError("a pose cannot be estimated: the points lie on one line or in one place")
    return _pose_of(left @ right)


def _pose_of(axes: NDArray[np.float64]) -> Pose:
    """The angles of a rotation of which ``axes`` ``(2, 3)`` are the x and y rows (z runs away from the viewer)."""
    depth = np.cross(axes[0], axes[1])
    yaw = math.atan2(depth[0], math.hypot(axes[0, 0], axes[1, 0]))
    pitch = math.atan2(-depth[1], depth[2])
    roll = math.atan2(axes[1, 0], axes[0, 0])
    return Pose(yaw=math.degrees(yaw), pitch=math.degrees(pitch), roll=math.degrees(roll))
