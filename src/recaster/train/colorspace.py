"""Color spaces for batches ``(N, 3, H, W)`` float32 on any device; sRGB is 0..1."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recaster.color.lab import COMPRESSED_TO_LAB, KNEE, LAB_TO_COMPRESSED, RGB_TO_XYZ, XYZ_TO_RGB


def rgb_to_lab(pictures: Tensor) -> Tensor:
    """sRGB as CIE L*a*b* (D65): L 0..100, a and b about -128..127."""
    linear = torch.where(pictures <= 0.04045, pictures / 12.92, ((pictures + 0.055) / 1.055).clamp_min(0) ** 2.4)
    xyz = _transformed(RGB_TO_XYZ, linear)
    compressed = torch.where(xyz <= KNEE**3, xyz / (3 * KNEE**2) + 4 / 29, xyz.clamp_min(KNEE**3) ** (1 / 3))
    return _transformed(COMPRESSED_TO_LAB, compressed)


def lab_to_rgb(pictures: Tensor) -> Tensor:
    """CIE L*a*b* (D65) as sRGB; colors that sRGB does not have are clipped."""
    compressed = _transformed(LAB_TO_COMPRESSED, pictures)
    xyz = torch.where(compressed <= KNEE, 3 * KNEE**2 * (compressed - 4 / 29), compressed**3)
    linear = _transformed(XYZ_TO_RGB, xyz).clamp_(0, 1)
    encoded = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded.clamp_max_(1)


def rgb_to_hsv(pictures: Tensor) -> Tensor:
    """sRGB as hue 0..360 degrees, saturation and value 0..1 (Smith 1978)."""
    value, largest = pictures.max(1)
    chroma = value - pictures.amin(1)
    following, last = (pictures.gather(1, ((largest + step) % 3)[:, None])[:, 0] for step in (1, 2))
    hue = (60 * (2 * largest + (following - last) / chroma.clamp_min(1e-12))) % 360
    return torch.stack([hue, chroma / value.clamp_min(1e-12), value], 1)


def hsv_to_rgb(pictures: Tensor) -> Tensor:
    """Hue in degrees, any, saturation and value 0..1, as sRGB."""
    hue, saturation, value = pictures[:, :1], pictures[:, 1:2], pictures[:, 2:]
    turn = torch.tensor([5.0, 3.0, 1.0], device=pictures.device).view(1, 3, 1, 1)
    sector = (turn + hue / 60) % 6
    return value * (1 - saturation * torch.minimum(sector, 4 - sector).clamp(0, 1))


def _transformed(matrix: NDArray[np.float64], pictures: Tensor) -> Tensor:
    """Each pixel through a matrix ``(3, 3)``, or ``(3, 4)`` of which the last column is added."""
    values = torch.tensor(matrix, dtype=torch.float32, device=pictures.device)
    product = values[:, :3] @ pictures.flatten(2)
    return (product if matrix.shape[1] == 3 else product + values[:, 3:]).view_as(pictures)
