"""Which frames of the real clips a face is found in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from recaster.perception.detect.base import Detector

Frames = Callable[..., Iterator[tuple[int, NDArray[np.uint8]]]]

ONE_PERSON = [
    ("man_in_car_176x144.mp4", 0, None),
    ("man_smile.mp4", 0, None),
    ("man_then_title.mov", 0, 72),
    ("title_then_man.mov", 96, 168),
    ("webcam_man_a.mp4", 0, None),
    ("webcam_man_b.mp4", 0, None),
    ("woman_expressions.mp4", 0, None),
    ("talking_man_blue.mp4", 0, 600),
]
"""Clip, first frame and end of the part in which its one person is visible (the last frame of one clip is black)."""

NOBODY = [("man_then_title.mov", 72, None), ("title_then_man.mov", 0, 96), ("no_faces_bikes.mp4", 140, None)]
"""Before frame 140, two people in the street turn their faces to the camera."""


def counts(detector: Detector, pictures: Iterator[tuple[int, NDArray[np.uint8]]]) -> list[int]:
    return [len(detector.detect([image])[0]) for _, image in pictures]


def check_recall(detector: Detector, pictures: Iterator[tuple[int, NDArray[np.uint8]]], least: float) -> None:
    found = counts(detector, pictures)
    assert len(found) > 5
    assert np.mean([count > 0 for count in found]) >= least
    assert np.mean([count > 1 for count in found]) <= 0.01


@pytest.mark.parametrize(("clip", "start", "stop"), ONE_PERSON)
def test_accurate_finds_the_person(
    detector: Callable[[str], Detector], frames: Frames, clip: str, start: int, stop: int | None
) -> None:
    check_recall(detector("accurate"), frames(clip, 10, start, stop), 0.99)


@pytest.mark.parametrize(("clip", "start", "stop"), NOBODY)
def test_accurate_finds_nobody_where_nobody_is(
    detector: Callable[[str], Detector], frames: Frames, clip: str, start: int, stop: int | None
) -> None:
    assert sum(counts(detector("accurate"), frames(clip, 10, start, stop))) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("accurate", 0.99), ("mtcnn", 0.97), ("fast", 0.95)])
@pytest.mark.parametrize(("clip", "start", "stop"), ONE_PERSON)
def test_every_frame(
    detector: Callable[[str], Detector],
    frames: Frames,
    clip: str,
    start: int,
    stop: int | None,
    name: str,
    least: float,
) -> None:
    check_recall(detector(name), frames(clip, 1, start, stop), least)


@pytest.mark.slow
@pytest.mark.parametrize(("clip", "start", "stop"), NOBODY)
def test_every_frame_without_a_face(
    detector: Callable[[str], Detector], frames: Frames, clip: str, start: int, stop: int | None
) -> None:
    assert sum(counts(detector("accurate"), frames(clip, 1, start, stop))) == 0
