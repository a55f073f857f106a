"""Colour transfers: an image takes the colours of a reference."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from recaster.color.lab import lab_to_rgb, rgb_to_lab
from recaster.color.statistics import ColorStatistics, lab_statistics, masked_statistics
from recaster.registry import Registry
from recaster.types import Floats, Picture

_LEAST_STD = 1e-3
"""A channel with less spread than this, in units of L*a*b*, has none that could be stretched."""


class Transfer(Protocol):
    """One colour transfer."""

    def __call__(self, image: Picture, reference: Picture, image_mask: Floats, reference_mask: Floats) -> Floats:
        """``image`` ``(H, W, 3)`` float32 RGB 0..1 in the colours of ``reference`` (same kind, any size).

        Only what lies inside the soft masks, ``(H, W)`` float32 of each image, is measured; all of ``image`` changes.
        Where a mask is empty, ``image`` comes back as it is.
        """
        ...


color_transfers: Registry[Transfer] = Registry("color transfer")


@color_transfers.add("rct")
def transfer_reinhard(image: Picture, reference: Picture, image_mask: Floats, reference_mask: Floats) -> Floats:
    """Mean and spread of every channel matched (Reinhard et al. 2001, eq. 10-11), in L*a*b* in place of their lαβ."""
    lab = rgb_to_lab(image)
    own = masked_statistics(lab, image_mask)
    return _matched(image, lab, own, lab_statistics(reference, reference_mask))


def match_statistics(image: Picture, own: ColorStatistics, target: ColorStatistics) -> Floats:
    """``image`` ``(H, W, 3)`` float32 RGB, whose statistics are ``own``, with those of ``target``; clipped to 0..1.

    A channel without spread is only shifted. Where either saw nothing (weight 0), ``image`` comes back as it is.
    """
    return _matched(image, rgb_to_lab(image), own, target)


def _matched(image: Picture, lab: Floats, own: ColorStatistics, target: ColorStatistics) -> Floats:
    if not (own.weight > 0 and target.weight > 0):
        return image.copy()
    stretchable = own.std > _LEAST_STD
    gain = np.where(stretchable, target.std / np.where(stretchable, own.std, 1), 1)
    change = np.column_stack([np.diag(gain), target.mean - gain * own.mean])
    return lab_to_rgb(np.asarray(cv2.transform(lab, change), np.float32))
