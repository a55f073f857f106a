"""A folder of face pictures: the folder is the truth, and any file manager may change it at any time.

Every picture carries its own record, so faces may be deleted, moved, renamed and copied between facesets. Files of
others are left alone and listed with the reason why they are no faces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from recaster.errors import RecordError
from recaster.faces.embed import read_record, with_record
from recaster.faces.record import FaceRecord, face_of, record_of
from recaster.files import write_bytes
from recaster.media.pictures import encode_jpeg, read_picture
from recaster.types import Face, Faces, Picture

FACE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
"""Pictures that can hold a record, compared in lower case."""
JOURNAL = "extract.journal"
"""The extraction's own file in the folder; it is no stranger."""


@dataclass(frozen=True)
class StoredFace:
    """One face on disk: the crop at ``path`` with its record."""

    path: Path
    record: FaceRecord

    @cached_property
    def face(self) -> Face:
        """The record as a Face, in pixels of the frame."""
        return face_of(self.record)

    def picture(self) -> Picture:
        """The crop, ``(size, size, 3)`` uint8 RGB. Raises MediaError when the file is gone or broken by now."""
        return read_picture(self.path)


class FaceSet:
    """The faces in ``folder``, read when they are first asked for; a folder that is not there holds none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self) -> Iterator[StoredFace]:
        return iter(self.faces)

    @property
    def faces(self) -> list[StoredFace]:
        """All faces, sorted by file name."""
        return self._content[0]

    @property
    def unreadable(self) -> list[tuple[Path, str]]:
        """Files that are no faces, each with the reason, sorted by name; hidden files and folders are not looked at."""
        return self._content[1]

    def refresh(self) -> None:
        """Look at the folder again at the next question."""
        self.__dict__.pop("_content", None)

    def by_frame(self) -> dict[str, list[StoredFace]]:
        """Frame name → its faces. The name comes from the record, so renamed files stay with their frame."""
        groups: defaultdict[str, list[StoredFace]] = defaultdict(list)
        for stored in self.faces:
            groups[stored.record.frame].append(stored)
        return dict(groups)

    def table(self) -> Faces:
        """All faces as arrays, in the order of :attr:`faces`."""
        return Faces.of([stored.face for stored in self.faces])

    def add(
        self,
        face: Face,
        crop: Picture,
        *,
        source: str = "",
        source_size: tuple[int, int] = (0, 0),
        run: str = "",
        number: int | None = None,
        quality: int = 95,
    ) -> StoredFace:
        """Store ``crop`` (size, size, 3) RGB with the record of ``face`` as ``<frame>_<number>.jpg``, atomically.

        Without ``number`` the first free one is taken; with it, a file of that name is replaced. ``source``,
        ``source_size`` and ``run`` are as in :class:`FaceRecord`; ``quality`` is JPEG's. Raises StorageError.
        """
        if number is None:
            number = 0
            while self.path_of(face.frame, number).exists():
                number += 1
        path = self.path_of(face.frame, number)
        record = record_of(face, source=source, source_size=source_size, run=run)
        write_bytes(path, with_record(encode_jpeg(crop, quality), record, path))
        self.refresh()
        return StoredFace(path, record)

    def path_of(self, frame: str, number: int) -> Path:
        """Where face ``number`` of a frame is stored. Raises RecordError when the frame's name is no file name."""
        name = f"{frame}_{number}.jpg"
        if Path(name).name != name or "\0" in name:
            raise RecordError(f"the frame name {frame!r} cannot be part of a file name", where=self.folder)
        return self.folder / name

    @cached_property
    def _content(self) -> tuple[list[StoredFace], list[tuple[Path, str]]]:
        faces: list[StoredFace] = []
        unreadable: list[tuple[Path, str]] = []
        for path in self._files():
            if path.suffix.lower() not in FACE_SUFFIXES:
                unreadable.append((path, "not a JPEG or PNG picture"))
                continue
            try:
                record = read_record(path)
            except FileNotFoundError:
                continue  # deleted or moved since the folder was listed
            except RecordError as error:
                unreadable.append((path, error.what))
            except OSError as error:
                unreadable.append((path, f"cannot be read ({error.strerror})"))
            else:
                if record is None:
                    unreadable.append((path, "no face record"))
                else:
                    faces.append(StoredFace(path, record))
        return faces, unreadable

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        names = (path for path in self.folder.iterdir() if not path.name.startswith(".") and path.name != JOURNAL)
        return sorted((path for path in names if path.is_file()), key=lambda path: path.name)
