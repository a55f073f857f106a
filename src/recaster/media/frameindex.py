"""The table of a video's frames: how many there are, when each is shown, and where decoding can begin."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from recaster.media.container import is_cut_off, open_input, video_stream

_INDEXED_CONTAINERS = frozenset({"mov", "matroska"})
_ONE_FRAME_A_PACKET = frozenset(
    {"h264", "hevc", "av1", "vp9", "mpeg4", "prores", "dnxhd", "mjpeg", "png", "ffv1", "qtrle", "huffyuv", "rawvideo"}
)


@dataclass(frozen=True)
class FrameIndex:
    """One entry a frame, in the order of presentation.

    ``pts`` ``(N,)`` int64 ticks of the stream's time base; ``last_duration`` ticks, 0 when unknown. ``keys`` ``(K, 2)``
    int64: pts and dts of the keyframes, by pts. ``by_pts`` tells whether a pts names its frame (else frames are only
    known by counting, and every read begins at the start). ``truncated``: the file ends before its header says.
    """

    pts: NDArray[np.int64]
    last_duration: int
    keys: NDArray[np.int64]
    by_pts: bool
    truncated: bool

    def __len__(self) -> int:
        return len(self.pts)

    def position(self, pts: int | None) -> int | None:
        """The number of the frame with this pts, None if there is none."""
        if pts is None:
            return None
        found = int(np.searchsorted(self.pts, pts))
        return found if found < len(self.pts) and self.pts[found] == pts else None


@dataclass(frozen=True)
class _Packet:
    pts: int | None
    dts: int | None
    duration: int
    key: bool
    shown: bool


def index_frames(path: Path) -> FrameIndex:
    """Read all packets and make the table; where packets do not tell the frames, decode the video once.

    Raises MediaError. An unreadable tail is left out.
    """
    with open_input(path) as container:
        truncated = is_cut_off(path)
        stream = video_stream(container, path)
        containers = set(container.format.name.split(","))
        seekable = bool(containers & _INDEXED_CONTAINERS)
        plain = seekable and stream.codec.canonical_name in _ONE_FRAME_A_PACKET
        packets, torn = _packets(container, stream)
        rate = stream.average_rate or stream.base_rate or Fraction(25)
        frame_ticks = max(1, round(1 / (rate * (stream.time_base or Fraction(1)))))
    truncated = truncated or torn
    pts = [packet.pts for packet in packets if packet.shown]
    if not (plain and packets and packets[0].key and _all_follow(packets)):
        pts, torn = _decoded_pts(path, truncated)
        truncated = truncated or torn
    known = [value for value in pts if value is not None]
    by_pts = seekable and len(known) == len(pts) and len(set(known)) == len(known)
    if by_pts or (len(known) == len(pts) and known == sorted(set(known))):
        table = np.sort(np.array(known, np.int64))
    else:
        table = np.arange(len(pts), dtype=np.int64) * frame_ticks
    last = next((packet.duration for packet in packets if len(table) and packet.pts == table[-1]), 0)
    return FrameIndex(table, last, _keyframes(packets), by_pts, truncated)


def _packets(container: InputContainer, stream: VideoStream) -> tuple[list[_Packet], bool]:
    """All whole packets in the order of decoding, and whether the last one was torn."""
    packets: list[_Packet] = []
    torn = False
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            torn = packet.is_corrupt
            shown = not packet.is_discard
            packets.append(_Packet(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, shown))
    except av.FFmpegError:
        torn = True
    if torn and packets:
        packets.pop()
    return packets, torn


def _all_follow(packets: list[_Packet]) -> bool:
    """Whether no shown frame comes before the first keyframe: those a decoder may leave out."""
    first = packets[0].pts
    return first is not None and all(p.pts is not None and (p.pts >= first or not p.shown) for p in packets)


def _decoded_pts(path: Path, truncated: bool) -> tuple[list[int | None], bool]:
    """The pts of all frames that a decoder gives, and whether the last one was torn (and left out)."""
    pts: list[int | None] = []
    torn = False
    with open_input(path) as container:
        stream = video_stream(container, path)
        for packet in container.demux(stream):
            if truncated and packet.is_corrupt:
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            pts.extend(frame.pts for frame in frames)
            torn = frames[-1].is_corrupt if frames else torn
    return (pts[:-1] if torn else pts), torn


def _keyframes(packets: list[_Packet]) -> NDArray[np.int64]:
    keys = [(p.pts, p.pts if p.dts is None else p.dts) for p in packets if p.key and p.pts is not None]
    return np.array(sorted(keys), np.int64).reshape(-1, 2)
