"""Crops out of a frame and back into it, without aliasing and without touching more of the frame than they cover."""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from recaster.geometry.similarity import apply_matrix, compose, invert_matrix, scale_of
from recaster.types import Matrix, Picture

Border = Literal["constant", "replicate"]
Region = tuple[int, int, int, int]
"""left, top, right, bottom in px; right and bottom are one past the last pixel."""

_BORDERS = {"constant": cv2.BORDER_CONSTANT, "replicate": cv2.BORDER_REPLICATE}
_DTYPES = (np.uint8, np.uint16, np.float32)


def warp_crop(image: Picture, frame_to_crop: Matrix, size: int, *, border: Border = "constant") -> Picture:
    """The ``(size, size, C)`` crop of ``image``, of its dtype.

    Cubic where the crop enlarges, low-passed first where it shrinks. Outside the frame it is black (``constant``) or
    continues the frame's edge (``replicate``). A ``(H, W)`` image gives ``(size, size)``.
    """
    height, width = image.shape[:2]
    reach = 2 + math.ceil(4 * scale_of(invert_matrix(frame_to_crop)))
    left, top, right, bottom = crop_region(frame_to_crop, size, (height, width), margin=reach)
    # A crop beside the frame still needs a pixel to continue from.
    left, top = min(left, width - 1), min(top, height - 1)
    piece = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    return _resample(piece, compose(_shift(left, top), frame_to_crop), (size, size), border)


def crop_region(frame_to_crop: Matrix, size: int, frame_shape: tuple[int, int], margin: int = 2) -> Region:
    """The upright rectangle of a ``(h, w)`` frame that holds the whole crop and ``margin`` px around it.

    Clipped to the frame: ``left >= right`` or ``top >= bottom`` where the crop lies outside of it.
    """
    edge = size - 0.5
    corners = np.array([(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge)])
    placed = apply_matrix(invert_matrix(frame_to_crop), corners)
    limit = np.array(frame_shape[::-1])
    left, top = np.clip(np.floor(placed.min(axis=0)) - margin, 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(placed.max(axis=0)) + margin + 1, 0, limit).astype(int)
    return int(left), int(top), int(right), int(bottom)


def warp_back(crop: Picture, frame_to_crop: Matrix, region: Region, *, border: Border = "constant") -> Picture:
    """``crop`` brought back to the frame: the ``(bottom - top, right - left, C)`` piece of the frame at ``region``.

    Of the crop's dtype; resampled like :func:`warp_crop`. Raises ValueError for an empty region.
    """
    left, top, right, bottom = region
    crop_to_region = compose(invert_matrix(frame_to_crop), _shift(-left, -top))
    return _resample(crop, crop_to_region, (right - left, bottom - top), border)


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def _resample(source: Picture, source_to_target: Matrix, size: tuple[int, int], border: Border) -> Picture:
    """``source`` resampled into a target of ``size`` (width, height)."""
    if source.dtype not in _DTYPES:
        raise ValueError(f"a picture of {source.dtype} cannot be warped, expected uint8, uint16 or float32")
    if min(*source.shape[:2], *size) < 1:
        raise ValueError(f"nothing to warp: the source is {source.shape[:2]} px, the target {size[::-1]} px")
    reduced, source_to_reduced = _low_passed(source, scale_of(source_to_target))
    reduced_to_target = compose(invert_matrix(source_to_reduced), source_to_target)
    target: NDArray[Any] = cv2.warpAffine(
        reduced,
        invert_matrix(reduced_to_target),
        size,
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=_BORDERS[border],
    )
    if source.dtype == np.float32:
        _limit(target, source, border)
    return target.reshape(size[1], size[0], *source.shape[2:])


def _low_passed(source: Picture, scale: float) -> tuple[Picture, Matrix]:
    """``source`` without the detail that a resampling by ``scale`` cannot show, maybe smaller, and the matrix to it.

    A Gaussian of variance ``(1 / scale^2 - 1) / 4`` px², which passes 29 % at the target's Nyquist frequency and under
    1 % at twice that. Its first part is a pyramid of binomial kernels (Burt & Adelson 1983), variance 1 px² a level.
    """
    variance = (scale**-2 - 1) / 4
    matrix = _shift(0, 0)
    while variance >= 1 and min(source.shape[:2]) > 1:
        source = cv2.pyrDown(source, borderType=cv2.BORDER_REPLICATE)
        matrix = matrix / 2
        variance = (variance - 1) / 4
    if variance > 1e-3:
        sigma = math.sqrt(variance)
        source = cv2.GaussianBlur(source, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return source, matrix


def _limit(target: Picture, source: Picture, border: Border) -> None:
    """Take back the cubic kernel's overshoot beyond the source's own range, as integers do by saturating."""
    low, high = float(source.min()), float(source.max())
    if border == "constant":
        low, high = min(low, 0.0), max(high, 0.0)
    np.clip(target, low, high, out=target)
