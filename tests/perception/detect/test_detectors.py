"""The contract: what every detector does on the same small real input."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from recaster.perception.detect.base import Detection, Detector, detectors

Frame = Callable[[str, int], NDArray[np.uint8]]

WOMAN_EYES = np.array([[372.0, 180.0], [470.0, 175.0]])
"""In frame 10 of woman_expressions.mp4, read off the picture, px."""


def overlap(one: Detection, other: Detection) -> float:
    a, b = one.box, other.box
    common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return common / (one.area + other.area - common)


@pytest.mark.parametrize("name", detectors.names())
class TestDetector:
    @pytest.fixture
    def subject(self, name: str, detector: Callable[[str], Detector]) -> Detector:
        return detector(name)

    @pytest.fixture
    def woman(self, frame: Frame) -> NDArray[np.uint8]:
        return frame("woman_expressions.mp4", 10)

    def test_finds_the_one_face(self, subject: Detector, woman: NDArray[np.uint8]) -> None:
        [[face]] = subject.detect([woman])
        assert 0.5 < face.score <= 1.0
        left, top, right, bottom = face.box
        assert left < WOMAN_EYES[0, 0] < WOMAN_EYES[1, 0] < right
        assert top < WOMAN_EYES[:, 1].min() and bottom > WOMAN_EYES[:, 1].max() + 100

    def test_points_run_from_left_to_right(self, subject: Detector, woman: NDArray[np.uint8]) -> None:
        [[face]] = subject.detect([woman])
        assert face.points is not None and face.points.shape == (5, 2) and face.points.dtype == np.float32
        assert np.abs(face.points[:2] - WOMAN_EYES).max() < 12
        assert face.points[0, 0] < face.points[2, 0] < face.points[1, 0]
        assert face.points[3, 0] < face.points[4, 0]
        assert face.points[:2, 1].max() < face.points[2, 1] < face.points[3:, 1].min()

    def test_many_pictures_of_any_size_at_once(self, subject: Detector, woman: NDArray[np.uint8], frame: Frame) -> None:
        man = frame("webcam_man_a.mp4", 30)
        alone = [subject.detect([image])[0] for image in (woman, man)]
        together = subject.detect([woman, man, man, woman[:200, :200]])
        assert len(together) == 4
        for expected, found in zip([alone[0], alone[1], alone[1]], together, strict=False):
            assert len(found) == len(expected) == 1
            np.testing.assert_allclose(found[0].box, expected[0].box, atol=0.5)

    def test_largest_first(self, subject: Detector, woman: NDArray[np.uint8], frame: Frame) -> None:
        man = frame("man_smile.mp4", 30)
        small = cv2.resize(man, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        both = np.zeros((360, 1024, 3), np.uint8)
        both[:216, :384], both[:, 384:] = small, woman
        found = subject.detect([both])[0]
        assert len(found) == 2
        assert found[0].area > found[1].area and found[0].box[0] > 384 > found[1].box[2]

    def test_a_reduced_copy_gives_the_same_place(self, subject: Detector, woman: NDArray[np.uint8]) -> None:
        """Boxes are in pixels of the frame, whose centres are at integers."""
        half = cv2.resize(woman, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        [[large]], [[small]] = subject.detect([woman]), subject.detect([half])
        left, top, right, bottom = ((value + 0.5) * 2 - 0.5 for value in small.box)
        assert overlap(large, Detection((left, top, right, bottom), 1.0)) > 0.85

    def test_a_mirrored_picture_gives_the_mirrored_face(self, subject: Detector, woman: NDArray[np.uint8]) -> None:
        [[face]] = subject.detect([woman])
        [[mirrored]] = subject.detect([np.ascontiguousarray(woman[:, ::-1])])
        edge = woman.shape[1] - 1
        left, top, right, bottom = mirrored.box
        assert overlap(face, Detection((edge - right, top, edge - left, bottom), 1.0)) > 0.85
        assert face.points is not None and mirrored.points is not None
        assert np.abs(edge - mirrored.points[[1, 0], 0] - face.points[:2, 0]).max() < 8

    @pytest.mark.parametrize("shape", [(1, 1), (5, 300), (300, 5), (33, 31)])
    def test_empty_pictures_of_odd_sizes(self, subject: Detector, shape: tuple[int, int]) -> None:
        assert subject.detect([np.full((*shape, 3), 128, np.uint8)]) == [[]]

    def test_no_pictures(self, subject: Detector) -> None:
        assert subject.detect([]) == []
