"""Open a video, and say in one line why it cannot be opened; what a file's own header says of its length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from recaster.errors import MediaError

_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"sidx", b"styp", b"uuid", b"meta"}
)
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


@contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading. Raises MediaError."""
    if not path.exists():
        raise MediaError("there is no such file", where=path, mend="Check the path.")
    try:
        if path.stat().st_size == 0:
            raise MediaError("the file is empty", where=path, mend="Copy it again from its source.")
        container = av.open(str(path), "r", metadata_errors="replace")
    except PermissionError as error:
        raise MediaError("may not be read", where=path, mend="Change its rights.") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        if lacks_index(path):
            what = "the recording was cut off before its index (moov) was written"
            raise MediaError(what, where=path, mend="Copy it again, or repair it with a tool like untrunc.") from error
        what = "is not a video that can be read"
        raise MediaError(what, where=path, mend="Give a video file or a folder of pictures.") from error
    with container:
        yield container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture, set to decode on all cores. Raises MediaError."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            stream.thread_type = "AUTO"
            return stream
    mend = "Give a file with a picture." if container.streams.audio else "Give a video file or a folder of pictures."
    raise MediaError("has no video stream", where=path, mend=mend)


def is_cut_off(path: Path) -> bool:
    """Whether the file is shorter than its own header says (MP4 and MOV, Matroska, AVI; else False)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == _EBML:
            stated = _matroska_length(file)
        elif head[:4] == b"RIFF":
            stated = 8 + int.from_bytes(head[4:8], "little")
        else:
            stated = max((end for _, end in _boxes(file, size)), default=0)
    return size < stated


def lacks_index(path: Path) -> bool:
    """Whether this is an MP4 or MOV without its ``moov`` box."""
    with path.open("rb") as file:
        names = [name for name, _ in _boxes(file, path.stat().st_size)]
    return bool(names) and b"moov" not in names


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Name and end, in bytes, of each box on the top level (ISO/IEC 14496-12, 4.2)."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        head = file.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if name not in _BOXES:
            return
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = size - start
        if length < 8:
            return
        start += length
        yield name, start


def _matroska_length(file: BinaryIO) -> int:
    """End of the segment in bytes, 0 if it is not stated (RFC 8794, 4 to 6)."""
    file.seek(4)
    length = _ebml_size(file)
    if length is None:
        return 0
    file.seek(length, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _ebml_size(file)
    return 0 if length is None else file.tell() + length


def _ebml_size(file: BinaryIO) -> int | None:
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(width - 1), "big") & ((1 << (7 * width)) - 1)
    return None if value == (1 << (7 * width)) - 1 else value
