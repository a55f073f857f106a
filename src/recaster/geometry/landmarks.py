"""The 68 iBUG landmarks: their mirror image, and the masks of what they outline."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recaster.types import Floats

MIRROR: NDArray[np.intp] = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *range(27, 31),  # bridge of the nose
        *range(35, 30, -1),  # base of the nose
        *(45, 44, 43, 42, 47, 46),  # right eye, from the left one
        *(39, 38, 37, 36, 41, 40),
        *range(54, 47, -1),  # outer lips
        *range(59, 54, -1),
        *range(64, 59, -1),  # inner lips
        *range(67, 64, -1),
    ]
)
"""``(68,)``: point i of a mirrored face is point ``MIRROR[i]`` of the face."""
MIRROR.setflags(write=False)

_BASE_OF_NOSE = (27, 31, 32, 33, 34, 35)
_HULL_PIECES = (
    (*range(9), 17),
    (*range(8, 17), 26),
    (17, 18, 19, 8),
    (24, 25, 26, 8),
    (19, 20, 21, 22, 23, 24, 8),
    (*range(17, 22), *_BASE_OF_NOSE, 8),
    (*range(22, 27), *_BASE_OF_NOSE, 8),
    tuple(range(27, 36)),
)
_FEATURES = (tuple(range(36, 42)), tuple(range(42, 48)), tuple(range(48, 60)))  # eyes, outer lips
_SAMPLES = 4  # sub-pixels along a side of a pixel
_FRACTION_BITS = 4  # of OpenCV's fixed-point polygon corners


def mirror_points(points: NDArray[Any], width: float) -> NDArray[Any]:
    """The landmarks ``(..., 68, 2)`` of the picture mirrored left to right; ``width`` is the picture's, in px."""
    mirrored = np.array(points)[..., MIRROR, :]
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    return mirrored


def raise_brows(points: NDArray[Any], expansion: float = 1.0) -> NDArray[np.float64]:
    """``points`` ``(68, 2)`` with the brows moved up by half of ``expansion`` × their height over the eyes.

    The outermost brow point is measured from a place between the eye's corner and the temple.
    """
    raised = np.array(points, np.float64)
    right_temple = raised[36] * 0.75 + raised[0] * 0.25
    left_temple = raised[45] * 0.75 + raised[16] * 0.25
    right_eye = np.vstack([right_temple, raised[36:40]])
    left_eye = np.vstack([raised[42:46], left_temple])
    raised[17:22] += 0.5 * expansion * (raised[17:22] - right_eye)
    raised[22:27] += 0.5 * expansion * (raised[22:27] - left_eye)
    return raised


def hull_mask(points: NDArray[Any], shape: tuple[int, int], *, brow_expansion: float = 1.0) -> Floats:
    """The face outlined by ``points`` ``(68, 2)``, as ``shape`` ``(h, w)`` float32: 1 inside, 0 outside.

    A union of convex pieces, so that a turned face keeps its profile. Pixels on the edge get the share that is covered
    (to 1/16). Points may lie outside the picture. Raises ValueError for points that are not finite.
    """
    outline = raise_brows(points, brow_expansion)
    if outline.shape != (68, 2) or not np.isfinite(outline).all():
        raise ValueError(f"a hull needs (68, 2) finite points, got shape {outline.shape}")
    height, width = shape
    mask = np.zeros((height, width), np.float32)
    left, top = np.clip(np.floor(outline.min(axis=0)) - 1, 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(outline.max(axis=0)) + 2, 0, (width, height)).astype(int)
    if left >= right or top >= bottom:
        return mask
    canvas = np.zeros(((bottom - top) * _SAMPLES, (right - left) * _SAMPLES), np.uint8)
    corners = ((outline - (left, top) + 0.5) * _SAMPLES - 0.5) * (1 << _FRACTION_BITS)
    for piece in _HULL_PIECES:
        hull = cv2.convexHull(np.rint(corners[list(piece)]).astype(np.int32))
        cv2.fillConvexPoly(canvas, hull, 255, cv2.LINE_8, _FRACTION_BITS)
    covered = cv2.resize(canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    mask[top:bottom, left:right] = covered.astype(np.float32) / 255
    return mask


def feature_mask(points: NDArray[Any], shape: tuple[int, int], *, margin: float = 1 / 16) -> Floats:
    """Eyes and mouth of ``points`` ``(68, 2)``, as ``shape`` ``(h, w)`` float32: 1 inside, 0 far outside.

    Each is 1 up to a distance of ``margin`` × the one between the outer corners of the eyes, and falls to 0 at twice
    that, so that lids and lips are in it. Raises ValueError for points that are not finite.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"eyes and mouth need (68, 2) finite points, got shape {points.shape}")
    reach = max(margin * float(np.linalg.norm(points[45] - points[36])), 1.0)
    # Parts may lie outside the picture, but not so far that nothing of their margin is seen.
    border = math.ceil(2 * reach) + 1
    canvas = np.full((shape[0] + 2 * border, shape[1] + 2 * border), 255, np.uint8)
    for part in _FEATURES:
        hull = cv2.convexHull(np.rint((points[list(part)] + border) * (1 << _FRACTION_BITS)).astype(np.int32))
        cv2.fillConvexPoly(canvas, hull, 0, cv2.LINE_8, _FRACTION_BITS)
    if canvas.all():
        return np.zeros(shape, np.float32)
    distance = cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inner = distance[border : border + shape[0], border : border + shape[1]]
    return np.asarray(np.clip(2 - inner / reach, 0, 1), np.float32)
