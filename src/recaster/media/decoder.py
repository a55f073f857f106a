"""Decode a video from any frame on, so that every frame is the one that decoding from the start gives."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from recaster.media.container import open_input, video_stream
from recaster.media.frameindex import FrameIndex

_SEEK_ATTEMPTS = 3


def decode_from(path: Path, index: FrameIndex, start: int = 0) -> Generator[tuple[int, av.VideoFrame]]:
    """(number, decoded frame) from frame ``start`` on, in rising order; numbers that cannot be decoded are left out.

    Holds one frame at a time beside the decoder's own. Raises MediaError if the file cannot be opened.
    """
    if start > 0 and index.by_pts:
        frames = _decode_seeking(path, index, start)
        first = next(frames, None)
        if first is not None and first[0] == start:
            yield first
            yield from frames
            return
        frames.close()
    with open_input(path) as container:
        stream = video_stream(container, path)
        for number, frame in _decode(container.demux(stream), index):
            if number >= start:
                yield number, frame


def key_before(index: FrameIndex, number: int) -> int:
    """The frame from which decoding has to begin to reach frame ``number``."""
    if not index.by_pts:
        return 0
    earlier = index.keys[index.keys[:, 0] <= index.pts[number], 0]
    return int(np.searchsorted(index.pts, earlier[-1])) if len(earlier) else 0


def _decode_seeking(path: Path, index: FrameIndex, start: int) -> Generator[tuple[int, av.VideoFrame]]:
    with open_input(path) as container:
        stream = video_stream(container, path)
        packets = _packets_from_key(container, stream, index, start)
        if packets is not None:
            for number, frame in _decode(packets, index):
                if number >= start:
                    yield number, frame


def _packets_from_key(
    container: InputContainer, stream: VideoStream, index: FrameIndex, start: int
) -> Iterator[Packet[VideoStream]] | None:
    """The packets from a keyframe at or before frame ``start`` on, or None if seeking does not lead there.

    Only keyframes that are shown no later than the frame count: frames shown before an open group's keyframe would
    lack their references.
    """
    keys = index.keys[index.keys[:, 0] <= index.pts[start]][::-1]
    for pts, dts in keys[:_SEEK_ATTEMPTS].tolist():
        with suppress(av.FFmpegError):
            container.seek(min(pts, dts), stream=stream)
            packets = container.demux(stream)
            first = next(packets)
            if first.is_keyframe and first.pts is not None and first.pts <= index.pts[start]:
                return _chain(first, packets)
    return None


def _chain(first: Packet[VideoStream], rest: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    yield first
    yield from rest


def _decode(packets: Iterator[Packet[VideoStream]], index: FrameIndex) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames with their numbers; a packet that cannot be decoded shows as a gap in the numbers."""
    counted = 0
    last = -1
    for packet in _until_error(packets):
        if index.truncated and packet.is_corrupt:
            continue
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        for frame in frames:
            number = index.position(frame.pts) if index.by_pts else counted
            counted += 1
            if number is not None and last < number < len(index):
                last = number
                yield number, frame


def _until_error(packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """The packets up to the end or to the first that cannot be read: there a file is cut off."""
    with suppress(av.FFmpegError):
        yield from packets
