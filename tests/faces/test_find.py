"""From detections to faces: what is kept, in which order, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from types import ModuleType

import cv2
import numpy as np
import pytest

from recaster.faces.find import FoundFaces, find_faces, is_plausible, sharpness
from recaster.faces.options import ExtractOptions
from recaster.geometry.framing import align
from recaster.geometry.similarity import apply_matrix
from recaster.perception.detect.base import Detection
from recaster.types import Frame, Framing, Landmarks, Picture

OPTIONS = ExtractOptions(size=256)


class Fixed:
    """A detector that always finds the same."""

    def __init__(self, *detections: Detection) -> None:
        self.detections = list(detections)

    def detect(self, images: Sequence[Picture]) -> list[list[Detection]]:
        return [list(self.detections) for _ in images]


def square(left: float, top: float, side: float, score: float = 0.9) -> Detection:
    return Detection((left, top, left + side, top + side), score)


def frame(shape: tuple[int, int] = (200, 300)) -> Frame:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    return Frame(0, "00001", Fraction(0), image)


def find(fakes: ModuleType, *detections: Detection, options: ExtractOptions = OPTIONS) -> FoundFaces:
    return find_faces([frame()], Fixed(*detections), fakes.MeanLandmarker(), options)[0]


def lefts(found: FoundFaces) -> list[float]:
    return [face.box[0] for face, _ in found.faces]


def test_the_largest_face_comes_first(fakes: ModuleType) -> None:
    found = find(fakes, square(10, 10, 40), square(200, 60, 60), square(100, 20, 50))
    assert lefts(found) == [200, 100, 10]
    assert found.rejected == 0
    face, crop = found.faces[0]
    assert crop.shape == (256, 256, 3)
    assert (face.frame, face.score, face.track) == ("00001", 0.9, -1)
    assert face.alignment.size == 256
    eyes = apply_matrix(face.alignment.frame_to_crop, face.landmarks.points[36:48])
    assert 60 < eyes[:, 1].mean() < 130


def test_most_faces_keeps_the_largest_and_rejects_nothing(fakes: ModuleType) -> None:
    options = OPTIONS.with_values(max_faces=1)
    found = find(fakes, square(10, 10, 40), square(200, 60, 60), options=options)
    assert (lefts(found), found.rejected) == ([200], 0)


def test_small_and_doubtful_faces_are_rejected(fakes: ModuleType) -> None:
    found = find(fakes, square(10, 10, 15.9), square(100, 60, 60, score=0.29), square(200, 20, 16, score=0.3))
    assert (lefts(found), found.rejected) == ([200], 2)


def test_of_two_boxes_on_one_face_the_more_certain_stays(fakes: ModuleType) -> None:
    found = find(fakes, square(10, 10, 62, score=0.7), square(12, 11, 60, score=0.8), square(150, 10, 60, score=0.6))
    assert (lefts(found), found.rejected) == ([12, 150], 1)


def test_two_boxes_whose_landmarks_meet_are_one_face(fakes: ModuleType) -> None:
    class Drawn:
        """Both boxes lead to the same landmarks, as happens beside a large face."""

        def locate(self, images: Sequence[Picture], detections: Sequence[Detection]) -> list[Landmarks]:
            return [fakes.mean_landmarks(square(10, 10, 60)) for _ in detections]

    detector = Fixed(square(10, 10, 60, 0.9), square(40, 40, 50, 0.7))
    found = find_faces([frame()], detector, Drawn(), OPTIONS)[0]
    assert (lefts(found), found.rejected) == ([10], 1)


def test_frames_without_detections_need_no_landmarks(fakes: ModuleType) -> None:
    found = find_faces([frame(), frame()], Fixed(), fakes.MeanLandmarker(), OPTIONS)
    assert [(one.faces, one.rejected) for one in found] == [([], 0), ([], 0)]


def test_landmarks_must_fit_the_box(fakes: ModuleType) -> None:
    box = square(100, 60, 60)
    good = fakes.mean_landmarks(box)
    shape = (200, 300)
    centre = good.points.mean(axis=0)
    assert is_plausible(box, good, shape, 0.5)

    def scaled(factor: float) -> Landmarks:
        return Landmarks((good.points - centre) * factor + centre)

    assert not is_plausible(box, scaled(2.5), (2000, 3000), 0.5)
    assert not is_plausible(box, scaled(0.2), shape, 0.5)
    assert not is_plausible(box, scaled(0.0), shape, 0.5)
    assert not is_plausible(box, Landmarks(good.points + np.float32(180)), shape, 0.5)
    assert not is_plausible(box, Landmarks(good.points * np.float32(np.nan)), shape, 0.5)
    assert not is_plausible(box, fakes.mean_landmarks(box, confidence=0.4), shape, 0.5)
    assert is_plausible(box, fakes.mean_landmarks(box, confidence=0.4), shape, 0.3)


def test_all_framings_keep_the_same_faces(fakes: ModuleType) -> None:
    boxes = [square(10, 10, 40), square(100, 20, 50), square(200, 60, 60)]
    for framing in Framing:
        found = find(fakes, *boxes, options=OPTIONS.with_values(framing=framing))
        assert (len(found.faces), found.rejected) == (3, 0)
        assert all(face.alignment.framing is framing for face, _ in found.faces)


@pytest.fixture(scope="module")
def portrait(fakes: ModuleType) -> tuple[Picture, Landmarks]:
    """Noise that is smooth enough for blur to matter."""
    noise = cv2.GaussianBlur(np.random.default_rng(1).normal(size=(400, 400, 3)), (0, 0), 2.0)
    return np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8), fakes.mean_landmarks(square(100, 100, 200))


def sharpness_of(image: Picture, landmarks: Landmarks, size: int = 256) -> float:
    alignment = align(landmarks.points, Framing.WHOLE, size)
    crop = cv2.warpAffine(image, alignment.frame_to_crop, (size, size), flags=cv2.INTER_AREA)
    return sharpness(crop, landmarks.points, alignment)


def test_blur_lowers_the_sharpness(portrait: tuple[Picture, Landmarks]) -> None:
    image, landmarks = portrait
    values = [sharpness_of(cv2.GaussianBlur(image, (0, 0), blur), landmarks) for blur in (0.5, 1.0, 2.0, 4.0)]
    assert all(sharper > 1.15 * softer for sharper, softer in pairwise(values))


def test_sharpness_ignores_contrast_and_what_is_around_the_face(portrait: tuple[Picture, Landmarks]) -> None:
    image, landmarks = portrait
    value = sharpness_of(image, landmarks)
    assert sharpness_of(image // 2 + 60, landmarks) == pytest.approx(value, rel=0.1)
    around = image.copy()
    around[:90] = np.random.default_rng(2).integers(0, 255, (90, 400, 3), np.uint8)
    assert sharpness_of(around, landmarks) == pytest.approx(value, rel=0.02)
    assert sharpness_of(np.full_like(image, 128), landmarks) == 0.0
