"""A swapper that changes nothing: to see what the merge alone does to a picture, and for tests."""

from __future__ import annotations

import numpy as np

from recaster.swap.swapper import Descriptor
from recaster.types import Floats, Framing, SwapOutput


class IdentitySwapper:
    """Returns its input; with ``ellipse`` also a mask, a soft-edged ellipse that nearly fills the crop."""

    def __init__(self, resolution: int = 128, framing: Framing = Framing.FULL, *, ellipse: bool = False) -> None:
        self._mask = ellipse_mask(resolution) if ellipse else None
        self._descriptor = Descriptor("identity", "identity", resolution, framing, learned_mask=ellipse)

    @property
    def descriptor(self) -> Descriptor:
        """What it works on."""
        return self._descriptor

    def swap(self, crops: Floats) -> SwapOutput:
        """``crops`` ``(N, 3, R, R)`` float32 0..1, unchanged."""
        if self._mask is None:
            return SwapOutput(crops.copy())
        masks = np.repeat(self._mask[None, None], len(crops), axis=0)
        return SwapOutput(crops.copy(), masks, masks.copy())


def ellipse_mask(size: int, width: float = 0.7, height: float = 0.85) -> Floats:
    """``(size, size)`` float32: 1 inside a centred ellipse whose axes are ``width`` and ``height`` of the side, 0
    outside, with an edge about one pixel wide.
    """
    away = np.abs(np.arange(size) - (size - 1) / 2)
    radius = np.hypot(away[None, :] / (width * size / 2), away[:, None] / (height * size / 2))
    edge = (1.0 - radius) * (min(width, height) * size / 2) + 0.5
    return np.asarray(np.clip(edge, 0.0, 1.0), np.float32)
