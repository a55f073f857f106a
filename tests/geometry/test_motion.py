from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from recaster.geometry.framing import align
from recaster.geometry.motion import at_rest, jitter, rest_jitter
from recaster.geometry.similarity import scale_of
from recaster.types import Framing


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_steady_motion_is_no_jitter(x: float, y: float) -> None:
    points = np.zeros((40, 5, 2)) + np.arange(40)[:, None, None] * np.array([x, y])
    assert jitter(points) == pytest.approx(0, abs=1e-9)


def test_the_jitter_of_noise_is_known() -> None:
    noise = np.random.default_rng(3).normal(0, 0.4, (2000, 68, 2))
    assert jitter(noise) == pytest.approx(0.4 * math.sqrt(12), rel=0.02)


def test_a_tremble_of_one_pixel() -> None:
    points = np.zeros((10, 3, 2))
    points[::2, :, 0] = 1
    assert jitter(points) == pytest.approx(2)


def test_only_frames_at_rest_count() -> None:
    points = np.zeros((30, 4, 2))
    points[15:] += np.random.default_rng(0).normal(0, 5, (15, 4, 2))
    rest = np.arange(30) < 15
    assert jitter(points, rest) == 0
    assert jitter(points) > 5


def test_gaps_are_not_measured_across() -> None:
    points = np.zeros((9, 4, 2))
    points[5:] = 100
    points[4] = np.nan
    assert jitter(points) == 0
    assert math.isnan(jitter(points[3:6]))


def test_too_few_frames_have_no_jitter() -> None:
    assert math.isnan(jitter(np.zeros((2, 4, 2))))
    assert math.isnan(jitter(np.zeros((0, 4, 2))))
    assert not at_rest(np.zeros((8, 4, 2)), limit=1).any()


def test_rest_is_told_from_motion_under_noise() -> None:
    random = np.random.default_rng(5)
    place = np.concatenate([np.zeros(40), np.arange(40) * 3.0, np.full(40, 117.0)])
    points = random.normal(0, 0.3, (120, 68, 2)) + place[:, None, None] * np.array([1, 0])
    rest = at_rest(points, limit=0.5)
    assert rest[4:34].all()
    assert not rest[41:79].any()
    assert rest[86:116].all()
    assert not rest[:4].any()
    assert not rest[-4:].any()


def test_a_face_that_grows_is_not_at_rest(golden_points: NDArray[np.float64]) -> None:
    growing = (golden_points - 100) * np.linspace(1, 3, 60)[:, None, None] + 100
    assert not at_rest(growing, limit=0.5).any()


def test_frames_near_a_gap_are_not_at_rest() -> None:
    points = np.zeros((30, 4, 2))
    points[15] = np.nan
    assert np.flatnonzero(at_rest(points, limit=1)).tolist() == [*range(4, 11), *range(20, 26)]


@pytest.mark.parametrize("zoom", [0.5, 1.0, 4.0])
def test_rest_jitter_is_in_px_of_the_crop(golden_points: NDArray[np.float64], zoom: float) -> None:
    noise = np.random.default_rng(7).normal(0, 0.2, (200, 68, 2))
    scale = scale_of(align(golden_points, Framing.FULL, 256).frame_to_crop)
    measured = rest_jitter((golden_points + noise) * zoom)
    assert measured == pytest.approx(0.2 * scale * math.sqrt(12), rel=0.03)


def test_rest_jitter_leaves_out_fast_motion(golden_points: NDArray[np.float64]) -> None:
    swing = np.concatenate([np.zeros(30), 20 * np.sin(np.arange(30) * 0.7), np.zeros(30)])
    points = golden_points + swing[:, None, None] * np.array([1.0, 0.3])
    assert jitter(points) > 5
    assert rest_jitter(points) < 0.5
    points[10] = np.nan
    assert rest_jitter(points) < 0.5


def test_a_face_never_at_rest_has_no_number(golden_points: NDArray[np.float64]) -> None:
    moving = golden_points + np.arange(50)[:, None, None] * np.array([4.0, 0])
    assert math.isnan(rest_jitter(moving))
    assert math.isnan(rest_jitter(np.full((20, 68, 2), np.nan)))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(T, K, 2\)"):
        jitter(np.zeros((10, 68)))
