from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from recaster.geometry.framing import align
from recaster.geometry.similarity import apply_matrix, compose
from recaster.geometry.warp import Border, crop_region, warp_back, warp_crop
from recaster.types import Framing, Matrix

DTYPES = [np.uint8, np.uint16, np.float32]
IDENTITY = np.eye(2, 3)


def similar(scale: float, degrees: float, place: tuple[float, float], size: int) -> Matrix:
    """The crop of ``size`` px about the frame's pixel ``place``."""
    cosine, sine = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, np.full(2, (size - 1) / 2) - linear @ place])


def as_dtype(picture: NDArray[Any], dtype: type) -> NDArray[Any]:
    """A 0..1 picture in the range of ``dtype``."""
    if dtype is np.float32:
        return picture.astype(np.float32)
    return np.rint(picture * np.iinfo(dtype).max).astype(dtype)


def span(dtype: type) -> float:
    return 1.0 if dtype is np.float32 else float(np.iinfo(dtype).max)


def smooth_picture(height: int, width: int) -> NDArray[np.float64]:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 23 + y / 41), np.sin(x / 31 - y / 19 + 1), np.cos(x / 47 + y / 29)]
    return np.stack(waves, axis=-1) * 0.4 + 0.5


def noise(height: int, width: int, dtype: type) -> NDArray[Any]:
    return as_dtype(np.random.default_rng(0).random((height, width, 3)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("border", ["constant", "replicate"])
def test_the_identity_changes_nothing(dtype: type, border: Border) -> None:
    picture = noise(96, 96, dtype)
    for warped in (
        warp_crop(picture, IDENTITY, 96, border=border),
        warp_back(picture, IDENTITY, (0, 0, 96, 96), border=border),
    ):
        assert warped.dtype == dtype
        np.testing.assert_array_equal(warped, picture)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_whole_shift_is_a_slice(dtype: type) -> None:
    frame = noise(200, 300, dtype)
    crop = warp_crop(frame, np.array([[1.0, 0, -120], [0, 1.0, -50]]), 64)
    np.testing.assert_array_equal(crop, frame[50:114, 120:184])
    np.testing.assert_array_equal(
        warp_back(crop, np.array([[1.0, 0, -120], [0, 1.0, -50]]), (130, 60, 150, 90)), frame[60:90, 130:150]
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_picture_of_one_channel_keeps_its_shape(dtype: type) -> None:
    grey = noise(80, 90, dtype)[..., 0]
    assert warp_crop(grey, similar(0.4, 20, (40, 40), 32), 32).shape == (32, 32)
    assert warp_crop(grey[..., None], similar(0.4, 20, (40, 40), 32), 32).shape == (32, 32, 1)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.floats(0.15, 4),
    st.floats(-180, 180),
    st.tuples(st.floats(150, 250), st.floats(150, 250)),
)
def test_crop_and_paste_return_a_smooth_picture(
    dtype: type, scale: float, degrees: float, place: tuple[float, float]
) -> None:
    frame = as_dtype(smooth_picture(400, 400), dtype)
    matrix = similar(scale, degrees, place, 96)
    left, top, right, bottom = region = crop_region(matrix, 96, (400, 400))
    back = warp_back(warp_crop(frame, matrix, 96, border="replicate"), matrix, region)
    y, x = np.mgrid[top:bottom, left:right]
    in_crop = apply_matrix(matrix, np.stack([x, y], axis=-1))
    inside = np.all((in_crop > 6) & (in_crop < 89), axis=-1)
    difference = np.abs(back.astype(np.float64) - frame[top:bottom, left:right])[inside] / span(dtype)
    assert difference.size
    # A crop of a sixth of the size cannot show all of the waves.
    assert difference.max() < (0.02 if scale > 0.5 else 0.2)
    assert difference.mean() < (0.005 if scale > 0.5 else 0.04)


@pytest.mark.parametrize("degrees", [-30, 30, 90, 180])
def test_a_turned_frame_gives_the_same_crop(golden_points: NDArray[np.float64], degrees: float) -> None:
    points = golden_points + np.array((100, 60))
    frame = as_dtype(smooth_picture(400, 400), np.float32)
    motion = compose(np.array([[1.0, 0, -200], [0, 1.0, -200]]), similar(1, degrees, (0, 0), 400))
    turned = warp_crop(frame, motion, 400, border="replicate")
    upright = warp_crop(frame, align(points, Framing.FULL, 128).frame_to_crop, 128)
    matrix = align(apply_matrix(motion, points), Framing.FULL, 128).frame_to_crop
    assert np.abs(warp_crop(turned, matrix, 128) - upright).max() < 0.02


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", [1.5, 2.0, 3.9, 5.0, 8.0])
@pytest.mark.parametrize("degrees", [0, 17])
def test_a_fine_checkerboard_becomes_grey(dtype: type, reduction: float, degrees: float) -> None:
    y, x = np.mgrid[:1200, :1200]
    frame = as_dtype(np.repeat(((x + y) % 2)[..., None], 3, axis=-1), dtype)
    size = int(1000 / reduction)
    crop = warp_crop(frame, similar(1 / reduction, degrees, (600, 600), size), size)
    middle = crop[size // 4 : -size // 4] / span(dtype)
    assert middle.mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(middle - 0.5).max() < (0.1 if reduction < 2 else 0.02)


def test_a_zone_plate_shows_no_false_rings() -> None:
    """A 1000-px face in 256 px: what lies beyond the crop's Nyquist frequency is grey, what lies below stays."""
    reduction, middle = 1000 / 256, 699.5
    y, x = np.mgrid[:1400, :1400] - middle
    frame = (0.5 + 0.5 * np.cos(np.pi * (x**2 + y**2) / 2000)).astype(np.float32)
    crop = warp_crop(frame, similar(1 / reduction, 0, (middle, middle), 256), 256)
    v, u = np.mgrid[:256, :256] - 127.5
    frequency = np.hypot(u, v) * reduction**2 / 2000  # cycles per pixel of the crop, to 1.38 in the corners
    assert np.abs(crop - 0.5)[frequency > 0.75].max() < 0.06
    assert np.abs(crop - 0.5)[frequency > 1].max() < 0.02
    assert np.ptp(crop[frequency < 0.15]) > 0.9


@pytest.mark.parametrize("dtype", DTYPES)
def test_pasting_a_large_crop_small_does_not_alias(dtype: type) -> None:
    y, x = np.mgrid[:512, :512]
    crop = as_dtype(np.repeat(((x + y) % 2)[..., None], 3, axis=-1), dtype)
    matrix = similar(4.0, 10, (100, 100), 512)
    piece = warp_back(crop, matrix, (80, 80, 120, 120)) / span(dtype)
    assert np.abs(piece - 0.5).max() < 0.02


def test_reduction_keeps_places() -> None:
    """A soft spot stays where the matrix says, at every level of the pyramid."""
    y, x = np.mgrid[:900, :900]
    for reduction in (1.0, 1.7, 2.5, 4.0, 7.0, 12.0):
        frame = np.exp(-((x - 431.3) ** 2 + (y - 470.8) ** 2) / (2 * (3 * reduction) ** 2)).astype(np.float32)
        matrix = similar(1 / reduction, 33, (450, 450), 128)
        crop = warp_crop(frame, matrix, 128).astype(np.float64)
        v, u = np.mgrid[:128, :128]
        found = np.array([(crop * u).sum(), (crop * v).sum()]) / crop.sum()
        np.testing.assert_allclose(found, apply_matrix(matrix, np.array([431.3, 470.8])), atol=0.02)


@pytest.mark.parametrize("border", ["constant", "replicate"])
def test_the_crop_needs_only_its_own_region(border: Border) -> None:
    """Cutting the frame far outside of the crop's region changes nothing."""
    frame = noise(500, 700, np.uint8)
    matrix = similar(0.3, 25, (350, 250), 64)
    left, top, right, bottom = crop_region(matrix, 64, frame.shape[:2], margin=20)
    emptied = np.zeros_like(frame)
    emptied[top:bottom, left:right] = frame[top:bottom, left:right]
    np.testing.assert_array_equal(
        warp_crop(frame, matrix, 64, border=border), warp_crop(emptied, matrix, 64, border=border)
    )


@pytest.mark.parametrize("place", [(-500, 40), (50, 900), (2000, -300)])
def test_a_crop_outside_of_the_frame(place: tuple[float, float]) -> None:
    frame = np.full((100, 120, 3), 77, np.uint8)
    matrix = similar(0.5, 5, place, 32)
    assert not warp_crop(frame, matrix, 32).any()
    assert np.all(warp_crop(frame, matrix, 32, border="replicate") == 77)
    left, top, right, bottom = crop_region(matrix, 32, (100, 120))
    assert left >= right or top >= bottom
    with pytest.raises(ValueError, match="nothing to warp"):
        warp_back(warp_crop(frame, matrix, 32), matrix, (left, top, right, bottom))


@pytest.mark.parametrize("degrees", [0, 45])
def test_borders(degrees: float) -> None:
    frame = np.full((100, 100, 3), 200, np.uint8)
    matrix = similar(0.5, degrees, (0, 50), 64)
    black = warp_crop(frame, matrix, 64)
    assert black[32, 40].min() == 200
    assert black[32, 2].max() == 0
    assert np.all(warp_crop(frame, matrix, 64, border="replicate") == 200)


@given(st.floats(0.1, 5), st.floats(-180, 180), st.tuples(st.floats(-50, 350), st.floats(-50, 250)))
def test_the_region_holds_the_crop(scale: float, degrees: float, place: tuple[float, float]) -> None:
    matrix = similar(scale, degrees, place, 48)
    left, top, right, bottom = crop_region(matrix, 48, (200, 300), margin=0)
    assert 0 <= left <= 300
    assert 0 <= bottom <= 200
    y, x = np.mgrid[:200, :300]
    in_crop = apply_matrix(matrix, np.stack([x, y], axis=-1))
    inside = np.all((in_crop >= -0.5) & (in_crop <= 47.5), axis=-1)
    inside[top:bottom, left:right] = False
    assert not inside.any()


def test_float_pictures_do_not_overshoot() -> None:
    frame = np.zeros((40, 40, 3), np.float32)
    frame[:, 20:] = 1
    crop = warp_crop(frame, similar(3.3, 12, (20, 20), 64), 64)
    assert (crop.min(), crop.max()) == (0, 1)


def test_warping_does_not_change_or_need_to_write_its_argument() -> None:
    frame = noise(60, 60, np.float32)
    before = frame.copy()
    frame.setflags(write=False)
    warp_crop(frame[:, ::-1], similar(0.4, 3, (30, 30), 20), 20)
    np.testing.assert_array_equal(frame, before)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="float64 cannot be warped"):
        warp_crop(np.zeros((9, 9, 3)), IDENTITY, 9)
    with pytest.raises(ValueError, match="no inverse"):
        warp_crop(np.zeros((9, 9, 3), np.uint8), np.zeros((2, 3)), 9)


def test_a_crop_costs_what_it_covers_not_what_the_frame_holds() -> None:
    """A small face in an 8K frame: blurring the frame would take a hundred times as long."""
    frame = np.zeros((4320, 7680, 3), np.uint8)
    matrix = similar(0.25, 10, (3000, 2000), 64)
    warp_crop(frame, matrix, 64)
    start = time.perf_counter()
    for _ in range(5):
        warp_crop(frame, matrix, 64)
    assert (time.perf_counter() - start) / 5 < 0.03
