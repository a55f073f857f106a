from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from recaster.media.convert import RgbReader, YuvWriter, as_uint8, orient, rgb_to_yuv, rotation_of
from recaster.types import ColorTag

MATRICES = ["bt709", "smpte170m", "bt2020nc", "smpte240m", "fcc"]
FORMATS = ["yuv420p", "yuv444p", "yuv420p10le", "yuv444p10le"]


def patches() -> NDArray[np.float32]:
    """Bars of all corners of the RGB cube and some colours between, in blocks of 16 px."""
    levels = np.stack(np.meshgrid([0, 0.5, 1], [0, 0.35, 1], [0, 0.8, 1], indexing="ij"), -1).reshape(3, 9, 3)
    return levels.repeat(16, 0).repeat(16, 1).astype(np.float32)


def centres(image: NDArray[Any]) -> NDArray[Any]:
    return image[8::16, 8::16]


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_code_values_follow_the_standard(matrix: str, full_range: bool, pixel_format: str) -> None:
    color = ColorTag(matrix=matrix, full_range=full_range)
    depth = 10 if "10" in pixel_format else 8
    image = patches()
    frame = YuvWriter(color, pixel_format)(image)
    expected = centres(image).astype(np.float64) @ (to_yuv := rgb_to_yuv(color, depth, scale_bits=depth))[:3, :3].T
    expected += to_yuv[:3, 3]
    for number, plane in enumerate(frame.planes):
        data = np.frombuffer(plane, np.uint16 if depth == 10 else np.uint8)
        values = data.reshape(plane.height, -1)[:, : plane.width]
        step = 16 * plane.width // image.shape[1]
        assert np.abs(values[step // 2 :: step, step // 2 :: step] - expected[..., number]).max() <= 1.6


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_there_and_back(matrix: str, full_range: bool, pixel_format: str) -> None:
    color = ColorTag(matrix=matrix, full_range=full_range)
    image = patches()
    frame = YuvWriter(color, pixel_format)(image)
    deep = RgbReader(color, "float32")(frame)
    shallow = RgbReader(color, "uint8")(frame)
    assert np.abs(centres(deep) - centres(image)).max() < (0.0035 if "10" in pixel_format else 0.012)
    assert np.abs(centres(shallow) - centres(image) * 255.0).max() <= 3
    assert abs(float((centres(shallow) - centres(image) * 255.0).mean())) < 0.5


def test_black_and_white_are_sixteen_and_two_hundred_thirty_five() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 255
    luma = YuvWriter(ColorTag("bt709"), "yuv444p")(image).to_ndarray(channel_last=True)[..., 0]
    assert luma[0].tolist() == [16, 16, 235, 235]


def test_ten_bits_survive_as_float() -> None:
    ramp = np.linspace(0.2, 0.8, 512, dtype=np.float32)
    image = np.repeat(np.tile(ramp, (4, 1))[..., None], 3, axis=2)
    frame = YuvWriter(ColorTag("bt709"), "yuv420p10le")(image)
    read = RgbReader(ColorTag("bt709"), "float32")(frame)
    assert np.abs(read - image).max() < 0.75 / 876
    assert len(np.unique(read[0, :, 1])) > 400


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_any_flat_color_returns(red: int, green: int, blue: int) -> None:
    image = np.full((2, 2, 3), (red, green, blue), np.uint8)
    color = ColorTag("bt709")
    read = RgbReader(color, "uint8")(YuvWriter(color, "yuv420p")(image))
    assert np.abs(read.astype(int) - image).max() <= 2


def test_quarter_turns_match_rot90() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for turns, matrix in enumerate([(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]):
        assert np.array_equal(orient(image, matrix), np.rot90(image, -turns))
        assert rotation_of(matrix) == 90 * turns
    assert np.array_equal(orient(image, (-1, 0, 0, 1)), image[:, ::-1])


def test_integers_are_rounded_not_cut() -> None:
    assert as_uint8(np.array([0, 128, 129, 65535], np.uint16)).tolist() == [0, 0, 1, 255]
    assert as_uint8(np.array([-0.5, 0.5, 1.5], np.float32)).tolist() == [0, 128, 255]


def test_rgb_video_needs_no_matrix() -> None:
    image = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="gbrp")
    assert np.array_equal(RgbReader(ColorTag("gbr", full_range=True), "uint8")(frame), image)
