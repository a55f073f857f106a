"""The extraction step: a clip goes in, a folder of aligned faces comes out.

It can be killed at any moment and run again: frames count as finished, in batches of fixed composition, once their
faces are on the disk and the journal says so. Finished frames are never looked at again, so faces deleted by hand stay
deleted, and the faces after an interruption have the same bytes as without one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from recaster.device import choose_device
from recaster.errors import MediaError, RecordError
from recaster.faces.debug import QUALITY, draw_faces
from recaster.faces.embed import read_record
from recaster.faces.faceset import JOURNAL, FaceSet
from recaster.faces.find import FoundFaces, find_faces
from recaster.faces.journal import Complete, Finished, Journal, run_key
from recaster.faces.options import ExtractOptions
from recaster.faces.summary import ExtractSummary, FrameResult, Sighting, summarize
from recaster.faces.trash import Trash, debug_folder, make_way, retire
from recaster.files import remove_leftovers
from recaster.media.pictures import write_picture
from recaster.media.reader import FrameReader
from recaster.perception.detect.base import Detector, make_detector
from recaster.perception.landmarks.base import Landmarker, make_landmarker
from recaster.progress import SILENT, Progress
from recaster.types import Frame


def extract_faces(
    source: Path,
    folder: Path,
    options: ExtractOptions | None = None,
    progress: Progress = SILENT,
    *,
    detector: Detector | None = None,
    landmarker: Landmarker | None = None,
) -> ExtractSummary:
    """Find the faces of ``source``, a video or a folder of pictures, and store them in ``folder``.

    Run again with the same clip and options it goes on where it was, or does nothing. With others, the faces that this
    step made earlier are first moved to ``<folder>_trash``. A frame or picture that cannot be read is listed in the
    summary and the rest goes on. A video that ends too early is an error, raised when the faces of all its frames are
    stored, each time it is run. A clip without faces is no error here.

    ``detector`` and ``landmarker`` replace the networks that ``options`` name. Raises MissingError where the clip or a
    network's weights are missing, MediaError, and StorageError.
    """
    options = options or ExtractOptions()
    journal = Journal(folder / JOURNAL, run_key(source, options))
    if journal.summary is not None:
        return msgspec.structs.replace(journal.summary, skipped=True)
    with FrameReader(source) as reader:
        store = _Store(folder, source.name, journal, options, Trash(folder))
        if len(journal.frames) < len(reader):
            # Before the folder is touched: a device or weights that are missing must not cost the old faces.
            detector = detector or make_detector(options.detector, choose_device(options.device))
            landmarker = landmarker or make_landmarker("mesh", choose_device(options.device))
        try:
            store.prepare()
            if detector and landmarker:
                _extract(reader, detector, landmarker, store, progress)
        finally:
            if store.trash.count:
                progress.note(f"{store.trash.count} earlier files were moved to {store.trash.folder}")
        if reader.info.truncated:
            raise MediaError(
                f"the video ends too early; its {len(reader)} readable frames are done, {journal.faces} faces are kept",
                where=source,
                mend="Go on with these faces, or copy the video again from its source.",
            )
    summary = summarize(journal.frames, store.sightings(), journal.seconds)
    journal.append(Complete(summary))
    return summary


@dataclass(frozen=True)
class _Store:
    """Where one run's faces go."""

    folder: Path
    source: str
    journal: Journal
    options: ExtractOptions
    trash: Trash

    @property
    def run(self) -> str:
        return self.journal.header.key

    def prepare(self) -> None:
        """Take possession of the folder; what earlier runs left there is moved away before the first frame."""
        self.journal.begin()
        remove_leftovers(self.folder)
        remove_leftovers(debug_folder(self.folder))
        if not self.journal.frames:
            retire(self.folder, self.journal.header.replaces, self.trash)

    def save(self, frame: Frame, found: FoundFaces) -> FrameResult:
        """Write a frame's faces, and its debug picture where that is wanted."""
        faceset = FaceSet(self.folder)
        height, width = frame.image.shape[:2]
        for number, (face, crop) in enumerate(found.faces):
            make_way(faceset.path_of(frame.name, number), self.run, self.trash)
            faceset.add(
                face,
                crop,
                source=self.source,
                source_size=(width, height),
                run=self.run,
                number=number,
                quality=self.options.jpeg_quality,
            )
        if self.options.debug:
            picture = draw_faces(frame.image, [face for face, _ in found.faces])
            write_picture(debug_folder(self.folder) / f"{frame.name}.jpg", picture, quality=QUALITY)
        return FrameResult(frame.name, len(found.faces), found.rejected)

    def sightings(self) -> Iterator[Sighting]:
        """The run's faces that are on the disk, in the order of the clip."""
        faceset = FaceSet(self.folder)
        for index, frame in enumerate(self.journal.frames):
            for number in range(frame.faces):
                try:
                    record = read_record(faceset.path_of(frame.name, number))
                except (FileNotFoundError, RecordError):
                    continue  # deleted, or replaced by something else, since it was made
                if record is not None and record.run == self.run:
                    yield Sighting(index, record.box, record.points.values())


def _extract(
    reader: FrameReader, detector: Detector, landmarker: Landmarker, store: _Store, progress: Progress
) -> None:
    journal = store.journal
    done = len(journal.frames)
    with progress.stage("extract faces", len(reader), done=done):
        started = time.monotonic()
        for batch in _batches(_frames(reader, done), store.options.batch):
            frames = [item for item in batch if isinstance(item, Frame)]
            found = iter(find_faces(frames, detector, landmarker, store.options) if frames else [])
            results = [store.save(item, next(found)) if isinstance(item, Frame) else item for item in batch]
            now = time.monotonic()
            journal.append(Finished(tuple(results), now - started))
            started = now
            progress.advance(len(batch), faces=journal.faces)


def _frames(reader: FrameReader, start: int) -> Iterator[Frame | FrameResult]:
    """Every frame from ``start`` on; in place of one that cannot be read, its result."""
    errors: list[MediaError] = []
    index = start
    for frame in reader.frames(start, len(reader), on_error=errors.append):
        yield from _unreadable(reader, index, errors)
        yield frame
        index = frame.index + 1
        errors.clear()
    yield from _unreadable(reader, index, errors)


def _unreadable(reader: FrameReader, start: int, errors: list[MediaError]) -> Iterator[FrameResult]:
    for index, error in enumerate(errors, start):
        yield FrameResult(reader.name_of(index), problem=error.what)


def _batches(items: Iterator[Frame | FrameResult], size: int) -> Iterator[list[Frame | FrameResult]]:
    while batch := list(islice(items, size)):
        yield batch
