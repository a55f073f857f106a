"""Carry the sound of one file into another, packet by packet, untouched."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from recaster.errors import MediaError
from recaster.media.info import start_of


class AudioCopy:
    """All audio streams of an open file on their way into another, in step with its video.

    Packets keep their bytes, their side data, and their distance to the picture; streams their language, title and
    role. Raises MediaError if the container cannot hold a codec.
    """

    def __init__(self, source: InputContainer, target: OutputContainer, path: Path) -> None:
        self._target = target
        self._start = start_of(source)
        self._streams = {s.index: _add_stream(s, target, path) for s in source.streams.audio}
        self._packets = self._read(source)
        self._next: Packet[AudioStream] | None = None

    def copy_until(self, seconds: Fraction | None) -> None:
        """Write the packets that are due before ``seconds`` into the film; None: all that are left."""
        while True:
            if self._next is None:
                self._next = next(self._packets, None)
            packet = self._next
            if packet is None:
                return
            if seconds is not None and _time_of(packet) - self._start > seconds:
                return
            self._next = None
            self._write(packet)

    def _read(self, source: InputContainer) -> Iterator[Packet[AudioStream]]:
        streams = [stream for stream in source.streams.audio if stream.index in self._streams]
        if not streams:
            return
        try:
            for packet in source.demux(tuple(streams)):
                if packet.size and not packet.is_corrupt:
                    yield packet
        except av.FFmpegError:
            return

    def _write(self, packet: Packet[AudioStream]) -> None:
        shift = round(self._start / packet.time_base)
        if packet.pts is not None:
            packet.pts -= shift
        if packet.dts is not None:
            packet.dts -= shift
        packet.stream = self._streams[packet.stream.index]
        self._target.mux(packet)


def _time_of(packet: Packet[AudioStream]) -> Fraction:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return Fraction(0) if ticks is None else ticks * packet.time_base


def _add_stream(stream: AudioStream, target: OutputContainer, path: Path) -> AudioStream:
    try:
        copy = target.add_stream_from_template(stream)
    except (av.FFmpegError, ValueError) as error:
        other = ".mov" if path.suffix.lower() == ".mkv" else ".mkv"
        what = f"cannot hold {stream.codec.canonical_name} sound"
        raise MediaError(what, where=path, mend=f"Use {other}, or leave the sound out.") from error
    copy.metadata.update(stream.metadata)
    copy.disposition = stream.disposition
    return copy
