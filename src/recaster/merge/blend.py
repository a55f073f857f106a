"""How a new face meets the frame around it.

A blend mode gets the face, the frame and the mask over the same region and returns the picture that the mask then mixes
into the frame, ``frame + mask * (picture - frame)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from recaster.registry import Registry
from recaster.types import Floats

BlendMode = Callable[[Floats, Floats, Floats], Floats]
"""(face (h, w, 3), frame (h, w, 3), mask (h, w)) -> (h, w, 3); all float32 0..1, none of them changed."""

blend_modes: Registry[BlendMode] = Registry("blend mode")

_GRID = 128
"""Longest side, px, of the grid on which the seamless correction is solved."""


@blend_modes.add("overlay")
def overlay(face: Floats, frame: Floats, mask: Floats) -> Floats:
    """The face as it is."""
    return face


@blend_modes.add("seamless")
def seamless(face: Floats, frame: Floats, mask: Floats) -> Floats:
    """The face with the frame's light: its gradients where the mask is 1, the frame's own where it is 0 (Pérez et al.
    2003), their mixture between.

    With D = face - frame the result is frame + v, where Δv = div(mask ∇D), and v is 0 around the region. No threshold
    decides where the face ends, and nothing is rounded to whole pixels, so a face that moves by a fraction of one is
    carried along by that fraction. A face that differs from the frame by a constant becomes the frame.

    Where the mask is 1, v - D is harmonic, hence smooth: on regions above 128 px it is solved on a coarser grid and
    brought back. What the coarse grid misses lies at the mask's rim, where the mask hides it.
    """
    difference = face - frame
    step = math.ceil(max(mask.shape) / _GRID)
    coarse = _coarse(difference, step)
    correction = _solve(coarse, _coarse(mask, step)) - coarse
    return face + _fine(correction, step, mask.shape)


def _coarse(values: Floats, step: int) -> Floats:
    """Means of ``step`` × ``step`` blocks; the last ones continue the edge."""
    if step == 1:
        return values
    height, width = values.shape[:2]
    whole: NDArray[Any] = cv2.copyMakeBorder(values, 0, -height % step, 0, -width % step, cv2.BORDER_REPLICATE)
    size = (whole.shape[1] // step, whole.shape[0] // step)
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.float32)


def _fine(values: Floats, step: int, shape: tuple[int, ...]) -> Floats:
    """The opposite of :func:`_coarse`, interpolated."""
    if step == 1:
        return values
    size = (values.shape[1] * step, values.shape[0] * step)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]], np.float32)


def _solve(difference: Floats, weight: Floats) -> Floats:
    """v with Δv = div(w ∇D) on the grid of ``difference`` D ``(h, w, 3)`` and 0 around it.

    The five-point Laplacian is diagonal in the sine basis (discrete sine transform of type I). The region is continued
    by its edge up to a size whose transform is fast, so that a face cut off by the frame is not pinned at the cut.
    """
    height, width = weight.shape
    rows, columns = _fast_size(height + 2), _fast_size(width + 2)
    top, left = (rows - height) // 2, (columns - width) // 2
    border = (top, rows - height - top, left, columns - width - left)
    weight = _continued(weight, border)
    across, down = (weight[:, 1:] + weight[:, :-1]) / 2, (weight[1:] + weight[:-1]) / 2
    right_side = np.zeros((3, rows, columns), np.float32)
    for divergence, channel in zip(right_side, np.moveaxis(difference, -1, 0), strict=True):
        channel = _continued(channel, border)
        flow = across * (channel[:, 1:] - channel[:, :-1])
        divergence[:, :-1] += flow
        divergence[:, 1:] -= flow
        flow = down * (channel[1:] - channel[:-1])
        divergence[:-1] += flow
        divergence[1:] -= flow
    spectrum = fft.dstn(right_side, type=1, axes=(1, 2), overwrite_x=True)
    spectrum *= _inverse_laplacian(rows, columns)
    solved = fft.idstn(spectrum, type=1, axes=(1, 2), overwrite_x=True)
    return np.asarray(cv2.merge(list(solved[:, top : top + height, left : left + width])), np.float32)


def _continued(plane: Floats, border: tuple[int, int, int, int]) -> Floats:
    """``plane`` with its edge repeated outwards (top, bottom, left, right px)."""
    return np.asarray(cv2.copyMakeBorder(np.ascontiguousarray(plane), *border, cv2.BORDER_REPLICATE), np.float32)


def _fast_size(size: int) -> int:
    """The smallest size from ``size`` on whose sine transform, a Fourier transform of 2 (n + 1) values, is fast."""
    while fft.next_fast_len(2 * (size + 1), real=True) != 2 * (size + 1):
        size += 1
    return size


@lru_cache(maxsize=16)
def _inverse_laplacian(rows: int, columns: int) -> Floats:
    """1 / eigenvalues of the five-point Laplacian with zeros around ``rows`` × ``columns`` unknowns."""
    along_y = 2 * np.cos(np.pi * np.arange(1, rows + 1) / (rows + 1)) - 2
    along_x = 2 * np.cos(np.pi * np.arange(1, columns + 1) / (columns + 1)) - 2
    return np.asarray(1 / (along_y[:, None] + along_x), np.float32)
