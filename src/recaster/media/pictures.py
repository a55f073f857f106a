"""Read and write still pictures: JPEG, PNG, TIFF; any Unicode path, upright, RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from recaster.errors import MediaError, UsageError
from recaster.files import PICTURE_SUFFIXES, write_bytes
from recaster.media.convert import as_float, as_uint8
from recaster.types import Picture

_MEND = "Remove it, or copy it again from its source."


def read_picture(path: Path, dtype: Literal["uint8", "float32"] = "uint8") -> Picture:
    """The picture ``(H, W, 3)`` RGB, uint8 or float32 0..1.

    EXIF orientation is applied, grey is spread over three channels, an alpha channel is dropped, 16 bits are rounded
    to 8 for uint8 and kept for float32. Raises MediaError for a file that is missing, torn or no picture.
    """
    return decode_picture(read_file(path), path, dtype)


def decode_picture(data: bytes, where: str | Path, dtype: Literal["uint8", "float32"] = "uint8") -> Picture:
    """Decode the bytes of a picture file like :func:`read_picture`; ``where`` names them in a MediaError."""
    stored = decode_picture_as_stored(data, where)
    return as_float(stored) if dtype == "float32" else as_uint8(stored)


def decode_picture_as_stored(data: bytes, where: str | Path) -> Picture:
    """Decode to upright RGB in the type that the file holds: uint8, uint16, or float32. Raises MediaError."""
    if not data:
        raise MediaError("the file is empty", where=where, mend=_MEND)
    if _is_cut_off(data):
        raise MediaError("the picture is truncated", where=where, mend=_MEND)
    try:
        # Not IMREAD_COLOR_RGB: OpenCV 5.0 gives wrong pixels with it for TIFF of 16 bits.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    if image is None:
        raise MediaError("is not a picture that can be read", where=where, mend=_MEND)
    rgb: Picture = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb


def read_file(path: Path) -> bytes:
    """The file's bytes. Raises MediaError."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MediaError("there is no such file", where=path, mend="Check the path.") from error
    except OSError as error:
        raise MediaError(f"cannot be read ({error.strerror})", where=path, mend="Check its rights.") from error


def write_picture(path: Path, image: Picture, quality: int = 95) -> None:
    """Write atomically what the suffix says: .jpg, .png or .tif.

    ``image`` is ``(H, W, 3)`` RGB, or ``(H, W)`` for grey. PNG and TIFF hold float32 and uint16 as 16 bits; JPEG holds
    8 bits at ``quality`` 1..100 with full colour resolution. Raises StorageError, UsageError.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise UsageError(f"cannot write pictures as {suffix or 'a file without a suffix'}", where=path)
    if suffix in {".jpg", ".jpeg"}:
        write_bytes(path, encode_jpeg(image, quality))
    else:
        write_bytes(path, _encode(suffix, _as_integers(image)))


def encode_jpeg(image: Picture, quality: int = 95, *, full_color: bool = True) -> bytes:
    """JPEG bytes of an RGB ``(H, W, 3)`` or grey ``(H, W)`` picture of any type.

    ``full_color`` keeps a colour for every pixel (4:4:4), which edges of lips and eyes need; without it files are
    about a quarter smaller (4:2:0).
    """
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if full_color else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return _encode(".jpg", as_uint8(image), parameters)


def encode_png(image: Picture) -> bytes:
    """PNG bytes of an RGB ``(H, W, 3)`` or grey ``(H, W)`` picture: 8 bits for uint8, else 16."""
    return _encode(".png", _as_integers(image))


def _as_integers(image: Picture) -> Picture:
    if image.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        return image
    levels: Picture = np.rint(np.clip(image, 0.0, 1.0) * 65535).astype(np.uint16)
    return levels


def _encode(suffix: str, image: Picture, parameters: list[int] | None = None) -> bytes:
    bgr = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    encoded = cv2.imencode(suffix, bgr, parameters or [])[1]
    return bytes(encoded.tobytes())


def _is_cut_off(data: bytes) -> bool:
    """Whether a JPEG lacks its end marker, or a PNG its last chunk: decoders would fill the rest with grey."""
    if data[:2] == b"\xff\xd8":
        scan = _first_scan(data)
        return scan < 0 or data.find(b"\xff\xd9", scan) < 0
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return b"IEND" not in data
    return False


def _first_scan(data: bytes) -> int:
    """Where a JPEG's first scan begins, -1 if it has none (ITU-T T.81, annex B); a thumbnail's end lies before it."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker == 0xDA:
            return place
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return -1
