"""Where the new face shows: a mask in crop space, shrunk and feathered by amounts that follow the face's size.

Everything happens on the crop's own grid, so the cost does not depend on the frame. Sizes are meant in pixels of the
frame and converted; they are real numbers, so a face that slowly grows does not make the mask's edge jump.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from recaster.errors import UsageError
from recaster.geometry.landmarks import hull_mask
from recaster.merge.settings import MaskChoice, MergeSettings
from recaster.types import Floats, Framing

_ERODE_LINEAR, _ERODE_QUADRATIC = 0.126, 0.00004551365
_ERODE_PEAK = _ERODE_LINEAR / (2 * _ERODE_QUADRATIC)
"""The face size, 1384 px, from which on erosion grows no more."""

_BLUR_LINEAR = 0.10
_BASE_FULL, _BASE_HALF = (30, 0), (100, 100)
"""Per cent of erosion and of blur at a setting of 0; the half framing ends inside the face and needs more of both."""

_STEP = 4
"""Longest radius, px, of one pass of erosion: two passes of 4 cost a fraction of one of 8, for the same shape."""


def erosion_size(face_size: float, percent: float) -> float:
    """How many px of the frame a mask loses across (twice what it loses at each side) for a face of ``face_size`` px;
    negative where ``percent`` is: it grows. Never falls as faces get larger.
    """
    size = min(face_size, _ERODE_PEAK)
    return size * (_ERODE_LINEAR - _ERODE_QUADRATIC * size) * percent / 100


def blur_size(face_size: float, percent: float) -> float:
    """Width of the feathered edge in px of the frame, 0 or more."""
    return max(0.0, face_size * _BLUR_LINEAR * percent / 100)


def choose_mask(
    choice: MaskChoice, points_in_crop: NDArray[np.float64], size: int, mask: Floats | None, mask_dst: Floats | None
) -> Floats:
    """The mask that ``choice`` names, ``(size, size)`` float32 0..1.

    ``points_in_crop`` ``(68, 2)`` are the target's landmarks in px of a ``size`` × ``size`` crop, ``mask`` and
    ``mask_dst`` ``(R, R)`` the model's masks of the new face and of the target's. Raises UsageError where the choice
    needs a mask that the model did not give.
    """
    if choice == "auto":
        choice = "hull" if mask is None and mask_dst is None else "learned"
    if choice == "hull":
        return hull_mask(points_in_crop, (size, size))
    wanted = {"learned-src": [mask], "learned-dst": [mask_dst]}.get(choice, [mask, mask_dst])
    given = [_resized(alpha, size) for alpha in wanted if alpha is not None]
    if not given:
        raise UsageError(f"mask {choice!r} needs a model that learned masks", mend="Choose the mask hull.")
    return given[0] if len(given) == 1 else given[0] * given[1]


def face_size(mask: Floats) -> float:
    """The shorter side of what ``mask`` shows, px of its grid: bounding boxes averaged over all thresholds 0..1."""
    return float(min(mask.max(axis=0).sum(), mask.max(axis=1).sum()))


def shape_mask(mask: Floats, frame_px: float, framing: Framing, settings: MergeSettings) -> Floats:
    """Shrink (or grow) and feather ``mask`` ``(h, w)`` as the settings say; a pixel of it is ``frame_px`` of the frame.

    The result is 0 on the outermost pixels and reaches that smoothly, so the crop's square never shows.
    """
    base_erode, base_blur = _BASE_HALF if framing is Framing.HALF else _BASE_FULL
    size = face_size(mask) * frame_px
    radius = erosion_size(size, base_erode + settings.erode) / 2 / frame_px
    sigma = blur_size(size, base_blur + settings.blur) / math.sqrt(12) / frame_px
    return feather(erode(mask, radius), sigma)


def erode(mask: Floats, radius: float) -> Floats:
    """Grey-scale erosion by a disc of ``radius`` px, dilation where negative; interpolated between whole radii."""
    passes, rest = divmod(abs(radius), _STEP)
    result = mask.copy()
    for _ in range(int(passes)):
        result = _morph(result, _STEP, radius > 0)
    whole = int(rest)
    inner = _morph(result, whole, radius > 0)
    if rest == whole:
        return inner
    return inner + np.float32(rest - whole) * (_morph(result, whole + 1, radius > 0) - inner)


def feather(mask: Floats, sigma: float) -> Floats:
    """Gaussian blur of the mask, after a border has been cleared that the blur needs to come down to 0 at the rim.

    A Gaussian of ``sigma`` = b / √12 spreads an edge as much as a box of width b, without the box's corners.
    """
    reach = math.ceil(3 * sigma)
    inside = np.zeros_like(mask)
    keep = slice(reach + 1, -reach - 1)
    inside[keep, keep] = mask[keep, keep]
    if not reach:
        return inside
    return np.asarray(cv2.GaussianBlur(inside, (2 * reach + 1, 2 * reach + 1), sigma), np.float32)


def _morph(mask: Floats, radius: int, shrink: bool) -> Floats:
    if not radius:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.erode(mask, disc) if shrink else cv2.dilate(mask, disc), np.float32)


def _resized(mask: Floats, size: int) -> Floats:
    if mask.shape == (size, size):
        return mask
    enlarged = cv2.resize(mask, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(enlarged, 0.0, 1.0), np.float32)
