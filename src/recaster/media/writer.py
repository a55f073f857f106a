"""Write a video: H.264 or H.265 with the source's colours, timestamps and sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from recaster.errors import MediaError, UsageError
from recaster.files import atomic_path, storage_errors
from recaster.media.audio import AudioCopy
from recaster.media.colortags import numbers_of, writing_tag
from recaster.media.container import open_input
from recaster.media.convert import YuvWriter
from recaster.types import ColorTag, Picture

Codec = Literal["h264", "h265"]

_ENCODERS = {"h264": "libx264", "h265": "libx265"}
_SUFFIXES = frozenset({".mp4", ".mov", ".mkv"})
_FINEST_TICKS = 10_000
_X265_DELAY = 2
"""Frames that x265 needs to see before it can count decoding times."""


class FrameWriter:
    """A video that appears complete at ``path`` when the ``with`` block ends well, and else not at all.

    ``width`` and ``height`` are px. Even sizes are stored with halved chroma (4:2:0), which every player shows. That
    needs even sizes, and its crop moves in steps of two: a video with an odd side keeps its exact size by storing
    chroma in full (4:4:4), which FFmpeg, VLC and browsers play, and QuickTime does not.

    ``color`` is kept where its matrix is known, else bt709 in limited range is written; pixels are converted and
    tagged alike. ``bit_depth`` is 8 or 10. ``crf`` 0..51, lower is better. ``time_base`` is the unit, in seconds, that
    timestamps are rounded to: give the source's (:attr:`MediaInfo.time_base`) to keep them exactly; Matroska rounds
    to 1 ms. ``audio_from`` names the file whose sound is copied bit for bit. ``pixel_aspect`` is width over height.

    Raises UsageError for a call that cannot work, MediaError if the sound does not fit into the container, and
    StorageError if the disk is full or read-only.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        rate: Fraction,
        color: ColorTag | None = None,
        codec: Codec = "h264",
        crf: float = 16,
        preset: str = "medium",
        bit_depth: Literal[8, 10] = 8,
        audio_from: Path | None = None,
        time_base: Fraction | None = None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _SUFFIXES:
            raise UsageError(
                f"cannot write video as {self.path.suffix or 'a file without a suffix'}",
                where=path,
                mend="Use .mp4, .mov or .mkv.",
            )
        if codec not in _ENCODERS:
            raise UsageError(f"cannot write codec {codec!r}; known: {', '.join(_ENCODERS)}")
        self.frames = 0
        self._size = (width, height)
        self._rate = Fraction(rate)
        self._time_base = time_base or _time_base_for(self._rate)
        self._color = writing_tag(color or ColorTag())
        self._codec = codec
        self._options = {"crf": f"{crf:g}", "preset": preset}
        self._pixel_format = ("yuv444p" if width % 2 or height % 2 else "yuv420p") + ("10le" if bit_depth == 10 else "")
        self._pixel_aspect = pixel_aspect
        self._audio_from = None if audio_from is None else Path(audio_from)
        self._to_yuv = YuvWriter(self._color, self._pixel_format)
        self._last_ticks: int | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            part = stack.enter_context(atomic_path(self.path))
            stack.enter_context(_encoding_errors(self.path))
            source = None if self._audio_from is None else stack.enter_context(open_input(self._audio_from))
            self._container = _open_output(part, source)
            stack.push(self._close)
            self._stream = self._add_video()
            self._audio = None if source is None else AudioCopy(source, self._container, self.path)
            self._start_encoding()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def write(self, image: Picture, pts: Fraction | None = None) -> None:
        """Append a picture ``(H, W, 3)`` RGB, uint8 or float32 0..1, shown from ``pts`` seconds on.

        Timestamps must rise; without one the picture follows the last after 1 / rate.
        """
        width, height = self._size
        if image.shape != (height, width, 3):
            raise ValueError(f"the picture has shape {image.shape}, expected {(height, width, 3)}")
        step = max(1, round(1 / (self._rate * self._time_base)))
        if pts is not None:
            ticks = round(pts / self._time_base)
        else:
            ticks = 0 if self._last_ticks is None else self._last_ticks + step
        if self._last_ticks is not None and ticks <= self._last_ticks:
            raise ValueError(f"frame {self.frames} is shown at {pts} s, not after the frame before it")
        self._last_ticks = ticks
        frame = self._to_yuv(image)
        frame.pts = ticks
        frame.time_base = self._time_base
        frame.duration = step
        with _encoding_errors(self.path):
            self._mux(frame)
        self.frames += 1

    def _add_video(self) -> VideoStream:
        stream = self._container.add_stream(_ENCODERS[self._codec], rate=self._rate, options=self._options)
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{self._codec} made a stream of type {stream.type}")
        context = stream.codec_context
        stream.width, stream.height = self._size
        stream.pix_fmt = self._pixel_format
        stream.time_base = context.time_base = self._time_base
        context.sample_aspect_ratio = self._pixel_aspect
        context.colorspace, context.color_primaries, context.color_trc = numbers_of(self._color)
        context.color_range = 2 if self._color.full_range else 1
        if self._codec == "h265":
            context.options = {**context.options, "x265-params": "log-level=none"}
            if self.path.suffix.lower() != ".mkv":
                context.codec_tag = "hvc1"  # QuickTime plays no other tag
        return stream

    def _start_encoding(self) -> None:
        try:
            self._container.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            what = f"a {self.path.suffix} file cannot hold this video or its sound"
            raise MediaError(what, where=self.path, mend="Write to an .mkv file instead.") from error

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if frame is None and self._codec == "h265" and self.frames <= _X265_DELAY:
                packet.dts = packet.pts  # x265 leaves it unset in so short a video, which has no B-frames
            if self._audio is not None and packet.dts is not None:
                self._audio.copy_until(packet.dts * packet.time_base)
            self._container.mux(packet)

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with suppress(Exception):
                self._container.close()
            return
        try:
            if not self.frames:
                raise MediaError("no frame was written", where=self.path)
            self._mux(None)
            if self._audio is not None:
                self._audio.copy_until(None)
        except BaseException:
            with suppress(Exception):
                self._container.close()
            raise
        self._container.close()


def _open_output(part: Path, sound: InputContainer | None) -> OutputContainer:
    options = {}
    if part.suffix.lower() != ".mkv":
        options["movflags"] = "+faststart"
        if sound is not None and sound.streams.audio:
            # Where streams begin is stored in this unit; its default of 1 ms would move the sound.
            options["movie_timescale"] = str(sound.streams.audio[0].rate)
    return av.open(str(part), "w", container_options=options)


def _time_base_for(rate: Fraction) -> Fraction:
    """A unit that holds 1 / rate exactly and is fine enough for any timestamp: at least 10 000 to the second."""
    return Fraction(1, rate.numerator * -(-_FINEST_TICKS // rate.numerator))


@contextmanager
def _encoding_errors(path: Path) -> Iterator[None]:
    """Turn what FFmpeg says while writing into one line."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            with storage_errors(path):
                raise OSError(error.errno, error.strerror) from error
        raise MediaError(f"could not be encoded ({error.strerror})", where=path, mend="Try another codec.") from error
