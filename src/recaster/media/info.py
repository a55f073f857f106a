"""What a video or a folder of pictures is: size, frames, rate, colour, sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from recaster.errors import MediaError
from recaster.files import list_pictures
from recaster.media.colortags import SRGB, check_convertible, reading_tag, tag_of
from recaster.media.container import open_input, video_stream
from recaster.media.convert import bit_depth_of, display_matrix, rotation_of
from recaster.media.decoder import decode_from
from recaster.media.frameindex import FrameIndex, index_frames
from recaster.media.pictures import decode_picture_as_stored, read_file
from recaster.types import ColorTag

PICTURE_RATE = Fraction(25)
"""Frames a second of a folder of pictures, which states none."""


@dataclass(frozen=True)
class AudioInfo:
    """One audio stream: codec by FFmpeg's name, samples a second, channels, language (ISO 639-2, or empty)."""

    codec: str
    rate: int
    channels: int
    language: str = ""
    title: str = ""


@dataclass(frozen=True)
class MediaInfo:
    """A video or a folder of pictures.

    ``width`` and ``height`` are px of the upright picture; ``rotation`` is by how many degrees clockwise the stored
    one was turned for it. ``frames`` is exact: as many as the reader yields. ``rate`` is the average, frames a second;
    ``duration`` seconds from the first frame to the end of the last. ``time_base`` is the unit of the file's
    timestamps and ``start`` what was subtracted from them, both in seconds. ``color`` says how the pixels are read;
    ``color_stated`` is False where the file names no matrix and the usual one for its size was taken.
    ``pixel_aspect`` is width over height of an upright pixel. ``truncated``: the file ends before its header says.
    """

    path: Path
    kind: Literal["video", "pictures"]
    width: int
    height: int
    frames: int
    rate: Fraction
    duration: Fraction
    variable_rate: bool
    codec: str
    pixel_format: str
    bit_depth: int
    color: ColorTag
    rotation: int
    audio: tuple[AudioInfo, ...]
    time_base: Fraction
    start: Fraction = Fraction(0)
    color_stated: bool = True
    pixel_aspect: Fraction = Fraction(1)
    truncated: bool = False


def probe(path: Path, *, picture_rate: Fraction = PICTURE_RATE) -> MediaInfo:
    """What is at ``path``, a video or a folder of pictures. Raises MediaError.

    Reads every packet of a video and decodes its first frame; containers that do not tell their frames (MPEG-TS and
    other streams) are decoded once.
    """
    return survey(Path(path), picture_rate)[0]


def survey(path: Path, picture_rate: Fraction = PICTURE_RATE) -> tuple[MediaInfo, FrameIndex | None]:
    """:func:`probe`, with the table of frames of a video (None for pictures). Raises MediaError."""
    if path.is_dir():
        return _survey_pictures(path, picture_rate), None
    index = index_frames(path)
    first = next(decode_from(path, index), None)
    if first is None:
        what = "is truncated before its first frame" if index.truncated else "has no frame that can be decoded"
        raise MediaError(what, where=path, mend="Copy it again from its source.")
    with open_input(path) as container:
        return _describe(path, container, video_stream(container, path), index, first[1]), index


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names. Raises MediaError if there are none or two share a stem."""
    files = list_pictures(folder)
    if not files:
        raise MediaError("has no pictures", where=folder, mend="Give a folder of .jpg, .png or .tif files, or a video.")
    stems: dict[str, Path] = {}
    for file in files:
        other = stems.setdefault(file.stem, file)
        if other is not file:
            raise MediaError(f"has the same name as {other.name}", where=file, mend="Rename or remove one of them.")
    return files


def start_of(container: InputContainer, first_frame: Fraction | None = None) -> Fraction:
    """Seconds to subtract from a file's timestamps: its earliest stream's start, unless that is before 0.

    Streams keep their distance, and a recording whose clock began at an hour begins at 0. ``first_frame`` replaces
    what the container says of the video's start.
    """
    starts = [] if first_frame is None else [first_frame]
    for stream in container.streams:
        if stream.type == "video" and first_frame is not None:
            continue
        if stream.type in {"audio", "video"} and stream.start_time is not None and stream.time_base:
            starts.append(stream.start_time * stream.time_base)
    return max(Fraction(0), min(starts, default=Fraction(0)))


def _survey_pictures(folder: Path, rate: Fraction) -> MediaInfo:
    files = picture_files(folder)
    for file in files:
        try:
            stored = decode_picture_as_stored(read_file(file), file)
        except MediaError:
            continue
        break
    else:
        raise MediaError("none of its pictures can be read", where=folder, mend="Copy them again from their source.")
    depth = stored.dtype.itemsize * 8
    return MediaInfo(
        path=folder,
        kind="pictures",
        width=stored.shape[1],
        height=stored.shape[0],
        frames=len(files),
        rate=rate,
        duration=len(files) / rate,
        variable_rate=False,
        codec=file.suffix.lower().lstrip("."),
        pixel_format={8: "rgb24", 16: "rgb48le"}.get(depth, "rgbf32le"),
        bit_depth=depth,
        color=SRGB,
        rotation=0,
        audio=(),
        time_base=1 / rate,
    )


def _describe(
    path: Path, container: InputContainer, stream: VideoStream, index: FrameIndex, first: av.VideoFrame
) -> MediaInfo:
    time_base = stream.time_base or Fraction(1, 1000)
    matrix = display_matrix(first)
    turned = matrix[0] == 0
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    stated = tag_of(first.colorspace, first.color_primaries, first.color_trc, _is_full_range(first))
    color = reading_tag(stated, height, rgb=first.format.is_rgb)
    check_convertible(color, path)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    rate, variable, duration = _timing(index, time_base, stream)
    return MediaInfo(
        path=path,
        kind="video",
        width=width,
        height=height,
        frames=len(index),
        rate=rate,
        duration=duration,
        variable_rate=variable,
        codec=stream.codec.canonical_name,
        pixel_format=first.format.name,
        bit_depth=bit_depth_of(first.format),
        color=color,
        rotation=rotation_of(matrix),
        audio=tuple(_audio_infos(container)),
        time_base=time_base,
        start=start_of(container, int(index.pts[0]) * time_base),
        color_stated=color.matrix in {stated.matrix, "gbr"},
        pixel_aspect=1 / aspect if turned else aspect,
        truncated=index.truncated,
    )


def _is_full_range(frame: av.VideoFrame) -> bool:
    return int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")


def _audio_infos(container: InputContainer) -> Sequence[AudioInfo]:
    return [
        AudioInfo(
            codec=stream.codec.canonical_name,
            rate=stream.rate or 0,
            channels=stream.channels,
            language="" if stream.language in {None, "und"} else stream.language or "",
            title=stream.metadata.get("title", ""),
        )
        for stream in container.streams.audio
    ]


def _timing(index: FrameIndex, time_base: Fraction, stream: VideoStream) -> tuple[Fraction, bool, Fraction]:
    """Average rate (1/s), whether the rate varies, and duration (s)."""
    nominal = stream.average_rate or stream.base_rate or PICTURE_RATE
    steps = np.diff(index.pts)
    if not len(steps):
        duration = index.last_duration * time_base if index.last_duration else 1 / nominal
        return 1 / duration, False, duration
    span = int(index.pts[-1] - index.pts[0])
    mean_step = Fraction(span, len(steps))
    # Timestamps rounded to a fine clock may differ by one tick; on a coarse clock one tick is a dropped frame.
    tolerance = 1 if mean_step >= 10 else 0
    variable = int(steps.max() - steps.min()) > tolerance
    last = Fraction(index.last_duration) if index.last_duration else mean_step
    duration = (span + last) * time_base
    measured = 1 / (mean_step * time_base)
    if variable:
        return len(index) / duration, True, duration
    return (nominal if abs(nominal / measured - 1) < Fraction(1, 1000) else measured), False, duration
