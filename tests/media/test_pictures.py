from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from recaster.errors import MediaError, UsageError
from recaster.media.pictures import decode_picture, encode_jpeg, encode_png, read_picture, write_picture


@pytest.fixture
def image() -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize("name", ["顔 ü.png", "a b.tif", "x.TIFF"])
def test_lossless_formats_return_the_picture(tmp_path: Path, image: NDArray[np.uint8], name: str) -> None:
    path = tmp_path / "Bilder ñ" / name
    write_picture(path, image)
    assert np.array_equal(read_picture(path), image)
    assert [file.name for file in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_float_pictures_keep_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    image = np.random.default_rng(1).random((8, 9, 3)).astype(np.float32)
    write_picture(tmp_path / f"deep{suffix}", image)
    assert np.abs(read_picture(tmp_path / f"deep{suffix}", "float32") - image).max() < 1 / 65535
    assert np.array_equal(read_picture(tmp_path / f"deep{suffix}"), np.rint(image * 255).astype(np.uint8))


def test_jpeg_keeps_every_pixels_color(image: NDArray[np.uint8]) -> None:
    def error(data: bytes) -> float:
        return float(np.abs(decode_picture(data, "face").astype(int) - image).mean())

    assert error(encode_jpeg(image, 98)) < error(encode_jpeg(image, 98, full_color=False)) < 4
    assert len(encode_jpeg(image, 50)) < len(encode_jpeg(image, 95))


def test_grey_and_alpha_become_rgb(image: NDArray[np.uint8]) -> None:
    grey = decode_picture(encode_png(image[..., 0]), "grey")
    assert np.array_equal(grey, np.repeat(image[..., :1], 3, axis=2))
    rgba = cv2.imencode(".png", np.dstack([image[..., ::-1], image[..., 0]]))[1].tobytes()
    assert np.array_equal(decode_picture(rgba, "alpha"), image)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(image: NDArray[np.uint8], orientation: int, turns: int) -> None:
    plain = encode_jpeg(image)
    turned = decode_picture(with_orientation(plain, orientation), "photo")
    assert np.array_equal(turned, np.rot90(decode_picture(plain, "photo"), turns))


def test_what_is_no_picture_names_the_file(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    jpeg, png = encode_jpeg(image), encode_png(image)
    bad = {
        "empty.jpg": b"",
        "text.png": b"no picture " * 20,
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut.png": png[: len(png) // 2],
        "head.jpg": jpeg[:4],
    }
    for name, data in bad.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(MediaError, match=name):
            read_picture(path)
    with pytest.raises(MediaError, match="no such file"):
        read_picture(tmp_path / "absent.png")


def test_a_thumbnails_end_is_not_the_pictures(image: NDArray[np.uint8]) -> None:
    jpeg = encode_jpeg(image)
    thumbnail = b"\xff\xe1" + struct.pack(">H", 12) + b"thumb\xff\xd8\xff\xd9\x00"
    whole = jpeg[:2] + thumbnail + jpeg[2:]
    assert decode_picture(whole, "photo").shape == image.shape
    with pytest.raises(MediaError, match="truncated"):
        decode_picture(whole[:-40], "photo")


def test_unknown_suffixes_are_refused(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match=r"\.webp"):
        write_picture(tmp_path / "a.webp", image)
    assert not list(tmp_path.iterdir())
