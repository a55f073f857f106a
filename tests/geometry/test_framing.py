from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from recaster.geometry.framing import align, contains
from recaster.geometry.mean_face import MEAN_FACE, MODEL_3D
from recaster.geometry.similarity import apply_matrix, compose, invert_matrix, scale_of
from recaster.types import Framing, Matrix

GOLDEN = {
    Framing.HALF: (2.56, -128, -153.6),
    Framing.MIDFULL: (2.149601, -86.9601, -108.4561),
    Framing.FULL: (1.603386, -32.3386, -48.3724),
    Framing.WHOLE: (1.201105, 7.8895, 4.2862),
    Framing.HEAD: (0.859090, 42.0910, 76.4546),
}


def turn(degrees: float, about: tuple[float, float] = (0.0, 0.0)) -> Matrix:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, np.array(about) - linear @ about])


@pytest.mark.parametrize("framing", list(Framing))
def test_golden_matrices(golden_points: NDArray[np.float64], framing: Framing) -> None:
    scale, x, y = GOLDEN[framing]
    alignment = align(golden_points, framing, 256)
    np.testing.assert_allclose(alignment.frame_to_crop, [[scale, 0, x], [0, scale, y]], atol=1e-4)
    assert (alignment.size, alignment.framing) == (256, framing)


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("degrees", [-30, 30, 90, 180])
def test_a_turned_face_gives_the_same_crop(
    golden_points: NDArray[np.float64], framing: Framing, degrees: float
) -> None:
    motion = turn(degrees, about=(40, -300))
    upright = align(golden_points, framing, 256).frame_to_crop
    turned = align(apply_matrix(motion, golden_points), framing, 256).frame_to_crop
    np.testing.assert_allclose(compose(motion, turned), upright, atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(Framing)), st.floats(0.05, 40), st.floats(-180, 180))
def test_moving_the_face_moves_the_crop(seed: int, framing: Framing, zoom: float, degrees: float) -> None:
    random = np.random.default_rng(seed)
    points = random.normal(MODEL_3D[:, :2], 5)
    motion = compose(turn(degrees), np.array([[zoom, 0, random.normal(0, 500)], [0, zoom, random.normal(0, 500)]]))
    before = apply_matrix(align(points, framing, 512).frame_to_crop, points)
    moved = apply_matrix(motion, points)
    np.testing.assert_allclose(apply_matrix(align(moved, framing, 512).frame_to_crop, moved), before, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(Framing)), st.integers(16, 2048))
def test_points_return_from_the_crop(seed: int, framing: Framing, size: int) -> None:
    points = np.random.default_rng(seed).normal(MODEL_3D[:, :2] * 3 + 800, 4)
    matrix = align(points, framing, size).frame_to_crop
    there = apply_matrix(matrix, points).astype(np.float32)
    assert np.abs(apply_matrix(invert_matrix(matrix), there) - points).max() < 0.01


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.3])
def test_face_scale_works_about_the_middle_of_the_crop(
    golden_points: NDArray[np.float64], framing: Framing, scale: float
) -> None:
    plain = align(golden_points, framing, 256).frame_to_crop
    about_middle = np.array([[1 / scale, 0, 128 - 128 / scale], [0, 1 / scale, 128 - 128 / scale]])
    np.testing.assert_allclose(
        align(golden_points, framing, 256, scale=scale).frame_to_crop, compose(plain, about_middle), atol=1e-9
    )


def test_the_mouth_and_the_jaw_do_not_move_the_crop(golden_points: NDArray[np.float64]) -> None:
    talking = golden_points.copy()
    talking[:17] += 9
    talking[49:54, 1] -= 4
    talking[55:, 1] += 20
    np.testing.assert_array_equal(
        align(talking, Framing.WHOLE, 256).frame_to_crop, align(golden_points, Framing.WHOLE, 256).frame_to_crop
    )


@pytest.mark.parametrize("nose", [-0.15, 0.15])
def test_the_head_crop_follows_the_yaw(golden_points: NDArray[np.float64], nose: float) -> None:
    turned = golden_points.copy()
    turned[:17, 0] -= nose * 100  # the jaw goes the other way: the face looks towards the nose
    yaw = -2 * -nose
    plain, moved = (align(p, Framing.HEAD, 256).frame_to_crop for p in (golden_points, turned))
    shift = -yaw * abs(math.tanh(2 * yaw)) / 2 * 100  # frame px, away from where the face looks
    assert math.copysign(1, shift) == -math.copysign(1, nose)
    np.testing.assert_allclose(moved[:, 2] - plain[:, 2], [-shift * scale_of(plain), 0], atol=1e-6)


def test_framings_are_ordered() -> None:
    assert contains(Framing.HEAD, Framing.WHOLE)
    assert contains(Framing.FULL, Framing.FULL)
    assert not contains(Framing.HALF, Framing.MIDFULL)


@pytest.mark.parametrize("value", [5.0, np.nan])
def test_degenerate_points_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"equal|finite"):
        align(np.full((68, 2), value), Framing.FULL, 256)


def test_wrong_arguments_are_refused(golden_points: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"expected \(68, 2\)"):
        align(MEAN_FACE, Framing.FULL, 256)
    with pytest.raises(ValueError, match="positive"):
        align(golden_points, Framing.FULL, 0)
    with pytest.raises(ValueError, match="positive"):
        align(golden_points, Framing.FULL, 256, scale=0.0)
