"""From frames to faces: detect, place landmarks, align, and leave out what cannot be a face."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from recaster.faces.options import ExtractOptions
from recaster.faces.summary import overlap
from recaster.geometry.framing import align
from recaster.geometry.landmarks import hull_mask
from recaster.geometry.pose import estimate_pose
from recaster.geometry.similarity import apply_matrix, scale_of
from recaster.geometry.warp import warp_crop
from recaster.perception.detect.base import Detection, Detector
from recaster.perception.landmarks.base import Landmarker
from recaster.types import Alignment, Face, Floats, Frame, Framing, Landmarks, Picture

MOST_AREA = 4.0
"""The full-framed crop of a plausible face covers at most this many times its box, and at least one part in as many."""

_DUPLICATE = 0.5
_SHARPNESS_SIZE = 256


@dataclass(frozen=True)
class FoundFaces:
    """The faces of one frame, largest first, each with its crop; ``rejected`` detections were left out."""

    faces: list[tuple[Face, Picture]]
    rejected: int


def find_faces(
    frames: Sequence[Frame], detector: Detector, landmarker: Landmarker, options: ExtractOptions
) -> list[FoundFaces]:
    """The faces of each of ``frames`` (uint8 pictures)."""
    detections = detector.detect([frame.image for frame in frames])
    wanted = [
        (number, detection)
        for number, found in enumerate(detections)
        for detection in found
        if _big_enough(detection, options) and detection.score >= options.min_confidence
    ]
    marks = landmarker.locate([frames[number].image for number, _ in wanted], [detection for _, detection in wanted])
    located: list[list[tuple[Detection, Landmarks]]] = [[] for _ in frames]
    for (number, detection), landmarks in zip(wanted, marks, strict=True):
        if is_plausible(detection, landmarks, frames[number].image.shape[:2], options.min_confidence):
            located[number].append((detection, landmarks))
    found_faces = []
    for frame, found, pairs in zip(frames, detections, located, strict=True):
        kept = _without_duplicates(pairs)
        chosen = kept[: options.max_faces or None]
        faces = [make_face(frame, detection, landmarks, options) for detection, landmarks in chosen]
        found_faces.append(FoundFaces(faces, rejected=len(found) - len(kept)))
    return found_faces


def is_plausible(
    detection: Detection, landmarks: Landmarks, frame_shape: tuple[int, ...], min_confidence: float
) -> bool:
    """Whether the landmarks can belong to the face in the box.

    They are trusted, most of the brows, eyes, nose and mouth lie inside the frame, and the full-framed crop that they
    make has about the size of the box. The framing that the user chose plays no part, so all framings keep the same
    faces.
    """
    if landmarks.confidence is not None and landmarks.confidence.mean() < min_confidence:
        return False
    inner = landmarks.points[17:]
    height, width = frame_shape[:2]
    inside = ((inner >= 0) & (inner <= (width - 1, height - 1))).all(axis=1)
    if not np.isfinite(landmarks.points).all() or inside.mean() < 0.5:
        return False
    try:
        side = 1.0 / scale_of(align(landmarks.points, Framing.FULL, 1).frame_to_crop)
    except ValueError:  # all points in one place
        return False
    return 1.0 / MOST_AREA <= side**2 / detection.area <= MOST_AREA


def make_face(
    frame: Frame, detection: Detection, landmarks: Landmarks, options: ExtractOptions
) -> tuple[Face, Picture]:
    """The aligned face and its ``(size, size, 3)`` crop."""
    alignment = align(landmarks.points, options.framing, options.size)
    crop = warp_crop(frame.image, alignment.frame_to_crop, alignment.size)
    left, top, right, bottom = map(float, detection.box)
    face = Face(
        frame=frame.name,
        box=(left, top, right, bottom),
        landmarks=landmarks,
        pose=estimate_pose(landmarks.points),
        alignment=alignment,
        score=float(detection.score),
        quality=sharpness(crop, landmarks.points, alignment),
    )
    return face, crop


def sharpness(crop: Picture, points: Floats, alignment: Alignment) -> float:
    """How much fine detail the face shows: the variance of the Laplacian over that of the brightness, inside the face.

    After Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", made independent of contrast and
    of the crop's size. ``points`` (68, 2) are frame px. About 0.001 for a blurred face and 0.1 for a crisp one.
    """
    size = _SHARPNESS_SIZE
    filter_ = cv2.INTER_AREA if alignment.size > size else cv2.INTER_LINEAR
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (size, size), interpolation=filter_).astype(np.float32)
    in_crop = apply_matrix(alignment.frame_to_crop, points) * (size / alignment.size)
    inside = hull_mask(in_crop, (size, size)) > 0.5
    if not inside.any():
        return 0.0
    contrast = float(grey[inside].var())
    return float(cv2.Laplacian(grey, cv2.CV_32F)[inside].var()) / contrast if contrast > 1.0 else 0.0


def _big_enough(detection: Detection, options: ExtractOptions) -> bool:
    left, top, right, bottom = detection.box
    return min(right - left, bottom - top) >= options.min_size


def _without_duplicates(pairs: Sequence[tuple[Detection, Landmarks]]) -> list[tuple[Detection, Landmarks]]:
    """Largest first; of two that show the same face, by their boxes or by their landmarks, the more certain one."""
    kept: list[tuple[Detection, Landmarks]] = []
    for pair in sorted(pairs, key=lambda pair: (-pair[0].score, pair[0].box)):
        if not any(_same_face(pair, other) for other in kept):
            kept.append(pair)
    return sorted(kept, key=lambda pair: (-pair[0].area, pair[0].box))


def _same_face(one: tuple[Detection, Landmarks], other: tuple[Detection, Landmarks]) -> bool:
    apart = float(np.linalg.norm(one[1].points - other[1].points, axis=1).mean())
    return overlap(one[0].box, other[0].box) > _DUPLICATE or apart < 0.1 * math.sqrt(one[0].area)
