"""A frame with everything drawn in that extraction believes of it: to see at a glance what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recaster.geometry.landmarks import hull_mask
from recaster.geometry.similarity import apply_matrix, invert_matrix
from recaster.types import Face, Picture

QUALITY = 50
"""JPEG quality of the debug pictures."""

_GREEN, _BLUE, _RED = (0, 255, 0), (0, 0, 255), (255, 0, 0)
_OPEN_LINES = (range(17), range(17, 22), range(22, 27), (*range(27, 36), 30))
_CLOSED_LINES = (range(36, 42), range(42, 48), range(48, 60), range(60, 68))
_SHIFT = 4  # binary places of OpenCV's fixed-point coordinates


def draw_faces(image: Picture, faces: Sequence[Face]) -> Picture:
    """A copy of the frame ``image`` (uint8) with the inside of the faces darkened, their landmarks green, the
    detector's boxes blue, and the crops red with a triangle in the corner that is top left in the crop.
    """
    drawn = np.ascontiguousarray(image).copy()
    for face in faces:
        inside = hull_mask(face.landmarks.points, (image.shape[0], image.shape[1]))[..., None] > 0.5
        drawn = np.where(inside, drawn // 2, drawn)
    for face in faces:
        _draw_landmarks(drawn, face.landmarks.points)
        left, top, right, bottom = face.box
        _line(drawn, np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), _BLUE, 2, closed=True)
        _draw_crop(drawn, face)
    return drawn


def _draw_landmarks(drawn: Picture, points: NDArray[Any]) -> None:
    for line in _OPEN_LINES:
        _line(drawn, points[list(line)], _GREEN, 1)
    for line in _CLOSED_LINES:
        _line(drawn, points[list(line)], _GREEN, 1, closed=True)
    for number, (x, y) in enumerate(_fixed(points).tolist()):
        radius = 2 if number < 17 else 1
        cv2.circle(drawn, (x, y), radius << _SHIFT, _GREEN, 1, cv2.LINE_AA, _SHIFT)


def _draw_crop(drawn: Picture, face: Face) -> None:
    edge = face.alignment.size - 1
    crop_to_frame = invert_matrix(face.alignment.frame_to_crop)
    square = np.array([(0, 0), (edge, 0), (edge, edge), (0, edge)])
    _line(drawn, apply_matrix(crop_to_frame, square), _RED, 2, closed=True)
    marker = np.array([(0, 0), (0.1 * edge, 0), (0, 0.05 * edge)])
    cv2.fillPoly(drawn, [_fixed(apply_matrix(crop_to_frame, marker))], _RED, cv2.LINE_AA, _SHIFT)


def _line(
    drawn: Picture, points: NDArray[Any], color: tuple[int, int, int], width: int, *, closed: bool = False
) -> None:
    cv2.polylines(drawn, [_fixed(points)], closed, color, width, cv2.LINE_AA, _SHIFT)


def _fixed(points: NDArray[Any]) -> NDArray[np.int32]:
    """Sub-pixel points as OpenCV's fixed-point numbers, kept far inside their range."""
    fixed: NDArray[np.int32] = np.rint(np.clip(points, -1e5, 1e5) * (1 << _SHIFT)).astype(np.int32)
    return fixed
