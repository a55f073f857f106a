from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recaster.errors import UsageError
from recaster.merge.mask import blur_size, choose_mask, erode, erosion_size, face_size, feather, shape_mask
from recaster.merge.settings import MergeSettings
from recaster.swap.identity import ellipse_mask
from recaster.types import Framing


@pytest.mark.parametrize(
    ("size", "at_30", "at_100", "at_300", "blur"),
    [
        (50, 1, 6, 18, 5),
        (100, 3, 12, 36, 10),
        (200, 7, 23, 70, 20),
        (300, 10, 33, 101, 30),
        (500, 15, 51, 154, 50),
        (800, 21, 71, 215, 80),
        (1000, 24, 80, 241, 100),
        (1384, 26, 87, 261, 138),
    ],
)
def test_sizes_of_record(size: int, at_30: int, at_100: int, at_300: int, blur: int) -> None:
    assert [int(erosion_size(size, percent)) for percent in (30, 100, 300)] == [at_30, at_100, at_300]
    assert int(blur_size(size, 100)) == blur


@given(st.floats(0, 10_000), st.floats(0, 10_000), st.integers(0, 300))
def test_a_larger_face_never_loses_less(first: float, second: float, percent: int) -> None:
    small, large = sorted((first, second))
    assert 0 <= erosion_size(small, percent) <= erosion_size(large, percent) + 1e-9
    assert 0 <= blur_size(small, percent) <= blur_size(large, percent)


def test_a_negative_total_grows_and_never_blurs() -> None:
    assert erosion_size(300, -100) == -erosion_size(300, 100)
    assert blur_size(300, -100) == 0


def test_face_size_is_the_shorter_side_over_all_thresholds() -> None:
    mask = np.zeros((64, 64), np.float32)
    mask[10:30, 5:45] = 1
    assert face_size(mask) == 20
    mask[30:40, 5:45] = 0.5
    assert face_size(mask) == pytest.approx(25)


def test_erosion_takes_its_radius_from_each_side() -> None:
    mask = np.zeros((101, 101), np.float32)
    mask[20:81, 20:81] = 1
    for radius in (1, 3, 4, 7, 10):
        assert erode(mask, radius)[50].sum() == 61 - 2 * radius
        assert erode(mask, -radius)[50].sum() == 61 + 2 * radius


@pytest.mark.parametrize("radius", [0.25, 0.5, 2.75, 9.5, -3.5])
def test_fractions_of_a_pixel_count(radius: float) -> None:
    mask = ellipse_mask(128)
    assert erode(mask, radius)[64].sum() == pytest.approx(mask[64].sum() - 2 * radius, abs=0.35)


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_more_erosion_never_shows_more(first: float, second: float) -> None:
    less, more = sorted((first, second))
    mask = ellipse_mask(96)
    assert (erode(mask, more) <= erode(mask, less) + 1e-6).all()


def test_erosion_leaves_its_argument_alone() -> None:
    mask = ellipse_mask(64)
    before = mask.copy()
    for radius in (0, 0.5, 5, -5):
        erode(mask, radius)[:] = 9
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("sigma", [0.0, 0.2, 1.0, 4.0, 8.0])
def test_a_full_square_comes_down_to_zero_smoothly(sigma: float) -> None:
    mask = feather(np.ones((128, 128), np.float32), sigma)
    assert mask[0].max() == mask[-1].max() == mask[:, 0].max() == mask[:, -1].max() == 0
    assert mask[64, 64] == pytest.approx(1, abs=1e-3)
    if sigma:
        steepest = max(abs(b - a) for a, b in pairwise(mask[64].tolist()))
        assert steepest < 0.45 / max(sigma, 0.45), "no step sharper than the Gaussian's own"


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("erosion", [-200, 0, 200])
@pytest.mark.parametrize("blur", [-200, 0, 200])
def test_the_crops_square_never_shows(framing: Framing, erosion: int, blur: int) -> None:
    mask = shape_mask(np.ones((256, 256), np.float32), 2.0, framing, MergeSettings(erode=erosion, blur=blur))
    rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert rim.max() == 0
    assert mask.max() > 0.9


def test_shape_is_monotone_in_erode() -> None:
    shaped = [
        shape_mask(ellipse_mask(256), 1.3, Framing.FULL, MergeSettings(erode=percent, blur=50))
        for percent in range(-200, 201, 25)
    ]
    for less, more in pairwise(shaped):
        assert (more <= less + 1e-5).all()
        assert more.sum() < less.sum()


@pytest.mark.parametrize("frame_px", [0.03, 0.5, 12.0])
def test_the_mask_is_shaped_for_tiny_and_huge_faces(frame_px: float) -> None:
    recipe = ellipse_mask(256)
    mask = shape_mask(recipe, frame_px, Framing.FULL, MergeSettings(blur=0))
    assert 0.5 * recipe.sum() < mask.sum() <= recipe.sum(), "smaller, never inverted"


def test_a_growing_face_has_an_edge_that_does_not_jump() -> None:
    recipe = ellipse_mask(256)
    areas = [
        shape_mask(recipe, 1 + step / 100, Framing.FULL, MergeSettings()).sum() / recipe.sum() for step in range(60)
    ]
    assert max(abs(b - a) for a, b in pairwise(areas)) < 0.002


POINTS = np.random.default_rng(0).uniform(20, 44, (68, 2))


def test_masks_by_name() -> None:
    source, target = ellipse_mask(64, 0.5, 0.9), ellipse_mask(64, 0.9, 0.5)
    for choice, expected in {"learned-src": source, "learned-dst": target, "learned": source * target}.items():
        assert np.array_equal(choose_mask(choice, POINTS, 64, source, target), expected)
    assert np.array_equal(choose_mask("auto", POINTS, 64, source, target), source * target)
    hull = choose_mask("hull", POINTS, 64, source, target)
    assert hull.shape == (64, 64) and not np.array_equal(hull, source * target)
    assert np.array_equal(choose_mask("auto", POINTS, 64, None, None), hull)


def test_learned_masks_are_enlarged_in_place() -> None:
    small = ellipse_mask(64)
    large = choose_mask("learned-src", POINTS, 256, small, None)
    assert large.shape == (256, 256) and large.min() >= 0 and large.max() <= 1
    assert np.abs(large - ellipse_mask(256)).mean() < 0.02


@pytest.mark.parametrize("choice", ["learned", "learned-src", "learned-dst"])
def test_a_mask_that_the_model_lacks_is_a_usage_error(choice: str) -> None:
    with pytest.raises(UsageError, match="hull"):
        choose_mask(choice, POINTS, 64, None, None)
