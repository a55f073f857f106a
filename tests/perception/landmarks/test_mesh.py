from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recaster.errors import UsageError
from recaster.geometry.landmarks import mirror_points
from recaster.perception.detect.base import Detection, Detector
from recaster.perception.landmarks.base import Landmarker, landmarkers, make_landmarker
from recaster.perception.landmarks.mesh import IBUG
from recaster.types import Landmarks

Frame = Callable[[str, int], NDArray[np.uint8]]
Frames = Callable[..., Iterator[tuple[int, NDArray[np.uint8]]]]

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden_mesh.npz"))
"""By clip and frame: what MediaPipe 0.10.21 found after four rounds on the same frame, px."""


def eye_distance(landmarks: Landmarks) -> float:
    return float(np.linalg.norm(landmarks.points[36] - landmarks.points[45]))


@pytest.fixture
def faces(
    detector: Callable[[str], Detector], landmarker: Callable[[str], Landmarker]
) -> Callable[[NDArray[np.uint8]], list[Landmarks]]:
    """The landmarks of all faces that "accurate" finds in a picture."""

    def find(image: NDArray[np.uint8]) -> list[Landmarks]:
        found = detector("accurate").detect([image])[0]
        return landmarker("mesh").locate([image] * len(found), found)

    return find


@pytest.mark.parametrize("name", landmarkers.names())
class TestLandmarker:
    def test_each_pair_gets_its_landmarks(
        self,
        name: str,
        landmarker: Callable[[str], Landmarker],
        detector: Callable[[str], Detector],
        frame: Frame,
    ) -> None:
        images = [frame("woman_expressions.mp4", 10), frame("man_smile.mp4", 30)]
        detections = [found[0] for found in detector("accurate").detect(images)]
        together = landmarker(name).locate(images, detections)
        for image, detection, landmarks in zip(images, detections, together, strict=True):
            assert landmarks.points.shape == (68, 2) and landmarks.points.dtype == np.float32
            assert (
                landmarks.confidence is not None and ((landmarks.confidence >= 0) & (landmarks.confidence <= 1)).all()
            )
            assert landmarks.origin == "auto"
            left, top, right, bottom = detection.box
            inner = landmarks.points[17:]
            assert left < inner[:, 0].min() and inner[:, 0].max() < right
            assert top < inner[:, 1].min() and inner[:, 1].max() < bottom
            alone = landmarker(name).locate([image], [detection])[0]
            assert np.abs(alone.points - landmarks.points).max() < 0.1

    def test_points_are_where_ibug_has_them(
        self, name: str, faces: Callable[..., list[Landmarks]], frame: Frame
    ) -> None:
        points = faces(frame("man_smile.mp4", 30))[0].points
        assert (np.diff(points[[0, 17, 36, 27, 45, 26, 16], 0]) > 0).all()
        assert (np.diff(points[[19, 37, 41, 33, 51, 62, 66, 57, 8], 1]) > 0).all()
        assert points[48, 0] < points[60, 0] < points[64, 0] < points[54, 0]

    def test_no_faces(self, name: str, landmarker: Callable[[str], Landmarker]) -> None:
        assert landmarker(name).locate([], []) == []

    def test_pictures_and_detections_are_pairs(
        self, name: str, landmarker: Callable[[str], Landmarker], frame: Frame
    ) -> None:
        with pytest.raises(ValueError, match="pairs"):
            landmarker(name).locate([frame("man_smile.mp4", 30)], [])

    def test_a_mirrored_picture_gives_mirrored_points(
        self, name: str, faces: Callable[..., list[Landmarks]], frame: Frame
    ) -> None:
        shifts, errors = [], []
        for clip, index in (("man_smile.mp4", 30), ("webcam_man_a.mp4", 130), ("woman_expressions.mp4", 48)):
            image = frame(clip, index)
            [face], [mirrored] = faces(image), faces(np.ascontiguousarray(image[:, ::-1]))
            difference = (mirror_points(mirrored.points, image.shape[1]) - face.points) / eye_distance(face)
            errors.append(np.linalg.norm(difference, axis=1).mean())
            shifts.append(difference[:, 0].mean())
        assert max(errors) < 0.03
        assert abs(float(np.mean(shifts))) < 0.003

    def test_beside_the_frame(self, name: str, landmarker: Callable[[str], Landmarker], frame: Frame) -> None:
        outside = Detection((900.0, -500.0, 1000.0, -400.0), 0.9)
        [landmarks] = landmarker(name).locate([frame("man_smile.mp4", 30)], [outside])
        assert np.isfinite(landmarks.points).all()
        assert landmarks.confidence is not None and landmarks.confidence.max() < 0.3


@pytest.mark.parametrize("place", GOLDEN)
def test_equals_the_original_runtime(place: str, faces: Callable[..., list[Landmarks]], frame: Frame) -> None:
    """MediaPipe cuts its crops half a pixel elsewhere, and starts from another detector's box."""
    clip, index = place.split(":")
    face = faces(frame(clip, int(index)))[0]
    assert face.dense is not None and face.dense.shape == (478, 3)
    error = np.linalg.norm((face.dense - GOLDEN[place])[:, :2], axis=1) / eye_distance(face)
    assert np.median(error) < 0.02
    assert np.percentile(error, 95) < 0.03
    depth = face.dense[:468, 2] - GOLDEN[place][:468, 2]
    assert np.median(np.abs(depth)) / eye_distance(face) < 0.02


def test_the_68_points_are_points_of_the_mesh(faces: Callable[..., list[Landmarks]], frame: Frame) -> None:
    [face] = faces(frame("man_smile.mp4", 30))
    assert face.dense is not None
    np.testing.assert_array_equal(face.dense[IBUG, :2], face.points)
    assert len(set(IBUG.tolist())) >= 66


def test_an_inaccurate_box_gives_the_same_points(
    detector: Callable[[str], Detector], landmarker: Callable[[str], Landmarker], frame: Frame
) -> None:
    image = frame("man_smile.mp4", 30)
    [detection] = detector("accurate").detect([image])[0]
    [exact] = landmarker("mesh").locate([image], [detection])
    width = detection.box[2] - detection.box[0]
    draw = np.random.default_rng(3)
    for _ in range(4):
        box = np.array(detection.box) + draw.normal(size=4) * 0.08 * width
        noisy = Detection((float(box[0]), float(box[1]), float(box[2]), float(box[3])), 0.9)
        [found] = landmarker("mesh").locate([image], [noisy])
        assert np.linalg.norm(found.points - exact.points, axis=1).mean() / eye_distance(exact) < 0.02


@pytest.mark.parametrize(
    ("clip", "every"),
    [
        ("man_smile.mp4", 12),
        ("woman_expressions.mp4", 48),
        ("webcam_man_a.mp4", 160),
        ("webcam_man_b.mp4", 110),
        ("man_in_car_176x144.mp4", 20),
    ],
)
def test_a_real_face_is_trusted(faces: Callable[..., list[Landmarks]], frames: Frames, clip: str, every: int) -> None:
    trust = [float(np.mean(face.confidence)) for _, image in frames(clip, every) for face in faces(image)[:1]]
    assert len(trust) > 4
    assert min(trust) > 0.5
    assert np.median(trust) > 0.85


def test_what_is_no_face_is_not_trusted(landmarker: Callable[[str], Landmarker], frames: Frames) -> None:
    draw = np.random.default_rng(0)
    images, boxes = [], []
    for _, image in frames("no_faces_bikes.mp4", 12, start=140):
        height, width = image.shape[:2]
        for _ in range(4):
            side = draw.uniform(0.15, 0.6) * height
            x, y = draw.uniform(0, width - side), draw.uniform(0, height - side)
            images.append(image)
            boxes.append(Detection((x, y, x + side, y + side * 1.2), 0.9))
    trust = [float(np.mean(face.confidence)) for face in landmarker("mesh").locate(images, boxes)]
    assert len(trust) > 30
    assert max(trust) < 0.3


def test_a_wall_beside_a_face_is_not_trusted(landmarker: Callable[[str], Landmarker], frame: Frame) -> None:
    image = frame("woman_expressions.mp4", 10)
    boxes = [Detection((float(x), 60.0, x + 120.0, 210.0), 0.9) for x in range(0, 120, 20)]
    for face in landmarker("mesh").locate([image] * len(boxes), boxes):
        assert float(np.mean(face.confidence)) < 0.3


def test_disagreement_with_the_detectors_points_lowers_the_trust(
    detector: Callable[[str], Detector], landmarker: Callable[[str], Landmarker], frame: Frame
) -> None:
    image = frame("man_smile.mp4", 30)
    [detection] = detector("accurate").detect([image])[0]
    assert detection.points is not None
    astray = Detection(
        detection.box, detection.score, detection.points + np.float32(0.4 * (detection.box[2] - detection.box[0]))
    )
    good, bad = landmarker("mesh").locate([image, image], [detection, astray])
    assert float(np.mean(good.confidence)) > 0.5 > 0.3 > float(np.mean(bad.confidence))


def test_an_unknown_landmarker_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="mesh"):
        make_landmarker("points", torch.device("cpu"))
