"""The face record's place inside a JPEG or PNG file; the picture's own bytes are never touched.

JPEG (ITU-T T.81, annex B): application segments APP15 that begin with our identifier, then the number of this piece
(from 0) and the count of pieces, since a segment holds less than 64 KiB. PNG (W3C PNG, 3rd edition, section 5): one
chunk ``rcFC`` before the picture data: ancillary, private, and not to be copied by a program that changed the picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from recaster.errors import RecordError
from recaster.faces.record import MAX_BYTES, FaceRecord, decode_record, encode_record
from recaster.files import storage_errors, write_bytes

IDENTIFIER = b"Recaster\0"
CHUNK = b"rcFC"

_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"
_APP0, _APP15, _SOS, _EOI = 0xE0, 0xEF, 0xDA, 0xD9
_PIECE = 65_535 - 2 - len(IDENTIFIER) - 2
"""Bytes of a record in one segment; the length field counts itself."""
_MOST = MAX_BYTES + 2 * 255
"""Bytes of all pieces of the longest record, with their numbers."""


def read_record(path: Path) -> FaceRecord | None:
    """The record inside the picture ``path``; None when it has none.

    Reads the head of the file only. Raises RecordError when the record is damaged or the file is no JPEG or PNG, and
    FileNotFoundError when it is gone.
    """
    with path.open("rb", buffering=16_384) as file:
        payload = _payload(_layout(file, path), path)
    return None if payload is None else decode_record(payload, path)


def record_in(data: bytes, where: str | Path | None = None) -> FaceRecord | None:
    """As :func:`read_record`, for the bytes of a picture."""
    payload = _payload(_layout(BytesIO(data), where), where)
    return None if payload is None else decode_record(payload, where)


def with_record(data: bytes, record: FaceRecord, where: str | Path | None = None) -> bytes:
    """The bytes of a picture with ``record`` in place of the one it had, if any. Raises RecordError."""
    return _replace(data, encode_record(record), where)


def without_record(data: bytes, where: str | Path | None = None) -> bytes:
    """The bytes of a picture without our record; segments and chunks of others stay. Raises RecordError."""
    return _replace(data, None, where)


def write_record(path: Path, record: FaceRecord) -> None:
    """Put ``record`` into the existing picture ``path``, atomically. Raises RecordError or StorageError."""
    with storage_errors(path):
        data = path.read_bytes()
    write_bytes(path, with_record(data, record, path))


@dataclass
class _Layout:
    """Where our pieces lie in a file: ``pieces`` are (start, end, payload), ``insert_at`` is where a record goes."""

    insert_at: int
    pieces: list[tuple[int, int, bytes]] = field(default_factory=list)


def _replace(data: bytes, payload: bytes | None, where: str | Path | None) -> bytes:
    layout = _layout(BytesIO(data), where)
    parts: list[bytes] = []
    position = 0
    edits = [(start, end, b"") for start, end, _ in layout.pieces]
    if payload is not None:
        blocks = _png_chunk(payload) if data.startswith(_PNG) else b"".join(_jpeg_segments(payload))
        edits.append((layout.insert_at, layout.insert_at, blocks))
    for start, end, replacement in sorted(edits):
        parts += [data[position:start], replacement]
        position = end
    return b"".join([*parts, data[position:]])


def _payload(layout: _Layout, where: str | Path | None) -> bytes | None:
    """The record's bytes put together from its pieces; None when there are none."""
    if not layout.pieces:
        return None
    pieces = [payload for _, _, payload in layout.pieces]
    if len(pieces[0]) < 2 or [piece[:2] for piece in pieces] != [bytes((i, len(pieces))) for i in range(len(pieces))]:
        raise RecordError("the face record is incomplete", where=where, mend="Extract this face again.")
    return b"".join(piece[2:] for piece in pieces)


def _layout(file: BinaryIO, where: str | Path | None) -> _Layout:
    head = file.read(len(_PNG))
    if head == _PNG:
        return _png_layout(file, where)
    if head.startswith(_JPEG):
        file.seek(len(_JPEG))
        return _jpeg_layout(file, where)
    raise RecordError("not a JPEG or PNG picture", where=where)


def _jpeg_layout(file: BinaryIO, where: str | Path | None) -> _Layout:
    """Walk the segments up to the picture data; a record goes behind the application segments at the beginning."""
    layout = _Layout(len(_JPEG))
    leading = True
    start = len(_JPEG)
    while True:
        marker = _jpeg_marker(file, where)
        if marker in (_SOS, _EOI):
            return layout
        length = int.from_bytes(_exactly(file, 2, where), "big")
        if length < 2:
            raise _broken(where)
        end = file.tell() - 2 + length
        if marker == _APP15 and file.read(min(length - 2, len(IDENTIFIER))) == IDENTIFIER:
            layout.pieces.append((start, end, _exactly(file, end - file.tell(), where)))
            if sum(len(piece) for _, _, piece in layout.pieces) > _MOST:
                raise RecordError("the face record is too long", where=where)
        leading = leading and _APP0 <= marker <= _APP15
        if leading:
            layout.insert_at = end
        file.seek(end)
        start = end


def _jpeg_marker(file: BinaryIO, where: str | Path | None) -> int:
    """The next marker's code; any number of 0xFF may precede it."""
    if _exactly(file, 1, where) != b"\xff":
        raise _broken(where)
    while (code := _exactly(file, 1, where)) == b"\xff":
        pass
    return code[0]


def _png_layout(file: BinaryIO, where: str | Path | None) -> _Layout:
    """Walk the chunks up to the picture data; a record goes behind the header chunk."""
    layout = _Layout(0)
    while True:
        start = file.tell()
        head = _exactly(file, 8, where)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if not layout.insert_at:
            if name != b"IHDR":
                raise _broken(where)
            layout.insert_at = start + 12 + length
        if name in (b"IDAT", b"IEND"):
            return layout
        if name == CHUNK:
            if length > MAX_BYTES:
                raise RecordError("the face record is too long", where=where)
            payload, crc = _exactly(file, length, where), _exactly(file, 4, where)
            if zlib.crc32(CHUNK + payload) != int.from_bytes(crc, "big"):
                raise RecordError("the face record is damaged", where=where, mend="Extract this face again.")
            layout.pieces.append((start, file.tell(), bytes((0, 1)) + payload))
        file.seek(start + 12 + length)


def _jpeg_segments(payload: bytes) -> Iterator[bytes]:
    pieces = [payload[at : at + _PIECE] for at in range(0, len(payload), _PIECE)]
    for number, piece in enumerate(pieces):
        body = IDENTIFIER + bytes((number, len(pieces))) + piece
        yield bytes((0xFF, _APP15)) + (len(body) + 2).to_bytes(2, "big") + body


def _png_chunk(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + CHUNK + payload + zlib.crc32(CHUNK + payload).to_bytes(4, "big")


def _exactly(file: BinaryIO, count: int, where: str | Path | None) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise _broken(where)
    return data


def _broken(where: str | Path | None) -> RecordError:
    return RecordError("the picture's header is broken or cut off", where=where)
