from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recaster.color.lab import rgb_to_lab
from recaster.color.statistics import lab_statistics, masked_statistics


@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.integers(1, 80))
def test_weights_are_those_of_the_mask(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    image = random.normal(40, 9, (height, width, 3)).astype(np.float32)
    mask = random.random((height, width), np.float32)
    found = masked_statistics(image, mask)
    weights = mask[..., None].astype(np.float64)
    mean = (weights * image).sum(axis=(0, 1)) / weights.sum()
    std = np.sqrt((weights * (image - mean) ** 2).sum(axis=(0, 1)) / weights.sum())
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(found.std, std, rtol=1e-3, atol=1e-4)
    assert found.weight == pytest.approx(mask.sum(), rel=1e-4)


def test_what_lies_outside_of_the_mask_does_not_count() -> None:
    image = np.random.default_rng(0).random((60, 50, 3), np.float32)
    mask = np.zeros((60, 50), np.float32)
    mask[10:40, 5:30] = 1
    painted = image.copy()
    painted[mask == 0] = (1, 0, 1)
    inside, outside = lab_statistics(image, mask), lab_statistics(painted, mask)
    np.testing.assert_array_equal(inside.mean, outside.mean)
    np.testing.assert_array_equal(inside.std, outside.std)
    lab = rgb_to_lab(image)[10:40, 5:30].reshape(-1, 3)
    np.testing.assert_allclose(inside.mean, lab.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(inside.std, lab.std(axis=0), rtol=1e-4)


def test_one_colour_has_no_spread() -> None:
    found = lab_statistics(np.full((30, 30, 3), 0.3, np.float32), np.ones((30, 30), np.float32))
    np.testing.assert_allclose(found.std, 0, atol=1e-4)


def test_an_empty_mask_saw_nothing() -> None:
    found = lab_statistics(np.ones((8, 8, 3), np.float32), np.zeros((8, 8), np.float32))
    assert found.weight == 0
    assert np.isfinite(found.mean).all()
    assert np.isfinite(found.std).all()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the mask is"):
        lab_statistics(np.ones((8, 8, 3), np.float32), np.ones((8, 9), np.float32))
