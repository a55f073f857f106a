"""The extraction's memory: which frames of which clip are finished, in one file beside the faces.

One JSON value a line: a header with the run's key, a line for every finished batch of frames, and the summary when all
is done. A line counts once its end has reached the disk; what a kill left of the last one is cut off.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from recaster.errors import MediaError, MissingError
from recaster.faces.options import ExtractOptions
from recaster.faces.summary import ExtractSummary, FrameResult
from recaster.files import list_pictures, storage_errors, write_bytes

VERSION = 1

_MIB = 1 << 20
_SAMPLES = 32


class Header(msgspec.Struct, frozen=True, tag="run"):
    """The first line. ``replaces`` are the keys of earlier runs whose faces have to leave the folder first."""

    key: str
    replaces: tuple[str, ...] = ()
    version: int = VERSION


class Finished(msgspec.Struct, frozen=True, tag="frames"):
    """A batch of frames whose faces are all on the disk; ``seconds`` is what they took."""

    frames: tuple[FrameResult, ...]
    seconds: float


class Complete(msgspec.Struct, frozen=True, tag="complete"):
    """The last line."""

    summary: ExtractSummary


Line = Header | Finished | Complete


class Journal:
    """What the file at ``path`` says about the run ``key``: its finished ``frames``, the number of their ``faces``, the
    ``seconds`` they took, and its ``summary`` if it is complete.

    Reading changes nothing; :meth:`begin` prepares the file for more.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.header = Header(key)
        self.frames: list[FrameResult] = []
        self.faces = 0
        self.seconds = 0.0
        self.summary: ExtractSummary | None = None
        self._lines: list[Line] = []
        lines, self._sound = _read(path)
        if not lines or not isinstance(lines[0], Header) or lines[0].version != VERSION:
            self._sound = False
        elif lines[0].key == key:
            self.header = lines[0]
            for line in lines[1:]:
                self._take(line)
        else:
            # A run that never finished a frame may not have cleared the folder of its own predecessors.
            older = lines[0].replaces if len(lines) == 1 else ()
            self.header = Header(key, tuple(dict.fromkeys(old for old in (*older, lines[0].key) if old != key)))
            self._sound = False

    def begin(self) -> None:
        """Make the file this run's: a new one begins with the header, a torn one loses its torn end."""
        if not self._sound:
            write_bytes(self.path, b"".join(map(_encode, (self.header, *self._lines))))
            self._sound = True

    def append(self, line: Finished | Complete) -> None:
        """Add a line and wait until the disk has it. Raises StorageError."""
        with storage_errors(self.path), self.path.open("ab") as file:
            file.write(_encode(line))
            file.flush()
            os.fsync(file.fileno())
        self._take(line)

    def _take(self, line: Line) -> None:
        self._lines.append(line)
        if isinstance(line, Finished):
            self.frames += line.frames
            self.faces += sum(frame.faces for frame in line.frames)
            self.seconds += line.seconds
        elif isinstance(line, Complete):
            self.summary = line.summary


def run_key(source: Path, options: ExtractOptions) -> str:
    """Names an extraction by what it is made from: the content of the clip, and the options that change the faces.

    A video is known by its size and samples of its bytes (both ends and places between), a folder by the names and
    sizes of its pictures; moving or touching a file changes nothing. Raises MissingError or MediaError.
    """
    digest = hashlib.sha256(options.result_key().encode())
    try:
        if source.is_dir():
            for path in list_pictures(source):
                digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        else:
            with source.open("rb") as file:
                _digest_samples(file, source.stat().st_size, digest)
    except FileNotFoundError as error:
        raise MissingError("there is no such video or folder", where=source, mend="Check the path.") from error
    except OSError as error:
        raise MediaError(f"cannot be read ({error.strerror})", where=source) from error
    return digest.hexdigest()[:32]


def _digest_samples(file: BinaryIO, size: int, digest: hashlib._Hash) -> None:
    digest.update(size.to_bytes(8, "little"))
    digest.update(file.read(_MIB))
    for number in range(1, _SAMPLES):
        file.seek(max(file.tell(), size * number // _SAMPLES))
        digest.update(file.read(_MIB // 16))
    file.seek(max(file.tell(), size - _MIB))
    digest.update(file.read(_MIB))


def _read(path: Path) -> tuple[list[Line], bool]:
    """The sound lines at the beginning of the file, and whether they are all of it."""
    if not path.exists():
        return [], False
    with storage_errors(path):
        data = path.read_bytes()
    *whole, rest = data.split(b"\n")
    lines: list[Line] = []
    for text in whole:
        try:
            lines.append(_DECODER.decode(text))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return lines, False
    return lines, not rest


def _encode(line: Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"


_DECODER: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
