"""Points over time: how much they tremble, and where the face is at rest.

A row of NaN stands for a frame in which the face was not found; nothing is measured across it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from recaster.geometry.framing import align
from recaster.geometry.similarity import scale_of
from recaster.types import Framing


def jitter(points: NDArray[Any], rest: NDArray[np.bool_] | None = None) -> float:
    """RMS length of the second difference over time of ``points`` ``(T, K, 2)``, in their own px.

    Steady motion does not count; independent noise of s px in x and in y gives ``sqrt(12) * s``. ``rest`` ``(T,)``
    keeps only the triples of frames that lie wholly in it. NaN where there are no three frames in a row.
    """
    points = _checked(points)
    if len(points) < 3:
        return math.nan
    second = points[:-2] - 2 * points[1:-1] + points[2:]
    squared = np.square(second).sum(axis=2).mean(axis=1)
    counts = np.isfinite(squared)
    if rest is not None:
        counts &= rest[:-2] & rest[1:-1] & rest[2:]
    return math.sqrt(squared[counts].mean()) if counts.any() else math.nan


def at_rest(points: NDArray[Any], *, limit: float, window: int = 4) -> NDArray[np.bool_]:
    """Which of the T frames of ``points`` ``(T, K, 2)`` show a face that hardly moves, ``(T,)``.

    The speed of a point is the distance between its mean places in the ``window`` frames before and after, over the
    time between them, so that noise does not pass for motion. At rest its RMS over the points stays within ``limit``,
    px a frame. Frames nearer to an end, or to a gap, than ``window`` are not at rest: nothing is known of them.
    """
    points = _checked(points)
    rest = np.zeros(len(points), np.bool_)
    if len(points) <= 2 * window:
        return rest
    means = sliding_window_view(points, window, axis=0).mean(axis=-1)
    moved = means[window + 1 :] - means[: -window - 1]
    speed = np.sqrt(np.square(moved).sum(axis=2).mean(axis=1)) / (window + 1)
    rest[window:-window] = (speed <= limit) & np.isfinite(points[window:-window]).all(axis=(1, 2))
    return rest


def rest_jitter(points: NDArray[Any], *, framing: Framing = Framing.FULL, size: int = 256, limit: float = 0.5) -> float:
    """The jitter of landmarks ``(T, 68, 2)`` (frame px) while the face is at rest, in px of its ``size`` px crop.

    ``limit`` is the speed at rest, px of the crop a frame. One scale serves the whole track, the median of its
    alignments, so that a trembling alignment cannot hide the jitter it causes. NaN where the face is never at rest.
    """
    points = _checked(points)
    scales = [scale_of(align(row, framing, size).frame_to_crop) for row in points if np.isfinite(row).all()]
    if not scales:
        return math.nan
    in_crop = points * float(np.median(scales))
    return jitter(in_crop, at_rest(in_crop, limit=limit))


def _checked(points: NDArray[Any]) -> NDArray[np.float64]:
    array = np.asarray(points, np.float64)
    if array.ndim != 3 or array.shape[2] != 2:
        raise ValueError(f"points over time have shape {array.shape}, expected (T, K, 2)")
    return array
