"""Made-up clips and quick stand-ins for the networks; run as a program, it is an extraction that a test can kill."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recaster.faces.extract import extract_faces
from recaster.faces.options import ExtractOptions
from recaster.faces.summary import ExtractSummary
from recaster.geometry.mean_face import MEAN_FACE
from recaster.media.pictures import write_picture
from recaster.perception.detect.base import Detection
from recaster.progress import SILENT, Progress
from recaster.types import Landmarks, Picture

JAW = np.stack([np.linspace(-0.1, 1.1, 17), 0.3 + 0.9 * np.sin(np.linspace(0, np.pi, 17))], axis=1)
SIZE = (120, 160)


def paint(faces: Sequence[tuple[int, int, int]], shift: int = 0) -> Picture:
    """A frame with a bright square (left, top, side) for every face, on a smooth dark ground."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([(x + y + shift) % 90, x % 90, y % 90], axis=2).astype(np.uint8)
    for left, top, side in faces:
        image[top : top + side, left : left + side] = 200 + (x + 3 * y)[top : top + side, left : left + side, None] % 40
    return image


def paint_clip(folder: Path, frames: int = 20) -> Path:
    """A folder of pictures: a moving face, sometimes a second, none in every seventh frame."""
    for index in range(frames):
        faces = [(20 + index, 30, 40)] if index % 7 != 3 else []
        if index % 3 == 1:
            faces.append((110, 70, 30))
        write_picture(folder / f"{index:03d}.png", paint(faces, index))
    return folder


class SquareDetector:
    """Finds the bright squares; ``pause`` seconds a picture."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.seen = 0
        self.batches: list[int] = []

    def detect(self, images: Sequence[Picture]) -> list[list[Detection]]:
        time.sleep(self.pause * len(images))
        self.seen += len(images)
        self.batches.append(len(images))
        return [self._squares(image) for image in images]

    def _squares(self, image: Picture) -> list[Detection]:
        found = []
        for half in (slice(0, 100), slice(100, None)):
            rows, columns = np.nonzero(image[:, half].min(axis=2) > 150)
            if len(rows):
                left, top = float(columns.min() + half.start), float(rows.min())
                right, bottom = float(columns.max() + half.start + 1), float(rows.max() + 1)
                found.append(Detection((left, top, right, bottom), 0.9, None))
        return sorted(found, key=lambda detection: detection.box[0] - detection.box[2])


class MeanLandmarker:
    """Puts the mean face into every box."""

    def locate(self, images: Sequence[Picture], detections: Sequence[Detection]) -> list[Landmarks]:
        return [mean_landmarks(detection) for detection in detections]


def mean_landmarks(detection: Detection, confidence: float = 1.0) -> Landmarks:
    """The mean face, filling most of the box."""
    left, top, right, _ = detection.box
    points = np.concatenate([JAW, MEAN_FACE]) * 0.7 * (right - left) + (left + 0.15 * (right - left), top + 4)
    return Landmarks(points.astype(np.float32), confidence=np.full(68, confidence, np.float32))


def run(
    source: Path,
    folder: Path,
    options: ExtractOptions | None = None,
    progress: Progress = SILENT,
    detector: SquareDetector | None = None,
) -> ExtractSummary:
    """An extraction without networks."""
    return extract_faces(
        source,
        folder,
        options or ExtractOptions(size=256),
        progress,
        detector=detector or SquareDetector(),
        landmarker=MeanLandmarker(),
    )


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), detector=SquareDetector(pause=0.005))
