"""What a face detector is, the registry of those there are, and what they share. Importing it costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recaster.registry import Registry
from recaster.types import Floats, Picture

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Detection:
    """One face that a detector found.

    ``box`` is left, top, right, bottom in pixels of the frame; it may reach beyond the frame where the face does.
    ``score`` is 0..1. ``points`` ``(5, 2)`` float32 px, where the network gives them: eye, eye, nose, corner and
    corner of the mouth, each pair in the order left, right in which an upright face shows it in the picture.
    """

    box: tuple[float, float, float, float]
    score: float
    points: Floats | None = None

    @property
    def area(self) -> float:
        """Of the box, px²."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


class Detector(Protocol):
    """Finds faces. Made with the device it computes on and, where it has settings, its settings."""

    def detect(self, images: Sequence[Picture]) -> list[list[Detection]]:
        """The faces in each ``(H, W, 3)`` uint8 RGB picture, largest first; sizes may differ."""
        ...


detectors: Registry[Callable[[torch.device], Detector]] = Registry("detector")
"""Factories by name; the network's module is imported, and its weights are read, when one is called."""


@detectors.add("accurate")
def _accurate(device: torch.device) -> Detector:
    from recaster.perception.detect.centerface import CenterFace

    return CenterFace(device)


@detectors.add("mtcnn")
def _mtcnn(device: torch.device) -> Detector:
    from recaster.perception.detect.mtcnn import Mtcnn

    return Mtcnn(device)


@detectors.add("fast")
def _fast(device: torch.device) -> Detector:
    from recaster.perception.detect.blazeface import BlazeFace

    return BlazeFace(device)


def make_detector(name: str, device: torch.device) -> Detector:
    """The detector called ``name``, ready on ``device``. Raises UsageError for an unknown name, MissingError without
    weights.
    """
    return detectors.get(name)(device)


def batches(images: Sequence[Picture], limit: int) -> Iterator[list[int]]:
    """The positions of pictures that can be stacked: of one size, next to each other, at most ``limit`` at a time."""
    group: list[int] = []
    for position, image in enumerate(images):
        if group and (len(group) == limit or image.shape != images[group[0]].shape):
            yield group
            group = []
        group.append(position)
    if group:
        yield group


def batch_limit(device: torch.device) -> int:
    """How many pictures to compute at once: one on a CPU, where torch's convolutions are fastest so."""
    return 1 if device.type == "cpu" else 16


def reduced_and_padded(images: Sequence[Picture], long_side: int, multiple: int) -> tuple[Picture, float]:
    """Pictures of one size as ``(N, h, w, 3)``, and pixels of them to a pixel of the frame, at most 1.

    Reduced until the longer side is no more than ``long_side``, then continued in black at the right and the bottom to
    sides that are multiples of ``multiple``.
    """
    import cv2

    height, width = images[0].shape[:2]
    scale = min(long_side / max(height, width), 1.0)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        images = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
    stack = np.stack(images)
    height, width = stack.shape[1:3]
    return np.pad(stack, ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0))), scale


def keep_distinct(boxes: NDArray[Any], scores: NDArray[Any], overlap: float, *, of_smaller: bool = False) -> list[int]:
    """Non-maximum suppression: rows of ``boxes`` ``(N, 4)`` to keep, best score first.

    A box goes when it overlaps a better one by more than ``overlap``: intersection over union, or over the area of the
    smaller of the two.
    """
    left, top, right, bottom = np.asarray(boxes, np.float64).reshape(-1, 4).T
    area = (right - left) * (bottom - top)
    waiting = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []
    while len(waiting):
        best, rest = waiting[0], waiting[1:]
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        whole = np.minimum(area[best], area[rest]) if of_smaller else area[best] + area[rest] - common
        kept.append(int(best))
        waiting = rest[common <= overlap * whole]
    return kept


def largest_first(
    boxes: NDArray[Any], scores: NDArray[Any], points: NDArray[Any] | None, smallest: float
) -> list[Detection]:
    """Detections out of ``boxes`` ``(N, 4)``, ``scores`` ``(N,)`` and ``points`` ``(N, 5, 2)``, largest first.

    Those with a side below ``smallest`` px are left out.
    """
    found = [
        Detection(
            box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            score=float(score),
            points=None if points is None else np.asarray(points[index], np.float32),
        )
        for index, (box, score) in enumerate(zip(boxes, scores, strict=True))
        if min(box[2] - box[0], box[3] - box[1]) >= smallest
    ]
    return sorted(found, key=lambda detection: -detection.area)
