from __future__ import annotations

import numpy as np
import pytest
import torch

from recaster.errors import UsageError
from recaster.perception.detect.base import (
    batches,
    keep_distinct,
    largest_first,
    make_detector,
    reduced_and_padded,
)


def test_of_overlapping_boxes_the_best_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 10]])
    assert keep_distinct(boxes, np.array([0.5, 0.9, 0.1, 0.6]), 0.5) == [1, 2]
    assert keep_distinct(boxes, np.array([0.5, 0.9, 0.1, 0.6]), 0.9) == [1, 3, 2]
    assert keep_distinct(np.empty((0, 4)), np.empty(0), 0.5) == []


def test_a_box_inside_another_goes_by_the_smaller_area() -> None:
    boxes, scores = np.array([[0, 0, 10, 10], [4, 4, 6, 6]]), np.array([0.9, 0.8])
    assert keep_distinct(boxes, scores, 0.7) == [0, 1]
    assert keep_distinct(boxes, scores, 0.7, of_smaller=True) == [0]


def test_pictures_of_one_size_are_computed_together() -> None:
    small, large = np.zeros((4, 6, 3), np.uint8), np.zeros((8, 6, 3), np.uint8)
    assert list(batches([small, small, small, large, small], 2)) == [[0, 1], [2], [3], [4]]
    assert list(batches([], 2)) == []


@pytest.mark.parametrize(
    ("height", "width", "shape", "scale"),
    [
        (100, 200, (128, 224), 1.0),
        (1080, 1920, (544, 960), 0.5),
        (3840, 2160, (960, 544), 0.25),
        (1, 4000, (32, 960), 0.24),
    ],
)
def test_large_pictures_are_reduced_and_all_are_padded(
    height: int, width: int, shape: tuple[int, int], scale: float
) -> None:
    pictures, factor = reduced_and_padded([np.full((height, width, 3), 7, np.uint8)] * 2, 960, 32)
    assert pictures.shape == (2, *shape, 3)
    assert factor == pytest.approx(scale)
    assert (pictures[0, 0, 0] == 7).all()
    assert shape[1] == round(width * scale) or (pictures[:, :, -1] == 0).all()


def test_faces_come_largest_first_and_tiny_ones_not_at_all() -> None:
    boxes = np.array([[0, 0, 5, 5], [0, 0, 30, 40], [0, 0, 50, 60]])
    found = largest_first(boxes, np.array([0.9, 0.8, 0.7]), None, 6)
    assert [face.score for face in found] == [0.7, 0.8]
    assert found[0].area == 3000 and found[0].points is None


def test_an_unknown_detector_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="accurate, fast, mtcnn"):
        make_detector("eager", torch.device("cpu"))
