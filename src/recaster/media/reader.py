"""Read frames one at a time from a video or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from recaster.errors import MediaError, UsageError
from recaster.media.convert import DType, RgbReader
from recaster.media.decoder import decode_from, key_before
from recaster.media.frameindex import FrameIndex
from recaster.media.info import PICTURE_RATE, picture_files, survey
from recaster.media.pictures import read_picture
from recaster.types import Frame, Picture

OnError = Callable[[MediaError], None]

_DIGITS = 5


class FrameReader:
    """The frames of a video or of a folder of pictures, upright RGB, one in memory at a time.

    A video's timestamps are the file's own, in seconds from :attr:`MediaInfo.start`; pictures follow each other at
    ``picture_rate``. Pictures are uint8 or float32 0..1; float32 keeps what 10-bit video and 16-bit pictures hold.
    Every method may be called again and again, and iterations may run side by side.
    """

    def __init__(self, path: Path, dtype: DType = "uint8", *, picture_rate: Fraction = PICTURE_RATE) -> None:
        """Look at the source. Raises MediaError if it is missing, empty, or has no picture."""
        self.path = Path(path)
        self.info, self._index = survey(self.path, picture_rate)
        self._files = picture_files(self.path) if self._index is None else []
        self._dtype: DType = dtype
        self._cursor: Generator[tuple[int, av.VideoFrame]] | None = None
        self._cursor_at = 0
        self._to_rgb = RgbReader(self.info.color, dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what random access keeps open."""
        if self._cursor is not None:
            self._cursor.close()
        self._cursor = None

    def __len__(self) -> int:
        return self.info.frames

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def name_of(self, index: int) -> str:
        """What faces call frame ``index``: a picture's stem, or the number from 1 with five digits or more."""
        if self._index is None:
            return self._files[index].stem
        digits = max(_DIGITS, len(str(len(self))))
        return f"{index + 1:0{digits}d}"

    def frames(self, start: int = 0, stop: int | None = None, *, on_error: OnError | None = None) -> Iterator[Frame]:
        """Frames ``start`` (included) to ``stop`` (not included; None: all).

        A frame that cannot be read, and the missing end of a truncated video, raise MediaError with the frame's name;
        with ``on_error`` they are handed to it instead, and reading goes on with the next.
        """
        stop_at = len(self) if stop is None else min(stop, len(self))
        if self._index is None:
            yield from self._picture_frames(start, stop_at, on_error)
        else:
            yield from self._video_frames(self._index, start, stop_at, on_error)
        if self.info.truncated and stop is None:
            _report(
                MediaError(
                    f"the file is truncated: {len(self)} frames could be read",
                    where=self.path,
                    frame=self.name_of(len(self)),
                    mend="Copy it again from its source.",
                ),
                on_error,
            )

    def read(self, index: int) -> Frame:
        """Frame ``index``, the same picture as in sequential reading. Raises MediaError, UsageError.

        Reading on from the last frame is cheap; elsewhere decoding begins at the keyframe before.
        """
        if not 0 <= index < len(self):
            raise UsageError(f"there is no frame {index + 1}: it has {len(self)}", where=self.path)
        if self._index is None:
            return self._frame(index, self._read_picture(index))
        if self._cursor is None or not key_before(self._index, index) <= self._cursor_at <= index:
            self.close()
            self._cursor = decode_from(self.path, self._index, index)
        for number, decoded in self._cursor:
            self._cursor_at = number + 1
            if number == index:
                return self._frame(index, self._convert(index, decoded))
            if number > index:
                break
        self.close()
        raise self._unreadable(index)

    def _picture_frames(self, start: int, stop: int, on_error: OnError | None) -> Iterator[Frame]:
        for index in range(start, stop):
            try:
                image = self._read_picture(index)
            except MediaError as error:
                _report(error, on_error)
                continue
            yield self._frame(index, image)

    def _video_frames(self, table: FrameIndex, start: int, stop: int, on_error: OnError | None) -> Iterator[Frame]:
        expected = start
        if start >= stop:
            return
        for index, decoded in decode_from(self.path, table, start):
            for missing in range(expected, min(index, stop)):
                _report(self._unreadable(missing), on_error)
            if index >= stop:
                return
            expected = index + 1
            try:
                image = self._convert(index, decoded)
            except MediaError as error:
                _report(error, on_error)
                continue
            yield self._frame(index, image)
            if expected == stop:
                return
        for missing in range(expected, stop):
            _report(self._unreadable(missing), on_error)

    def _read_picture(self, index: int) -> Picture:
        path = self._files[index]
        image = read_picture(path, self._dtype)
        self._check_size(image, path, None)
        return image

    def _convert(self, index: int, decoded: av.VideoFrame) -> Picture:
        if decoded.is_corrupt:
            raise self._unreadable(index)
        image = self._to_rgb(decoded)
        self._check_size(image, self.path, self.name_of(index))
        return image

    def _check_size(self, image: Picture, where: Path, name: str | None) -> None:
        height, width = image.shape[:2]
        if (width, height) != (self.info.width, self.info.height):
            raise MediaError(
                f"is {width}×{height} px, the first is {self.info.width}×{self.info.height}",
                where=where,
                frame=name,
                mend="Give frames of one size.",
            )

    def _unreadable(self, index: int) -> MediaError:
        return MediaError(
            "the frame is damaged and cannot be decoded",
            where=self.path,
            frame=self.name_of(index),
            mend="Copy the file again from its source.",
        )

    def _frame(self, index: int, image: Picture) -> Frame:
        if self._index is None:
            pts = index / self.info.rate
        else:
            pts = int(self._index.pts[index]) * self.info.time_base - self.info.start
        return Frame(index=index, name=self.name_of(index), pts=pts, image=image, color=self.info.color)


def _report(error: MediaError, on_error: OnError | None) -> None:
    if on_error is None:
        raise error
    on_error(error)
