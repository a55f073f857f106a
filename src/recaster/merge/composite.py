"""A frame with its new faces. Only the region under each face's mask is computed; everything else is left as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recaster.color.transfer import color_transfers
from recaster.geometry.similarity import apply_matrix, invert_matrix, scale_of
from recaster.geometry.warp import Region, warp_back
from recaster.merge.blend import blend_modes
from recaster.merge.mask import choose_mask, shape_mask
from recaster.merge.settings import MergeSettings
from recaster.types import Alignment, Floats, Matrix, Picture

_MASK_SIZE = 256
"""Smallest side, px, of the grid on which masks are drawn and shaped."""

_VISIBLE = 1 / 512
"""Mask values below it change nothing in 8 bits."""


@dataclass(frozen=True)
class Paste:
    """One new face for a frame.

    ``alignment`` is that of the crop the model saw, R × R px; ``rgb`` ``(R, R, 3)`` float32 0..1 is its prediction and
    ``target`` ``(R, R, 3)`` float32 0..1 the crop itself; ``points`` ``(68, 2)`` are the target's landmarks in px of
    the frame; ``mask`` and ``mask_dst`` ``(R, R)`` float32 0..1 the model's masks of the new face and the target's.
    """

    alignment: Alignment
    rgb: Floats
    target: Floats
    points: Floats
    mask: Floats | None = None
    mask_dst: Floats | None = None


def composite(image: Picture, pastes: Sequence[Paste], settings: MergeSettings) -> Picture:
    """``image`` ``(H, W, 3)`` with every paste in turn laid onto the result of those before; a new picture.

    Works in float32 inside a face's region and rounds once to the picture's own type, so uint8 and uint16 pictures are
    within half a step of the float result. Pixels that no mask touches are returned bit for bit. Raises UsageError
    where the settings ask for masks that the model did not give.
    """
    result = image.copy()
    for paste in pastes:
        _lay(result, paste, settings)
    return result


def _lay(image: Picture, paste: Paste, settings: MergeSettings) -> None:
    alignment = paste.alignment
    mask_size = max(alignment.size, _MASK_SIZE)
    finer = mask_size / alignment.size
    points = apply_matrix(_finer(alignment.frame_to_crop, finer), paste.points)
    recipe = choose_mask(settings.mask, points, mask_size, paste.mask, paste.mask_dst)
    zoom = 1 / (1 + settings.face_scale / 100)
    frame_to_face = _scaled(alignment.frame_to_crop, zoom, alignment.size / 2 * (1 - zoom))
    frame_to_mask = _finer(frame_to_face, finer)
    mask = shape_mask(recipe, 1 / scale_of(frame_to_mask), alignment.framing, settings)
    region = _region(mask, frame_to_mask, image.shape)
    if region is None:
        return
    left, top, right, bottom = region
    place = image[top:bottom, left:right]
    frame = _to_float(place)
    alpha = warp_back(mask, frame_to_mask, region)
    face = warp_back(_recolored(paste, recipe, mask, image.shape, settings), frame_to_face, region, border="replicate")
    picture = blend_modes.get(settings.mode)(face, frame, alpha)
    change = np.clip(picture, 0.0, 1.0) - frame
    place[...] = _from_float(frame + change * cv2.merge([alpha] * 3), image.dtype)


def _recolored(
    paste: Paste, recipe: Floats, mask: Floats, frame_shape: tuple[int, ...], settings: MergeSettings
) -> Floats:
    """The prediction in the target's colours, which are judged where the recipe's mask and the frame have pixels.

    Only the part that the final mask can show is computed.
    """
    face = np.array(paste.rgb, np.float32, order="C")
    if settings.color_transfer == "none":
        return face
    size, finer = paste.alignment.size, len(mask) / paste.alignment.size
    rows, columns = _bounds(np.maximum(recipe, mask))
    box = tuple(slice(int(line.start / finer), math.ceil(line.stop / finer)) for line in (rows, columns))
    shown = cv2.resize(recipe, (size, size), interpolation=cv2.INTER_AREA)
    judged = np.asarray(shown * _inside_frame(paste.alignment, frame_shape), np.float32)[box]
    target = np.ascontiguousarray(paste.target[box])
    face[box] = color_transfers.get(settings.color_transfer)(face[box], target, judged, judged)
    return face


def _inside_frame(alignment: Alignment, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels ``(R, R)`` of the crop lie in the frame; the others were made up when it was cut."""
    (ax, bx, cx), (ay, by, cy) = invert_matrix(alignment.frame_to_crop)
    along = np.arange(alignment.size)
    across, down = along, along[:, None]

    def inside(across: NDArray[np.intp], down: NDArray[np.intp]) -> NDArray[np.bool_]:
        x, y = ax * across + bx * down + cx, ay * across + by * down + cy
        return np.asarray((x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1))

    if inside(across[[0, -1]], down[[0, -1]]).all():  # the corners are, so all is
        return np.ones((alignment.size, alignment.size), np.bool_)
    return inside(across, down)


def _scaled(matrix: Matrix, factor: float, shift: float) -> Matrix:
    """``matrix`` followed by x -> factor x + shift on both axes."""
    return np.asarray(factor * matrix + (0.0, 0.0, shift), np.float64)


def _finer(matrix: Matrix, factor: float) -> Matrix:
    """``matrix`` to a crop that has ``factor`` times the pixels along each side and shows the same."""
    return _scaled(matrix, factor, (factor - 1) / 2)


def _bounds(mask: Floats) -> tuple[slice, slice]:
    """Rows and columns of the visible part of ``mask``; empty slices where there is none."""
    found = (np.flatnonzero(mask.max(axis=axis) > _VISIBLE) for axis in (1, 0))
    rows, columns = (slice(line[0], line[-1] + 1) if len(line) else slice(0, 0) for line in found)
    return rows, columns


def _region(mask: Floats, frame_to_mask: Matrix, shape: tuple[int, ...]) -> Region | None:
    """The upright rectangle of the frame under the visible part of ``mask``, or None where there is nothing of it."""
    rows, columns = _bounds(mask)
    if rows.stop == 0:
        return None
    x, y = (columns.start, columns.stop - 1), (rows.start, rows.stop - 1)
    corners = apply_matrix(invert_matrix(frame_to_mask), np.stack(np.meshgrid(x, y), axis=-1).reshape(4, 2))
    left, top = (max(0, math.floor(low) - 2) for low in corners.min(axis=0))
    right = min(shape[1], math.ceil(corners[:, 0].max()) + 3)
    bottom = min(shape[0], math.ceil(corners[:, 1].max()) + 3)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _to_float(image: Picture) -> Floats:
    if image.dtype == np.float32:
        return image.copy()
    return np.multiply(image, np.float32(1 / np.iinfo(image.dtype).max), dtype=np.float32)


def _from_float(image: Floats, dtype: np.dtype[Any]) -> Picture:
    if dtype == np.float32:
        return image
    if dtype == np.uint8:
        return np.asarray(cv2.convertScaleAbs(image, alpha=255.0))
    return np.asarray(np.rint(image * np.iinfo(dtype).max), dtype)
