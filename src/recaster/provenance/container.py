"""What kind of file it is, told by its first bytes, and how ISO base media files are divided into boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

_FIRST_BOXES = frozenset({b"moov", b"mdat", b"free", b"skip", b"wide"})
"""What QuickTime files older than the ``ftyp`` box begin with."""


class Container(Enum):
    """The containers that Recaster writes; the value is the media type."""

    MP4 = "video/mp4"
    MOV = "video/quicktime"
    JPEG = "image/jpeg"
    PNG = "image/png"
    AVI = "video/x-msvideo"
    MATROSKA = "video/x-matroska"

    @property
    def boxed(self) -> bool:
        """Whether it is made of ISO base media boxes (ISO/IEC 14496-12)."""
        return self in {Container.MP4, Container.MOV}

    @property
    def embeds(self) -> bool:
        """Whether it can hold a C2PA manifest; the others need a file beside them (WebM counts as Matroska)."""
        return self is not Container.MATROSKA


@dataclass(frozen=True)
class Box:
    """A top-level box: bytes ``offset`` to ``offset + size`` of the file, its content after ``header`` bytes."""

    kind: bytes
    offset: int
    size: int
    header: int
    open_ended: bool


def sniff(path: Path) -> Container | None:
    """The container by its first bytes; None for anything else. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"\xff\xd8\xff"):
        return Container.JPEG
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return Container.PNG
    if start.startswith(b"\x1a\x45\xdf\xa3"):
        return Container.MATROSKA
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return Container.AVI
    if start[4:8] == b"ftyp":
        return Container.MOV if start[8:12] == b"qt  " else Container.MP4
    return Container.MOV if start[4:8] in _FIRST_BOXES else None


def boxes(file: BinaryIO) -> Iterator[Box]:
    """The top-level boxes of an ISO base media file; stops without a word where the file is cut or damaged."""
    end = file.seek(0, 2)
    offset = 0
    while offset + 8 <= end:
        file.seek(offset)
        head = file.read(16)
        size, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, header = int.from_bytes(head[8:16], "big"), 16
        open_ended = size == 0
        if open_ended:
            size = end - offset
        if size < header or offset + size > end:
            return
        yield Box(kind, offset, size, header, open_ended)
        offset += size


def is_whole(path: Path) -> bool:
    """Whether an ISO base media file has its index and its boxes end where the file ends."""
    with path.open("rb") as file:
        found = list(boxes(file))
        end = file.seek(0, 2)
    return any(box.kind == b"moov" for box in found) and found[-1].offset + found[-1].size == end
