"""The losses of a training as a picture."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from recaster.train.log import RECENT, History
from recaster.types import Picture

HEIGHT = 190
PAPER = 24
INK = (230, 230, 230)
COLORS = {"src": (255, 170, 60), "dst": (90, 190, 255)}
"""Orange and blue: told apart by color-blind people too."""

_GREY, _FAINT = (140, 140, 140), (62, 62, 62)
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 28, 20
_LOGARITHMIC_FROM = 5.0
"""Highest over lowest loss from which on the scale is logarithmic."""
_SMOOTH = 50
"""The bright line is a mean over one part in this many of the graph."""


def loss_graph(history: History, iteration: int, width: int) -> Picture:
    """``(HEIGHT, width, 3)`` uint8: both losses over all iterations, their extremes faint and their mean bright.

    What is no finite number leaves a gap. The scale shows all but the most extreme hundredth.
    """
    picture = np.full((HEIGHT, width, 3), PAPER, np.uint8)
    x = write_text(picture, f"iteration {iteration:,}", (8, 17), INK)
    for person, (name, color) in enumerate(COLORS.items()):
        recent = history.mean[-max(1, RECENT // history.span) :, person]
        known = recent[np.isfinite(recent)]
        x = write_text(picture, f"{name} {known.mean():.4f}" if len(known) else f"{name} -", (x + 20, 17), color)
    scale = _scale_of(history)
    if scale is not None:
        write_text(picture, "logarithmic" if scale.logarithmic else "linear", (x + 20, 17), _GREY)
        _draw(picture, history, scale)
    return picture


def write_text(
    picture: Picture, text: str, corner: tuple[int, int], color: tuple[int, int, int], size: float = 0.42
) -> int:
    """Write ``text`` with its lower left ``corner`` at (x, y), and give the x where it ends."""
    cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, color, 1, cv2.LINE_AA)
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    return corner[0] + wide


class _Scale:
    """Losses from ``low`` to ``high``, along a line from 0 (below) to 1."""

    def __init__(self, low: float, high: float) -> None:
        self.logarithmic = low > 0 and high > _LOGARITHMIC_FROM * low
        margin = 1.1 if self.logarithmic else 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        self.low, self.high = (low / margin, high * margin) if self.logarithmic else (low - margin, high + margin)

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where ``values`` lie; what lies outside is moved to the edge."""
        values = np.clip(values, self.low, self.high)
        if self.logarithmic:
            return np.asarray(np.log(values / self.low) / math.log(self.high / self.low))
        return np.asarray((values - self.low) / (self.high - self.low))

    def ticks(self) -> list[float]:
        """Round values between the ends."""
        if not self.logarithmic:
            return _round_steps(self.low, self.high, 4)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        digits = (1, 2, 5) if last - first <= 3 else (1,)
        values = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        return [value for value in values if self.low <= value <= self.high]


def _scale_of(history: History) -> _Scale | None:
    values = np.concatenate([history.low, history.high])
    known = values[np.isfinite(values)]
    return _Scale(*np.percentile(known, [1, 99])) if len(known) else None


def _draw(picture: Picture, history: History, scale: _Scale) -> None:
    height, width = picture.shape[:2]
    inside = picture[_TOP : height - _BOTTOM, _LEFT : width - _RIGHT]
    rows, columns = inside.shape[0] - 1, inside.shape[1] - 1
    for tick in scale.ticks():
        y = round(rows * (1 - float(scale.place(np.array(tick)))))
        inside[y] = _FAINT
        write_text(picture, f"{tick:.3g}", (6, _TOP + y + 4), INK, 0.36)
    last = max(1, history.lines - 1)
    for iteration in _round_steps(history.first, history.first + last, max(2, width // 150)):
        x = round(columns * (iteration - history.first) / last)
        inside[:, x] = _FAINT
        write_text(picture, _short(iteration), (min(_LEFT + x - 8, width - 36), height - 6), INK, 0.36)
    across = columns * np.minimum(history.iterations - history.first, last) / last
    for person, color in enumerate(COLORS.values()):
        low, high = (rows * (1 - scale.place(values[:, person])) for values in (history.low, history.high))
        dim = tuple(value // 3 for value in color)
        for x, lower, upper in zip(across, low, high, strict=True):
            if math.isfinite(lower):
                cv2.line(inside, (round(x), round(lower)), (round(x), round(upper)), dim, 1)
    for person, color in enumerate(COLORS.values()):
        mean = rows * (1 - scale.place(_smooth(history.mean[:, person])))
        line = np.stack([across, mean], 1)
        known = np.isfinite(mean)
        for part in np.split(np.arange(len(line)), np.flatnonzero(np.diff(known)) + 1):
            if len(part) and known[part[0]]:
                cv2.polylines(inside, [line[part].round().astype(np.int32)], False, color, 1, cv2.LINE_AA)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running mean; NaN stays where it was."""
    known = np.isfinite(values)
    window = np.ones(2 * (len(values) // _SMOOTH // 2) + 1)
    total = np.convolve(np.where(known, values, 0), window)[len(window) // 2 :][: len(values)]
    count = np.convolve(known, window)[len(window) // 2 :][: len(values)]
    return np.where(known, total / np.maximum(count, 1), np.nan)


def _round_steps(low: float, high: float, count: int) -> list[float]:
    """About ``count`` multiples of 1, 2 or 5 times a power of ten between ``low`` and ``high``."""
    rough = max(high - low, 1e-12) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= 0.999 * rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _short(iteration: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if iteration >= size:
            return f"{iteration / size:.4g}{unit}"
    return f"{iteration:.4g}"
