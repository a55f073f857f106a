from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from recaster.geometry.landmarks import MIRROR, feature_mask, hull_mask, mirror_points, raise_brows
from recaster.geometry.mean_face import MEAN_FACE


@given(st.integers(0, 2**32 - 1), st.integers(1, 4000))
def test_mirroring_twice_is_the_identity(seed: int, width: int) -> None:
    points = np.random.default_rng(seed).normal(300, 200, (3, 68, 2))
    np.testing.assert_allclose(mirror_points(mirror_points(points, width), width), points, atol=1e-9)


@given(st.integers(1, 4000))
def test_the_right_eye_is_the_left_one_mirrored(width: int) -> None:
    points = np.random.default_rng(1).normal(300, 200, (68, 2))
    mirrored = mirror_points(points, width)
    assert mirrored[36, 0] == width - 1 - points[45, 0]
    assert mirrored[36, 1] == points[45, 1]


def test_the_mirror_pairs() -> None:
    pairs = dict(enumerate(MIRROR.tolist()))
    for left, right in [(0, 16), (7, 9), (17, 26), (21, 22), (31, 35), (36, 45), (39, 42), (40, 47), (41, 46)]:
        assert (pairs[left], pairs[right]) == (right, left)
    for left, right in [(48, 54), (50, 52), (59, 55), (60, 64), (61, 63), (67, 65)]:
        assert (pairs[left], pairs[right]) == (right, left)
    assert [index for index, other in pairs.items() if index == other] == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_a_mirrored_mean_face_is_itself() -> None:
    unit = np.zeros((68, 2))
    unit[17:] = MEAN_FACE
    mirrored = mirror_points(unit, 2 * 0.490127 + 1)
    np.testing.assert_allclose(mirrored[17:], MEAN_FACE, atol=2e-3)


def test_mirroring_leaves_its_argument_alone() -> None:
    points = np.ones((68, 2), np.float32)
    mirrored = mirror_points(points, 10)
    assert mirrored.dtype == np.float32
    assert np.all(points == 1)


def test_brows_rise_by_half_their_height(golden_points: NDArray[np.float64]) -> None:
    raised = raise_brows(golden_points, 1.0)
    np.testing.assert_allclose(raised[19], golden_points[19] + 0.5 * (golden_points[19] - golden_points[37]))
    np.testing.assert_allclose(raised[24], golden_points[24] + 0.5 * (golden_points[24] - golden_points[44]))
    temple = 0.75 * golden_points[45] + 0.25 * golden_points[16]
    np.testing.assert_allclose(raised[26], golden_points[26] + 0.5 * (golden_points[26] - temple))
    np.testing.assert_array_equal(np.delete(raised, range(17, 27), 0), np.delete(golden_points, range(17, 27), 0))
    np.testing.assert_array_equal(raise_brows(golden_points, 0.0), golden_points)


def test_the_hull_holds_the_face(golden_points: NDArray[np.float64]) -> None:
    mask = hull_mask(golden_points, (256, 220))
    assert mask.shape == (256, 220)
    assert mask.dtype == np.float32
    assert (mask.min(), mask.max()) == (0, 1)
    middle = golden_points.mean(axis=0)
    inside = np.rint(golden_points + (middle - golden_points) * 0.1).astype(int)
    outside = np.rint(golden_points[:17] + (golden_points[:17] - middle) * 0.1).astype(int)
    assert np.all(mask[inside[:, 1], inside[:, 0]] == 1)
    assert np.all(mask[outside[:, 1], outside[:, 0]] == 0)


def test_the_hull_has_no_seams_between_its_pieces(golden_points: NDArray[np.float64]) -> None:
    mask = hull_mask(golden_points * 2, (512, 512))
    from_left = np.maximum.accumulate(mask, axis=1)
    from_right = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    between = (from_left == 1) & (from_right == 1)
    assert between.sum() > 20_000
    assert mask[between].min() == 1


@pytest.mark.parametrize("brow_expansion", [0.0, 1.0, 3.0])
def test_brow_expansion_raises_the_forehead_only(golden_points: NDArray[np.float64], brow_expansion: float) -> None:
    plain = hull_mask(golden_points, (256, 256), brow_expansion=0)
    mask = hull_mask(golden_points, (256, 256), brow_expansion=brow_expansion)
    top = raise_brows(golden_points, brow_expansion)[17:27, 1].min()
    assert np.flatnonzero(mask.any(axis=1))[0] == pytest.approx(top, abs=1)
    below_brows = int(golden_points[30, 1])
    np.testing.assert_allclose(mask[below_brows:], plain[below_brows:], atol=0.1)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_edge_follows_the_face_by_fractions_of_a_pixel(
    golden_points: NDArray[np.float64], x: float, y: float
) -> None:
    still = hull_mask(golden_points, (220, 220)).astype(np.float64)
    mask = hull_mask(golden_points + np.array((x, y)), (220, 220)).astype(np.float64)
    rows, columns = np.mgrid[:220, :220]
    for grid, shift in ((columns, x), (rows, y)):
        moved = (mask * grid).sum() / mask.sum() - (still * grid).sum() / still.sum()
        assert moved == pytest.approx(shift, abs=0.1)
    assert mask.sum() == pytest.approx(still.sum(), rel=0.003)


@pytest.mark.parametrize("shift", [(-100, 0), (120, 60), (0, -130), (5000, 5000)])
def test_points_may_lie_outside(golden_points: NDArray[np.float64], shift: tuple[float, float]) -> None:
    moved = golden_points + np.array(shift)
    cut = hull_mask(moved, (200, 180))
    padded = hull_mask(moved + 150, (500, 480))
    np.testing.assert_allclose(cut, padded[150:350, 150:330], atol=0.13)


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        hull_mask(np.full((68, 2), np.nan), (10, 10))


def test_features_are_full_inside_and_fall_off_softly(golden_points: NDArray[np.float64]) -> None:
    mask = feature_mask(golden_points, (256, 256))
    assert mask.shape == (256, 256) and mask.dtype == np.float32
    reach = float(np.linalg.norm(golden_points[45] - golden_points[36])) / 16
    parts = slice(36, 42), slice(42, 48), slice(48, 60)
    hulls = [cv2.convexHull(golden_points[part].astype(np.float32)) for part in parts]
    for y in range(0, 256, 5):
        for x in range(0, 256, 5):
            distance = -max(cv2.pointPolygonTest(hull, (x, y), True) for hull in hulls)
            assert mask[y, x] == pytest.approx(np.clip(2 - distance / reach, 0, 1), abs=1 / reach)


def test_features_may_lie_outside(golden_points: NDArray[np.float64]) -> None:
    assert not feature_mask(golden_points + 2000, (64, 64)).any()
    whole = feature_mask(golden_points, (256, 256))
    np.testing.assert_allclose(
        feature_mask(golden_points - (100, 80), (176, 156)), whole[80:, 100:], atol=0.01, err_msg="cut through"
    )


def test_features_need_finite_points() -> None:
    with pytest.raises(ValueError, match="finite"):
        feature_mask(np.full((68, 2), np.nan), (8, 8))
