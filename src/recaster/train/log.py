"""The loss of every iteration: ``loss.jsonl``, one line each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from recaster.files import storage_errors

NAME = "loss.jsonl"
RECENT = 100
"""Iterations over which a loss is averaged for people."""
COLUMNS = 1024
"""Columns of a history at most; an even number."""
_BLOCK = 1 << 22


class LossLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One iteration: its number from 1, the losses that people read, and the seconds it took; the learning rate and the
    norm of the gradients where they are known.
    """

    iteration: int
    src: float
    dst: float
    seconds: float
    rate: float | None = None
    norm: float | None = None


class _Stored(msgspec.Struct):
    """A line as it is read: a loss that was no number is null in JSON."""

    iteration: int
    src: float | None
    dst: float | None
    seconds: float
    rate: float | None = None
    norm: float | None = None


_DECODER = msgspec.json.Decoder(_Stored)


class History:
    """The losses of a whole training in at most COLUMNS columns of ``span`` iterations each.

    ``low``, ``mean`` and ``high`` are ``(C, 2)`` float64, src and dst; NaN where no finite number was seen. When the
    columns are full, each two become one.
    """

    def __init__(self, losses: NDArray[np.float64] | None = None, first: int = 1) -> None:
        """``losses`` ``(N, 2)`` float64 of the iterations from ``first`` on."""
        values = np.empty((0, 2)) if losses is None else np.where(np.isfinite(losses), losses, np.nan)
        self.first, self.lines, self.span = first, len(values), 1
        while self.span * COLUMNS < self.lines:
            self.span *= 2
        padded = np.full((len(self) * self.span, 2), np.nan)
        padded[: self.lines] = values
        parts = padded.reshape(len(self), self.span, 2)
        self._low, self._high = np.full((COLUMNS, 2), np.nan), np.full((COLUMNS, 2), np.nan)
        self._sum, self._known = np.zeros((COLUMNS, 2)), np.zeros((COLUMNS, 2))
        self._low[: len(self)], self._high[: len(self)] = np.fmin.reduce(parts, 1), np.fmax.reduce(parts, 1)
        self._sum[: len(self)], self._known[: len(self)] = np.nansum(parts, 1), np.isfinite(parts).sum(1)

    def __len__(self) -> int:
        return -(-self.lines // self.span)

    def add(self, line: LossLine) -> None:
        """One more iteration, the one after the last."""
        if not self.lines:
            self.first = line.iteration
        if self.lines == self.span * COLUMNS:
            self._halve()
        row, values = self.lines // self.span, np.array([line.src, line.dst])
        known = np.isfinite(values)
        values[~known] = np.nan
        self._low[row], self._high[row] = np.fmin(self._low[row], values), np.fmax(self._high[row], values)
        self._sum[row, known] += values[known]
        self._known[row] += known
        self.lines += 1

    def _halve(self) -> None:
        half = COLUMNS // 2
        for columns, join, nothing in (
            (self._low, np.fmin, np.nan),
            (self._high, np.fmax, np.nan),
            (self._sum, np.add, 0.0),
            (self._known, np.add, 0.0),
        ):
            columns[:half] = join(columns[::2], columns[1::2])
            columns[half:] = nothing
        self.span *= 2

    @property
    def iterations(self) -> NDArray[np.int64]:
        """``(C,)``: the first iteration of each column."""
        return self.first + self.span * np.arange(len(self))

    @property
    def low(self) -> NDArray[np.float64]:
        """The lowest losses."""
        return self._low[: len(self)]

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean losses."""
        known = self._known[: len(self)]
        return np.where(known > 0, self._sum[: len(self)] / np.maximum(known, 1), np.nan)

    @property
    def high(self) -> NDArray[np.float64]:
        """The highest losses."""
        return self._high[: len(self)]


class LossLog:
    """Appends lines to ``folder``'s log; lines after ``iteration`` are of a past that was not saved, and are cut off.

    Raises StorageError.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        self.path = folder / NAME
        self._history: History | None = None
        with storage_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        self.cut(iteration)

    def cut(self, iteration: int) -> None:
        """Forget what came after ``iteration``, and a torn line at the end."""
        with storage_errors(self.path), self.path.open("rb") as file:
            self._file.truncate(_length_until(file, iteration))
        self._history = None

    def add(self, line: LossLine) -> None:
        """Append one line; readers see it at once."""
        short = LossLine(
            line.iteration,
            round(line.src, 6),
            round(line.dst, 6),
            round(line.seconds, 4),
            _four_digits(line.rate),
            _four_digits(line.norm),
        )
        with storage_errors(self.path):
            self._file.write(msgspec.json.encode(short) + b"\n")
            self._file.flush()
        if self._history is not None:
            self._history.add(short)

    @property
    def history(self) -> History:
        """All losses up to now; read from the file when it is first asked for, and kept up to date from then on."""
        if self._history is None:
            self._history = read_history(self.path.parent)
        return self._history

    def sync(self) -> None:
        """Flush to the disk, so that a checkpoint written after this never knows more than the log."""
        with storage_errors(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read_losses(folder: Path) -> Iterator[LossLine]:
    """All lines of ``folder``'s log, oldest first; none where there is no log. What is no line is skipped."""
    for block in _blocks(folder / NAME):
        yield from map(_line, _decode(block))


def last_losses(folder: Path, count: int = RECENT) -> list[LossLine]:
    """The last ``count`` lines of ``folder``'s log, oldest first, read from its end."""
    path = folder / NAME
    if not path.is_file():
        return []
    window = 128 * count
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        while True:
            start = file.seek(max(0, size - window))
            if start:
                file.readline()  # the one that the seek has cut
            lines = _decode(file.read())
            if len(lines) >= count or not start:
                return [_line(stored) for stored in lines[-count:]]
            window *= 2


def recent_loss(folder: Path) -> tuple[float, float]:
    """Mean src and dst loss of the last iterations, NaN where there are none."""
    lines = last_losses(folder)
    return _mean([line.src for line in lines]), _mean([line.dst for line in lines])


def read_history(folder: Path) -> History:
    """The whole log of ``folder`` in a few columns; about half a second for a million iterations."""
    first, parts = 1, [np.empty((0, 2))]
    for block in _blocks(folder / NAME):
        lines = _decode(block)
        if len(parts) == 1 and lines:
            first = lines[0].iteration
        parts.append(np.array([(line.src, line.dst) for line in lines], float).reshape(-1, 2))
    return History(np.concatenate(parts), first)


def _four_digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]  # NaN is not equal to itself
    return sum(known) / len(known) if known else float("nan")


def _line(stored: _Stored) -> LossLine:
    src, dst = (float("nan") if loss is None else loss for loss in (stored.src, stored.dst))
    return LossLine(stored.iteration, src, dst, stored.seconds, stored.rate, stored.norm)


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in pieces of some megabytes that end with a line; nothing where there is no file."""
    if path.is_file():
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block + file.readline()


def _decode(text: bytes) -> list[_Stored]:
    """The lines of ``text`` that are whole."""
    whole = text[: text.rfind(b"\n") + 1]
    try:
        return _DECODER.decode_lines(whole)
    except msgspec.MsgspecError:
        return [stored for line in whole.splitlines() if (stored := _decode_one(line)) is not None]


def _decode_one(text: bytes) -> _Stored | None:
    try:
        # Python's own JSON writer calls it NaN.
        return _DECODER.decode(text.replace(b"NaN", b"null"))
    except msgspec.MsgspecError:
        return None


def _length_until(file: BinaryIO, iteration: int) -> int:
    """Where the first line begins that is later than ``iteration`` or torn; the file's length where there is none.

    Iterations only grow, and a line is torn only after the last save: so a bisection of the file finds it.
    """
    low, high = 0, file.seek(0, os.SEEK_END)
    found = high
    while low < high:
        middle = (low + high) // 2
        if middle > low:
            file.seek(middle - 1)
            file.readline()
        else:
            file.seek(low)
        start = file.tell()
        text = file.readline() if start < high else b""
        line = _decode_one(text) if text.endswith(b"\n") else None
        if line is not None and line.iteration <= iteration:
            low = file.tell()
        else:
            found = min(found, start)
            high = middle
    return found
