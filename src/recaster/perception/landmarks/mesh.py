"""The landmarker "mesh": Face Mesh with attention, run twice, the second time on a crop made level and centred by what
the first time found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recaster.geometry.similarity import apply_matrix, invert_matrix, scale_of
from recaster.geometry.warp import warp_crop
from recaster.perception.detect.base import Detection
from recaster.perception.landmarks.facemesh import INPUT_SIZE, MESH_POINTS, load_net
from recaster.types import Floats, Landmarks, Matrix, Picture

IBUG = np.array(
    [
        *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # contour of the face
        *(71, 63, 105, 66, 107),  # brow
        *(336, 296, 334, 293, 301),  # brow
        *(168, 197, 5, 4),  # bridge of the nose
        *(75, 97, 2, 326, 305),  # base of the nose
        *(33, 160, 158, 133, 153, 144),  # eye
        *(362, 385, 387, 263, 373, 380),  # eye
        *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # lips, outside
        *(78, 82, 13, 312, 308, 317, 14, 87),  # lips, inside
    ]
)
"""The point of the mesh for each of the 68 iBUG points. The first 17 lie on the mesh's own contour of the face."""

_EYE_CORNERS = np.array([[33, 133], [362, 263]])
"""The corners of each eye, left and right in the picture."""
_NOSE_AND_MOUTH = np.array([4, 61, 291])
"""Tip of the nose, corners of the mouth."""

_FIRST_PIXEL = 0.25
"""The network's coordinate of the centre of its input's first pixel: with it, and with neither 0 nor 0.5, a mirrored
picture gives the mirrored points."""

_MOVE = 0.04
"""Where a point counts half: it moved by this part of the face's size between the last two passes."""
_DISAGREEMENT = 0.15
"""Where a face counts half: its distance from the detector's points over its size."""


@dataclass(frozen=True)
class MeshSettings:
    """``passes``: how often each face is looked at; ``margin``: side of the crop over that of the face in it;
    ``batch``: faces at a time.
    """

    passes: int = 2
    margin: float = 1.5
    batch: int = 32


@dataclass(frozen=True)
class _Fit:
    """``dense`` ``(478, 3)`` px of the frame, and the probability that there is a face."""

    dense: NDArray[np.float64]
    presence: float

    @property
    def size(self) -> float:
        """Of the face: the root of its box's area, px."""
        width, height = np.ptp(self.dense[:MESH_POINTS, :2], axis=0)
        return max(math.sqrt(width * height), 1e-6)


class Mesh:
    """The landmarker "mesh": 68 points, and the dense mesh ``(478, 3)`` with depth in pixels, smaller is nearer.

    The confidence of a point is near 1 where the last two passes agree on it and the whole lies on the five points of
    the detector; where the network sees no face, it is near 0 everywhere.
    """

    def __init__(self, device: torch.device, settings: MeshSettings | None = None) -> None:
        self.settings = settings or MeshSettings()
        self.device = device
        self.net = load_net().to(device)

    def locate(self, images: Sequence[Picture], detections: Sequence[Detection]) -> list[Landmarks]:
        """The landmarks of each pair of a picture and a face in it."""
        if len(images) != len(detections):
            raise ValueError(f"{len(images)} pictures and {len(detections)} detections, expected pairs")
        found: list[Landmarks] = []
        for start in range(0, len(images), self.settings.batch):
            part = slice(start, start + self.settings.batch)
            found += self._locate_batch(images[part], detections[part])
        return found

    def _locate_batch(self, images: Sequence[Picture], detections: Sequence[Detection]) -> list[Landmarks]:
        crops = [_crop_of_detection(detection, self.settings.margin) for detection in detections]
        fits = before = self._look(images, crops)
        for _ in range(self.settings.passes - 1):
            before = fits
            fits = self._look(images, [_crop_of_mesh(fit.dense, self.settings.margin) for fit in before])
        return [
            Landmarks(
                points=fit.dense[IBUG, :2].astype(np.float32),
                dense=fit.dense.astype(np.float32),
                confidence=confidence(fit, earlier, detection),
            )
            for fit, earlier, detection in zip(fits, before, detections, strict=True)
        ]

    @torch.inference_mode()
    def _look(self, images: Sequence[Picture], crops: Sequence[Matrix]) -> list[_Fit]:
        """What the network finds in each picture through its ``frame_to_crop``."""
        pictures = [
            warp_crop(image, matrix, INPUT_SIZE, border="replicate")
            for image, matrix in zip(images, crops, strict=True)
        ]
        batch = torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2).float() / 255.0
        dense, presence = self.net(batch)
        fits: list[_Fit] = []
        for points, present, matrix in zip(dense.cpu().double().numpy(), presence.tolist(), crops, strict=True):
            back = invert_matrix(matrix)
            flat = apply_matrix(back, points[:, :2] - _FIRST_PIXEL)
            fits.append(_Fit(np.column_stack([flat, points[:, 2] * scale_of(back)]), present))
        return fits


def confidence(fit: _Fit, before: _Fit, detection: Detection) -> Floats:
    """``(68,)`` 0..1: presence, times agreement with the pass before, times agreement with the detector's points.

    An error ``e`` counts ``1 / (1 + e²)`` in units of the error that counts half (a Cauchy weight). Each point answers
    for its own move and for the median of all, since a mesh that slides as a whole is wrong everywhere.
    """
    moved = np.linalg.norm((fit.dense - before.dense)[IBUG, :2], axis=1) / fit.size
    weight = 1 / (1 + (moved**2 + np.median(moved) ** 2) / _MOVE**2)
    if detection.points is not None:
        eyes = fit.dense[_EYE_CORNERS, :2].mean(axis=1)
        five = np.concatenate([eyes, fit.dense[_NOSE_AND_MOUTH, :2]])
        apart = float(np.linalg.norm(five - detection.points, axis=1).mean()) / fit.size
        weight /= 1 + (apart / _DISAGREEMENT) ** 4
    return np.asarray(weight * fit.presence, np.float32)


def _crop_of_detection(detection: Detection, margin: float) -> Matrix:
    left, top, right, bottom = detection.box
    roll = 0.0 if detection.points is None else _direction(*detection.points[:2])
    return _level_crop((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) * margin, roll)


def _crop_of_mesh(dense: NDArray[np.float64], margin: float) -> Matrix:
    mesh = dense[:MESH_POINTS, :2]
    roll = _direction(mesh[_EYE_CORNERS[0, 0]], mesh[_EYE_CORNERS[1, 1]])
    turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    level = mesh @ turn
    low, high = level.min(axis=0), level.max(axis=0)
    x, y = turn @ (low + high) / 2
    return _level_crop(x, y, float((high - low).max()) * margin, roll)


def _direction(start: NDArray[np.floating], end: NDArray[np.floating]) -> float:
    """Angle of the line from ``start`` to ``end``, radians, clockwise as seen in the picture."""
    return math.atan2(float(end[1] - start[1]), float(end[0] - start[0]))


def _level_crop(x: float, y: float, side: float, roll: float) -> Matrix:
    """``frame_to_crop`` of a square of ``side`` px around (x, y), turned so that ``roll`` becomes level."""
    scale = INPUT_SIZE / max(side, 1.0)
    linear = scale * np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    middle = (INPUT_SIZE - 1) / 2
    return np.column_stack([linear, np.array([middle, middle]) - linear @ np.array([x, y])])
