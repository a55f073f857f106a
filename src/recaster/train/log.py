"""The loss of every iteration: ``loss.jsonl``, one line each."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from recaster.files import storage_errors

NAME = "loss.jsonl"
RECENT = 100
"""Iterations over which a loss is averaged for people."""


class LossLine(msgspec.Struct, frozen=True):
    """One iteration: its number from 1, the losses that people read, and how long it took."""

    iteration: int
    src: float
    dst: float
    seconds: float


class LossLog:
    """Appends lines to ``folder``'s log; lines after ``iteration`` are of a past that was not saved, and are cut off.

    Raises StorageError.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        self.path = folder / NAME
        with storage_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            self._file.truncate(_length_until(self.path, iteration))

    def add(self, line: LossLine) -> None:
        """Append one line; readers see it at once."""
        values = {"iteration": line.iteration, "src": round(line.src, 6), "dst": round(line.dst, 6)}
        text = json.dumps({**values, "seconds": round(line.seconds, 4)}) + "\n"
        with storage_errors(self.path):
            self._file.write(text.encode())
            self._file.flush()

    def sync(self) -> None:
        """Flush to the disk, so that a checkpoint written after this never knows more than the log."""
        with storage_errors(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read_losses(folder: Path) -> Iterator[LossLine]:
    """All lines of ``folder``'s log, oldest first; none where there is no log."""
    path = folder / NAME
    if path.is_file():
        with path.open("rb") as file:
            yield from (line for line, _ in _lines(file))


def recent_loss(folder: Path) -> tuple[float, float]:
    """Mean src and dst loss of the last iterations, NaN where there are none."""
    lines = list(_last(folder / NAME))
    if not lines:
        return float("nan"), float("nan")
    return sum(line.src for line in lines) / len(lines), sum(line.dst for line in lines) / len(lines)


def _last(path: Path) -> list[LossLine]:
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 200 * RECENT))
        tail = file.read().splitlines(keepends=True)
    for start in range(min(2, len(tail))):  # the first line may have been cut by the seek
        lines = [line for line, _ in _lines(io.BytesIO(b"".join(tail[start:])))]
        if lines:
            return lines[-RECENT:]
    return []


def _lines(file: io.BufferedIOBase | io.BufferedReader) -> Iterator[tuple[LossLine, int]]:
    """Whole lines and where each ends, up to the first that is none."""
    end = 0
    for text in file:
        end += len(text)
        try:
            line = msgspec.json.decode(text, type=LossLine)
        except msgspec.MsgspecError:
            return
        if not text.endswith(b"\n"):
            return
        yield line, end


def _length_until(path: Path, iteration: int) -> int:
    length = 0
    with path.open("rb") as file:
        for line, end in _lines(file):
            if line.iteration > iteration:
                break
            length = end
    return length
