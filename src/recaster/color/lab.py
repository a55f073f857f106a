"""sRGB and CIE L*a*b* (1976), white point D65.

OpenCV's own float conversion goes through a coarse table (errors up to 0.6 in a, 0.005 back in RGB), so only its fast
powers and 3 × 3 products are used here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recaster.types import Floats, Picture

# IEC 61966-2-1. Each row is divided by its sum, so that white (1, 1, 1) gives 1, 1, 1: X / Xn, Y / Yn, Z / Zn.
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
RGB_TO_XYZ /= RGB_TO_XYZ.sum(axis=1, keepdims=True)
XYZ_TO_RGB = np.linalg.inv(RGB_TO_XYZ)
# CIE 15:2004, eq. 8.3-8.6: L, a, b from the compressed X, Y, Z, and back; the last column is added.
COMPRESSED_TO_LAB = np.array([[0.0, 116, 0, -16], [500, -500, 0, 0], [0, 200, -200, 0]])
LAB_TO_COMPRESSED = np.array([[1, 116 / 500, 0, 16], [1, 0, 0, 16], [1, 0, -116 / 200, 16]]) / 116
KNEE = 6 / 29
_STRIP = 8192
"""Pixels converted at a time: temporaries of this size stay in the cache and are not fetched from the system anew."""


def rgb_to_lab(image: Picture) -> Floats:
    """``(H, W, 3)`` float32 sRGB 0..1 as float32 L 0..100, a and b about -128..127. Values beyond 0..1 are clipped."""
    return _in_strips(_rgb_to_lab, image)


def lab_to_rgb(image: Floats) -> Floats:
    """``(H, W, 3)`` float32 L, a, b as float32 sRGB; colours that sRGB does not have are clipped to 0..1."""
    return _in_strips(_lab_to_rgb, image)


def _rgb_to_lab(image: Floats) -> NDArray[Any]:
    encoded = np.clip(image, 0, 1)
    linear = cv2.pow((encoded + 0.055) / 1.055, 2.4)
    np.copyto(linear, encoded / 12.92, where=encoded <= 0.04045)
    xyz = cv2.transform(linear, RGB_TO_XYZ)
    compressed = cv2.pow(xyz, 1 / 3)
    np.copyto(compressed, xyz / (3 * KNEE**2) + 4 / 29, where=xyz <= KNEE**3)
    return cv2.transform(compressed, COMPRESSED_TO_LAB)


def _lab_to_rgb(image: Floats) -> NDArray[Any]:
    compressed = cv2.transform(image, LAB_TO_COMPRESSED)
    xyz = compressed * compressed * compressed
    np.copyto(xyz, 3 * KNEE**2 * (compressed - 4 / 29), where=compressed <= KNEE)
    linear = np.clip(cv2.transform(xyz, XYZ_TO_RGB), 0, 1)
    encoded = 1.055 * cv2.pow(linear, 1 / 2.4) - 0.055
    np.copyto(encoded, 12.92 * linear, where=linear <= 0.0031308)
    # 0.055 is rounded to float32: without this, white comes out at 1 + 1e-7.
    limited: NDArray[Any] = np.minimum(encoded, 1)
    return limited


def _in_strips(convert: Callable[[Floats], NDArray[Any]], image: Picture) -> Floats:
    if image.dtype != np.float32 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"colours are converted as (H, W, 3) float32, got {image.shape} {image.dtype}")
    converted = np.empty(image.shape, np.float32)
    step = max(1, _STRIP // max(1, image.shape[1]))
    for top in range(0, len(image), step):
        converted[top : top + step] = convert(image[top : top + step])
    return converted
