from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from recaster.color.lab import lab_to_rgb, rgb_to_lab


def cie_lab(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """The definitions, in float64: IEC 61966-2-1 for sRGB, CIE 15 for L*a*b*, white D65."""
    rgb = rgb.astype(np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = linear @ matrix.T / (0.9505, 1.0, 1.089)
    x, y, z = np.moveaxis(np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def patches(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


@pytest.mark.parametrize("darkness", [1.0, 0.1, 0.01])
def test_lab_is_cies(darkness: float) -> None:
    picture = patches(130, 97) * np.float32(darkness)
    lab = rgb_to_lab(picture)
    assert lab.dtype == np.float32
    np.testing.assert_allclose(lab, cie_lab(picture), atol=0.05)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((1, 1, 1), (100, 0, 0)),
        ((0.5, 0.5, 0.5), (53.389, 0, 0)),
        ((1, 0, 0), (53.241, 80.092, 67.203)),
        ((0, 1, 0), (87.735, -86.183, 83.179)),
        ((0, 0, 1), (32.297, 79.188, -107.860)),
    ],
)
def test_known_colours(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    np.testing.assert_allclose(rgb_to_lab(np.array([[rgb]], np.float32))[0, 0], lab, atol=0.02)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 1000))
def test_colours_return(height: int, width: int, seed: int) -> None:
    picture = patches(height, width, seed)
    np.testing.assert_allclose(lab_to_rgb(rgb_to_lab(picture)), picture, atol=3e-5)


def test_a_picture_wider_than_a_strip() -> None:
    picture = patches(3, 20_000)
    np.testing.assert_allclose(lab_to_rgb(rgb_to_lab(picture)), picture, atol=3e-5)


def test_colours_outside_of_srgb_are_clipped() -> None:
    impossible = np.array([[[150, 0, 0], [-20, 40, 40], [50, 200, 200], [50, -200, -200], [100, 0, 0]]], np.float32)
    rgb = lab_to_rgb(impossible)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    np.testing.assert_allclose(rgb[0, 0], 1, rtol=1e-6)
    np.testing.assert_allclose(
        rgb_to_lab(np.array([[[1.5, -1, 0.5]]], np.float32)), rgb_to_lab(np.array([[[1, 0, 0.5]]], np.float32))
    )


@pytest.mark.parametrize("picture", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)])
def test_other_pictures_are_refused(picture: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="float32"):
        rgb_to_lab(picture)
    with pytest.raises(ValueError, match="float32"):
        lab_to_rgb(picture)


def test_the_argument_is_left_alone() -> None:
    picture = patches(9, 9)
    before = picture.copy()
    picture.setflags(write=False)
    rgb_to_lab(picture)
    lab_to_rgb(picture)
    np.testing.assert_array_equal(picture, before)
