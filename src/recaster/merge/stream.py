"""From clip to clip: decode, crop, predict in batches, composite, encode. Nothing is written in between, and memory
does not grow with the length of the clip.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from recaster.errors import MediaError, UsageError
from recaster.faces.faceset import FaceSet, StoredFace
from recaster.files import remove_leftovers
from recaster.geometry.framing import align
from recaster.geometry.warp import warp_crop
from recaster.media.info import MediaInfo
from recaster.media.pictures import write_picture
from recaster.media.reader import FrameReader
from recaster.media.writer import FrameWriter
from recaster.merge.composite import Paste, composite
from recaster.merge.settings import MergeSettings, OutputOptions
from recaster.merge.threads import WriteBehind, read_ahead
from recaster.progress import SILENT, Progress
from recaster.swap.swapper import Swapper
from recaster.types import Alignment, Floats, Frame, Picture

_IN_FLIGHT = 4
"""Frames decoded ahead, and frames waiting for the encoder."""

_FacesOf = Mapping[str, Sequence[StoredFace]]
_Sink = Callable[[Frame, Picture], object]


@dataclass(frozen=True)
class MergeSummary:
    """What a merge did.

    ``frames`` were written, ``faces`` replaced. ``unreadable`` lists (frame name, reason) of frames that are missing
    from the result; in a video the one before is shown for longer. ``notes`` is what a user should know.
    """

    frames: int
    faces: int
    frames_without_faces: int
    unreadable: tuple[tuple[str, str], ...]
    seconds: float
    frames_per_second: float
    output: Path
    notes: tuple[str, ...]


def merge_clip(
    target: Path,
    faces: FaceSet,
    swapper: Swapper,
    settings: MergeSettings,
    output: Path,
    *,
    output_options: OutputOptions | None = None,
    progress: Progress = SILENT,
    batch: int = 16,
) -> MergeSummary:
    """Replace the ``faces`` of ``target``, a video or a folder of pictures, and write ``output``.

    ``output`` is a video, with the target's sound, timestamps and colour tags; or, where its name has no suffix, a
    folder of PNGs named like the frames. A video appears when it is complete, in place of one that was there before.
    Targets of more than 8 bits are merged in float32 and written with 10 bits, as PNGs with 16. ``batch`` is how many
    faces are predicted at once, and the largest number of frames held for it. Frames without faces pass through as they
    were decoded. Raises UsageError, MediaError, StorageError, and what ``progress`` raises.
    """
    options = output_options or OutputOptions()
    _check(target, swapper, settings, output)
    started = time.monotonic()
    tally = _Tally(progress)
    damaged: list[MediaError] = []
    with _open_reader(target, options) as reader:
        merger = _Merger(swapper, settings, _faces_by_frame(faces, reader, tally), batch, tally)
        with (
            progress.stage("merge", len(reader)),
            _open_sink(output, reader.info, options) as sink,
            WriteBehind(sink, _IN_FLIGHT) as write,
        ):
            for frame, image in merger.run(read_ahead(reader.frames(on_error=damaged.append), _IN_FLIGHT)):
                write(frame, image)
                progress.advance()
    seconds = time.monotonic() - started
    return MergeSummary(
        frames=tally.frames,
        faces=tally.faces,
        frames_without_faces=tally.frames_without_faces,
        unreadable=tuple((str(error.frame or error.where), error.what) for error in damaged),
        seconds=seconds,
        frames_per_second=tally.frames / max(seconds, 1e-9),
        output=output,
        notes=tuple(tally.notes),
    )


class _Tally:
    """Counts and notes of a run."""

    def __init__(self, progress: Progress) -> None:
        self.frames = self.faces = self.frames_without_faces = 0
        self.notes: list[str] = []
        self._progress = progress

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._progress.note(text)


class _Merger:
    """Frames in, merged frames out, in order."""

    def __init__(
        self, swapper: Swapper, settings: MergeSettings, faces_of: _FacesOf, batch: int, tally: _Tally
    ) -> None:
        self._swapper = swapper
        self._settings = settings
        self._faces_of = faces_of
        self._batch = batch
        self._tally = tally

    def run(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Picture]]:
        for chunk in self._chunks(frames):
            pastes = self._pastes(chunk)
            for index, frame in enumerate(chunk):
                self._tally.frames += 1
                self._tally.faces += len(pastes[index])
                self._tally.frames_without_faces += not pastes[index]
                yield frame, composite(frame.image, pastes[index], self._settings) if pastes[index] else frame.image

    def _chunks(self, frames: Iterable[Frame]) -> Iterator[list[Frame]]:
        """Runs of frames with a batch of faces, and never more frames than that."""
        chunk: list[Frame] = []
        waiting = 0
        for frame in frames:
            chunk.append(frame)
            waiting += len(self._faces_of.get(frame.name, ()))
            if max(waiting, len(chunk)) >= self._batch:
                yield chunk
                chunk, waiting = [], 0
        if chunk:
            yield chunk

    def _pastes(self, chunk: Sequence[Frame]) -> defaultdict[int, list[Paste]]:
        """The new faces of each frame of the chunk, by its position."""
        found = [
            (index, points, alignment)
            for index, frame in enumerate(chunk)
            for points, alignment in self._alignments(frame)
        ]
        pastes: defaultdict[int, list[Paste]] = defaultdict(list)
        for start in range(0, len(found), self._batch):
            part = found[start : start + self._batch]
            targets = np.stack([_crop(chunk[index], alignment) for index, _, alignment in part])
            output = self._swapper.swap(targets)
            for row, (index, points, alignment) in enumerate(part):
                paste = Paste(
                    alignment=alignment,
                    rgb=output.rgb[row].transpose(1, 2, 0),
                    target=targets[row].transpose(1, 2, 0),
                    points=points,
                    mask=None if output.mask is None else output.mask[row, 0],
                    mask_dst=None if output.mask_dst is None else output.mask_dst[row, 0],
                )
                pastes[index].append(paste)
        return pastes

    def _alignments(self, frame: Frame) -> Iterator[tuple[Floats, Alignment]]:
        form = self._swapper.descriptor
        for stored in self._faces_of.get(frame.name, ()):
            points = stored.record.points.values()  # not .face, which would stay in memory for each frame
            try:
                yield points, align(points, form.framing, form.resolution)
            except ValueError as error:
                self._tally.note(
                    f"{stored.path.name}, frame {frame.name}: left out, its landmarks are unusable ({error})"
                )


def _crop(frame: Frame, alignment: Alignment) -> Floats:
    """What the network sees, ``(3, R, R)`` float32 0..1.

    Beyond the frame the crop continues its edge: black there would darken the new face along the cut.
    """
    crop = warp_crop(frame.image, alignment.frame_to_crop, alignment.size, border="replicate")
    scale = 1.0 if crop.dtype == np.float32 else 1 / np.iinfo(crop.dtype).max
    return np.multiply(crop.transpose(2, 0, 1), np.float32(scale), dtype=np.float32, order="C")


def _check(target: Path, swapper: Swapper, settings: MergeSettings, output: Path) -> None:
    if output.resolve() == target.resolve():
        raise UsageError("the result would replace the target itself", where=output, mend="Choose another output.")
    if settings.mask.startswith("learned") and not swapper.descriptor.learned_mask:
        raise UsageError(
            f"mask {settings.mask!r} needs a model that learned masks, and {swapper.descriptor.name!r} has none",
            mend="Choose the mask hull or auto.",
        )


def _faces_by_frame(faces: FaceSet, reader: FrameReader, tally: _Tally) -> dict[str, list[StoredFace]]:
    """The faceset's faces that belong to the clip, by frame name, each frame's in the order of their files.

    Faces that name another clip as their source were added for training. Where all do, the clip was renamed since.
    """
    target = reader.info.path.name
    own = [stored for stored in faces.faces if stored.record.source in {"", target}] or faces.faces
    names = {reader.name_of(index) for index in range(len(reader))}
    found = defaultdict(list)
    for stored in own:
        if stored.record.frame in names:
            found[stored.record.frame].append(stored)
    used = sum(map(len, found.values()))
    if not used:
        tally.note(f"{faces.folder}: no face belongs to a frame of {target}, so its pictures are left as they are.")
    elif used < len(faces.faces):
        tally.note(f"{len(faces.faces) - used} faces of {faces.folder} do not belong to {target} and were left out.")
    sizes = {stored.record.source_size for stored in own} - {(0, 0), (reader.info.width, reader.info.height)}
    if used and sizes:
        width, height = min(sizes)
        tally.note(
            f"Some faces were found in pictures of {width} × {height} px, but {target} has {reader.info.width} × "
            f"{reader.info.height} px: extract its faces again if they sit in the wrong place."
        )
    return dict(found)


def _open_reader(target: Path, options: OutputOptions) -> FrameReader:
    rate = Fraction(options.rate).limit_denominator(1001)
    reader = FrameReader(target, picture_rate=rate)
    return reader if reader.info.bit_depth <= 8 else FrameReader(target, "float32", picture_rate=rate)


@contextmanager
def _open_sink(output: Path, info: MediaInfo, options: OutputOptions) -> Iterator[_Sink]:
    if not output.suffix:
        remove_leftovers(output)
        yield lambda frame, image: write_picture(output / f"{frame.name}.png", image)
        return
    with FrameWriter(
        output,
        width=info.width,
        height=info.height,
        rate=info.rate,
        color=info.color,
        codec=options.codec,
        crf=options.crf,
        preset=options.preset,
        bit_depth=8 if info.bit_depth <= 8 else 10,
        audio_from=info.path if info.audio else None,
        time_base=info.time_base,
        pixel_aspect=info.pixel_aspect,
    ) as writer:
        yield lambda frame, image: writer.write(image, frame.pts)
