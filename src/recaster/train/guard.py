"""Notices when a training goes wrong: losses that are no numbers or have jumped, gradients that explode, flat faces."""

from __future__ import annotations

import math

WARM_UP = 200
"""Iterations after a start or a change of options in which losses may move as they like."""
SMOOTHING = 0.02
"""Weight of the newest loss in the running mean."""
JUMP = 3.0
"""The running mean may not be more than this many times its lowest value."""
EXPLOSION = 1e4
"""A gradient norm may not be more than this many times its running mean."""
FLAT, ALIVE = 0.05, 0.3
"""Contrast of the swap relative to real faces: below the first it has collapsed, if it was above the second before."""


class Guard:
    """Watches one session. Each ``observe`` gives what is wrong in words, or None.

    The thresholds are far from what healthy trainings do: they find collapses, which do not heal by themselves.
    """

    def __init__(self) -> None:
        self._contrast = 0.0
        self.restart()

    def restart(self) -> None:
        """Options have changed: what was usual until now says nothing about what comes."""
        self._seen = 0
        self._mean = self._lowest = math.nan
        self._norm = math.nan

    def observe_loss(self, src: float, dst: float) -> str | None:
        """The two losses of one iteration."""
        loss = src + dst
        if not math.isfinite(loss):
            return f"the loss became {loss}"
        self._seen += 1
        # After n observations the plain mean, until the window is full.
        weight = max(SMOOTHING, 1 / self._seen)
        self._mean = loss if self._seen == 1 else self._mean + weight * (loss - self._mean)
        if self._seen < WARM_UP:
            return None
        self._lowest = self._mean if math.isnan(self._lowest) else min(self._lowest, self._mean)
        if self._mean > JUMP * self._lowest:
            return f"the loss rose from {self._lowest:.4g} to {self._mean:.4g}"
        return None

    def observe_gradients(self, norm: float) -> str | None:
        """The global norm of the gradients, measured now and then."""
        if not math.isfinite(norm):
            return f"the gradients became {norm}"
        usual, self._norm = self._norm, norm if math.isnan(self._norm) else 0.9 * self._norm + 0.1 * norm
        if self._seen > WARM_UP and norm > EXPLOSION * usual:
            return f"the gradients grew from {usual:.3g} to {norm:.3g}"
        return None

    def observe_contrast(self, contrast: float) -> str | None:
        """How much structure the swap shows, relative to real faces (see :func:`recaster.train.preview.contrast`)."""
        if not math.isfinite(contrast):
            return "the preview is no picture any more"
        best, self._contrast = self._contrast, max(self._contrast, contrast)
        if contrast < FLAT and best > ALIVE:
            return "the preview has become flat"
        return None
